//! `lottery verify`: verifies a draw or the receipt of an order from what was published, without the database and without
//! trusting the service. What is checked is decided in the crate `verifiable-draw`; this file brings it what it needs.

mod count;
mod files;
mod monitor;
mod online;
mod source;
mod watched;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use verifiable_draw::transcript::receipt::{ProvenOrder, compare_with_seal, verify_receipt};
use verifiable_draw::transcript::{DrawVerification, VerificationReport, VerifierOptions, VoidCause, verify_draw};

use super::{CliError, print};
use crate::clock::Clock;
use files::VerifySubject;
use monitor::Followed;
use source::LogSource;

/// What to verify, and what the verifier knows from elsewhere.
#[derive(Args, Default)]
pub struct VerifyArgs {
    /// A draw, such as `https://lottery.example/api/v1/draws/7`; a file with the body of its `/proof`; or a file with the
    /// receipt of an order.
    #[arg(value_name = "URL|FILE", required_unless_present = "follow")]
    subject: Option<String>,
    /// With a receipt: its draw, as the URL or the file of its proof. The order must be in its sealed list.
    #[arg(long, value_name = "URL|FILE")]
    draw: Option<String>,
    /// The directory with the entry bundles of the draw's ticket log, by their paths (tile/entries/000, …): every order is
    /// counted. For a URL they are fetched.
    #[arg(long, value_name = "DIR")]
    tickets: Option<PathBuf>,
    /// The key of the public log as you know it (`log` of GET /api/v1/keys); with a receipt alone, the key of its list.
    #[arg(long, value_name = "VKEY")]
    key: Option<String>,
    /// Trusts also the keys of the log that the known key vouches for: the log has announced them, under a head that the known
    /// key has signed. Without this, only the known key counts. For files, FILE has the body of GET /api/v1/keys.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    follow_keys: Option<Option<PathBuf>>,
    /// Your own witness policy (C2SP tlog-policy): its quorum must have cosigned the seal.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// A beacon that you trust beside drand's quicknet: a file with what its /info answers.
    #[arg(long, value_name = "FILE")]
    beacon: Option<PathBuf>,
    /// With a receipt: the id of the user whose order it must be. The file must have its salt.
    #[arg(long, value_name = "ID")]
    user: Option<u64>,
    /// The proof of the lottery's previous draw, whose rollover came in. For a URL it is fetched.
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// A checkpoint of the public log that you or others have kept, also with cosignatures: the draw must be in the same log.
    /// It may refute that a draw was cancelled for want of cosignatures. May be given more than once.
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// The signature of the round of a cancelled draw, in hexadecimal: shows what it would have drawn, and refutes that the
    /// round did not appear.
    #[arg(long, value_name = "HEX", value_parser = files::signature)]
    signature: Option<[u8; 48]>,
    /// What rests on the operator's word fails, too: a draw by hand, for example.
    #[arg(long)]
    strict: bool,
    /// Follows a public log as a monitor, such as `https://lottery.example/api/v1/log`: tells each entry and each seal, and
    /// complains when the log forks, shrinks, contradicts itself, or leaves a draw without an end.
    #[arg(long, value_name = "URL", requires = "state", conflicts_with = "subject")]
    follow: Option<String>,
    /// Where the monitor keeps what it has seen.
    #[arg(long, value_name = "FILE", requires = "follow")]
    state: Option<PathBuf>,
    /// The monitor looks once and ends; exit code 1 if there is a complaint.
    #[arg(long, requires = "follow")]
    once: bool,
    /// The pause between two looks of the monitor, in seconds.
    #[arg(long, value_name = "SECONDS", requires = "follow", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval: u64,
}

impl VerifyArgs {
    /// A draw of a service, as somebody verifies it who knows nothing but its address.
    pub fn of_url(url: String) -> VerifyArgs {
        VerifyArgs { subject: Some(url), ..VerifyArgs::default() }
    }
}

/// A draw with where its list is.
struct DrawAtHand {
    verification: DrawVerification,
    list: Option<LogSource>,
}

/// Verifies, prints each step, and in the end what is proved.
pub async fn run(asked: VerifyArgs) -> Result<(), CliError> {
    if let (Some(url), Some(state)) = (&asked.follow, &asked.state) {
        let key = asked.key.as_deref().map(files::key).transpose()?;
        let interval = Duration::from_secs(asked.interval);
        let follow_keys = match &asked.follow_keys {
            Some(Some(_)) => {
                return Err(refused(
                    "a monitor reads the changes of the log's keys itself: give --follow-keys alone".to_owned(),
                ));
            }
            follow_keys => follow_keys.is_some(),
        };
        return monitor::follow(Followed { url, state, key, follow_keys, interval, once: asked.once }).await;
    }
    let name = asked.subject.as_deref().unwrap_or_default();
    let subject = VerifySubject::read(name)?;
    let conclusion = match subject {
        VerifySubject::Url(_) | VerifySubject::Transcript(_) => {
            for (option, is_given) in [("--draw", asked.draw.is_some()), ("--user", asked.user.is_some())] {
                if is_given {
                    return Err(refused(format!("{option} is for receipts, and {name} is a draw")));
                }
            }
            let mut draw = verify_draw_of(subject, &asked).await?;
            print_steps(&draw.verification.report, 0)?;
            count_list(&mut draw, None).await?;
            conclude(&draw.verification)
        }
        VerifySubject::Receipt(_) => verify_order(subject, &asked).await?,
    };
    conclusion.and_then(|verified| print(&format!("\n{verified}\n")))
}

fn conclude(verification: &DrawVerification) -> Result<String, CliError> {
    let sentence = verification.conclusion();
    if verification.report.holds() { Ok(sentence) } else { Err(CliError::Refused(sentence)) }
}

/// The draw from a URL or a file.
async fn verify_draw_of(subject: VerifySubject, asked: &VerifyArgs) -> Result<DrawAtHand, CliError> {
    let mut options = options(asked)?;
    match subject {
        VerifySubject::Url(url) => {
            if let Some(None) = asked.follow_keys {
                options.key_changes = online::key_changes(&url.api).await?;
            }
            let verification = online::verify(&url, options).await?;
            let list =
                asked.tickets.clone().map_or_else(|| LogSource::Host(url.ticket_log()), LogSource::Directory);
            Ok(DrawAtHand { verification, list: Some(list) })
        }
        VerifySubject::Transcript(transcript) => {
            if let Some(None) = asked.follow_keys {
                return Err(refused(
                    "the keys of a log cannot be followed from this file: give also the body of GET /api/v1/keys, with \
                     --follow-keys=FILE"
                        .to_owned(),
                ));
            }
            options.previous = asked.previous.as_deref().map(files::transcript).transpose()?;
            let verification = verify_draw(&transcript, &options);
            Ok(DrawAtHand { verification, list: asked.tickets.clone().map(LogSource::Directory) })
        }
        VerifySubject::Receipt(_) => Err(refused("--draw takes the proof of a draw, not a receipt".to_owned())),
    }
}

fn options(asked: &VerifyArgs) -> Result<VerifierOptions, CliError> {
    Ok(VerifierOptions {
        log_keys: asked.key.as_deref().map(files::key).transpose()?.into_iter().collect(),
        policy: asked.policy.as_deref().map(files::policy).transpose()?,
        chains: asked.beacon.as_deref().map(files::beacon).transpose()?.into_iter().collect(),
        strict: asked.strict,
        key_changes: match &asked.follow_keys {
            Some(Some(path)) => online::kept_key_changes(path)?,
            _ => Vec::new(),
        },
        now: u64::try_from(Clock::system().now().as_second()).ok(),
        checkpoints: asked.checkpoint.iter().map(|path| files::checkpoint(path)).collect::<Result<_, _>>()?,
        round_signature: asked.signature,
        ..VerifierOptions::default()
    })
}

/// Counts every order, and prints the steps. `receipt`: an order that must be among them.
async fn count_list(draw: &mut DrawAtHand, receipt: Option<&ProvenOrder>) -> Result<(), CliError> {
    let report = &mut draw.verification.report;
    let printed = report.steps().len();
    match (&draw.verification.draw, &draw.list) {
        // That a draw was cancelled as `list_mismatch` is refuted by its list.
        (Some(verified), Some(list))
            if verified.sealed.is_some()
                && (report.holds() || verified.voided == Some(VoidCause::ListMismatch)) =>
        {
            count::count(list, verified, receipt, report).await?;
        }
        (Some(verified), None) if verified.sealed.is_some() => report.add_unchecked(
            "Not checked: the orders themselves, their tickets and the number of winners (give the entry bundles with \
             --tickets).",
        ),
        _ => {}
    }
    print_steps(&draw.verification.report, printed)
}

/// Verifies a receipt, alone or with its draw.
async fn verify_order(subject: VerifySubject, asked: &VerifyArgs) -> Result<Result<String, CliError>, CliError> {
    let VerifySubject::Receipt(receipt) = subject else { return Err(refused("this is no receipt".to_owned())) };
    let Some(draw) = &asked.draw else {
        let keys: Vec<_> = asked.key.as_deref().map(files::key).transpose()?.into_iter().collect();
        if keys.is_empty() {
            return Err(refused(
                "who signed the receipt cannot be told: give its draw with --draw (the body of GET /draws/{id}/proof, or \
                 the draw's URL), or with --key the key of the list, which is `ticket_log` in the draw's announcement"
                    .to_owned(),
            ));
        }
        let mut report = VerificationReport::new(asked.strict);
        let proven = verify_receipt(&mut report, &receipt, &keys, asked.user);
        print_steps(&report, 0)?;
        let proven = proven.ok().filter(|_| report.holds());
        return Ok(proven.ok_or_else(|| refused("NOT VERIFIED: the receipt does not hold.".to_owned())).map(|_| {
            "VERIFIED: the key that you gave has signed a list with this order. Whether the draw has sealed this list is \
             told with --draw."
                .to_owned()
        }));
    };
    let mut draw = verify_draw_of(VerifySubject::read(draw)?, asked).await?;
    let DrawVerification { report, draw: verified, .. } = &mut draw.verification;
    let mut wanted = None;
    if let Some(verified) = verified
        && let Ok(proven) =
            verify_receipt(report, &receipt, std::slice::from_ref(&verified.ticket_log), asked.user)
    {
        if compare_with_seal(report, &proven, verified) {
            // Nothing is left to find out about the order.
        } else if draw.list.is_some() {
            wanted = Some(proven);
        } else {
            report.add_failure(
                "Whether the sealed list has the order cannot be told from these files: add the entry bundles with \
                 --tickets, or take a receipt that was made after the seal (GET /tickets/{id}/proof).",
            );
        }
    }
    print_steps(report, 0)?;
    count_list(&mut draw, wanted.as_ref()).await?;
    Ok(conclude(&draw.verification))
}

/// Prints the steps from this one on.
fn print_steps(report: &VerificationReport, from: usize) -> Result<(), CliError> {
    let lines: String = report.steps()[from..].iter().map(|step| format!("{step}\n")).collect();
    print(&lines)
}

fn refused(what: String) -> CliError {
    CliError::Refused(what)
}
