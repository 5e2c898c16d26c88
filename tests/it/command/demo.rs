//! `lottery demo`: what a newcomer sees, and that it leaves nothing behind.

use super::installation::STRIPE;
use super::*;

/// The program whose temporary files are in a directory of its own, and that directory.
fn program_with_temporary_directory() -> (Program, PathBuf) {
    let program = Program::new();
    let temporary = program.directory().join("tmp");
    fs::create_dir(&temporary).unwrap();
    // The user of the private Postgres must be able to enter it.
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).unwrap();
    let program = program.with("TMPDIR", temporary.to_str().unwrap());
    (program, temporary)
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// The processes whose command line or working directory names this directory.
fn processes_in(directory: &Path) -> Vec<PathBuf> {
    let inside = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        let named = String::from_utf8_lossy(&line).contains(directory.to_str().unwrap());
        named || fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory))
    };
    entries(Path::new("/proc")).into_iter().filter(inside).collect()
}

#[actix_web::test]
async fn a_demo_shows_rates_money_and_winners_and_what_to_do_next() {
    let (program, temporary) = program_with_temporary_directory();
    let program = program.with("LOTTERY__CURRENCY", "KWD").with("LOTTERY__SERVER__PORT", "9000");
    let arguments = ["demo", "--players", "3", "--tickets", "240"];
    let (code, out, error) = printed(&program.run(&arguments).await);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    for line in [
        "A draw of 5 of 36 from beginning to end, on a temporary service with its own Postgres.",
        "3 players registered, each with 800.000 KWD in the wallet.",
        "The draw is open: 10.000 KWD a ticket, 120 tickets made in advance.",
        "The largest prizes:",
        "Checked: 4 users, 1 draws, 240 tickets, 243 payments, ",
        "✓ The seed is the one that was committed to before the sale.",
        "✓ All 240 orders were read: they have the sealed root, ",
        "VERIFIED: the list and the seed were fixed before the numbers, ",
        "http://127.0.0.1:9000/",
        "http://127.0.0.1:9000/api/docs",
        "sh docs/session.sh",
    ] {
        assert!(out.contains(line), "{line} is missing:\n{out}");
    }
    let (_, winners) = out.split_once("The largest prizes:\n\n").unwrap();
    let winner = winners.lines().next().unwrap();
    assert!(winner.starts_with("  player") && winner.contains(" KWD   for "), "{winner}");
    let rate = out.split(" purchases a second").next().unwrap().rsplit(' ').next().unwrap();
    assert!(rate.chars().all(|c| c.is_ascii_digit() || c == ','), "a whole number: {rate}");
    for line in out.lines() {
        // The program's own path may be long, and so are the sentences of the verifier.
        let is_sentence = ["✓ ", "– ", "VERIFIED: "].iter().any(|it| line.starts_with(it));
        assert!(line.chars().count() <= 100 || line.ends_with(" serve") || is_sentence, "{line}");
        assert!(!line.contains('\u{1b}'), "no colour where there is no terminal: {line}");
    }
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());
    assert_eq!(processes_in(&temporary), Vec::<PathBuf>::new());
}

#[actix_web::test]
async fn ctrl_c_ends_a_demo_at_any_time_and_leaves_nothing_behind() {
    for moment in
        ["the directory", "A draw of", "players registered", "The draw is open", "were sold", "The prize fund"]
    {
        let (program, temporary) = program_with_temporary_directory();
        let mut demo = program.spawn_with(&["demo", "--players", "20", "--tickets", "400"]);
        match moment {
            "the directory" => until("a directory", || async { !entries(&temporary).is_empty() }).await,
            line => drop(demo.logged(line).await),
        }
        demo.signal(Signal::SIGINT);
        let (status, log) = demo.ended().await;
        let log = log.join("\n");
        // Its last steps are quick: it may have ended.
        let ended = log.contains("What you can do next");
        assert_eq!(status.code(), Some(if ended { 0 } else { 130 }), "{moment}: {log}");
        assert!(ended || log.contains("lottery: interrupted"), "{moment}: {log}");
        assert_eq!(entries(&temporary), Vec::<PathBuf>::new(), "{moment}");
        assert_eq!(processes_in(&temporary), Vec::<PathBuf>::new(), "{moment}");
    }
}

#[actix_web::test]
async fn a_demo_that_nobody_reads_leaves_nothing_behind() {
    let (program, temporary) = program_with_temporary_directory();
    let mut command = program.command(&["demo", "--players", "2", "--tickets", "4"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let status = tokio::time::timeout(crate::common::wait::TIMEOUT, child.wait()).await.unwrap().unwrap();
    assert!(!status.success());
    assert_eq!(entries(&temporary), Vec::<PathBuf>::new());
    assert_eq!(processes_in(&temporary), Vec::<PathBuf>::new());
}

#[actix_web::test]
async fn a_demo_plays_in_play_money_whatever_is_configured() {
    let variables =
        [("LOTTERY__SERVER__HOST", "0.0.0.0"), ("LOTTERY__PAYMENTS__STRIPE_URL", "http://127.0.0.1:1")];
    let variables = [&variables[..], STRIPE].concat();
    let program = variables.iter().fold(Program::new(), |program, (name, value)| program.with(name, value));
    let (code, out, error) = printed(&program.run(&["demo", "--players", "2", "--tickets", "4"]).await);
    assert_eq!(code, Some(0), "{out}\n{error}");
    assert!(out.contains("4 tickets were sold") && out.contains("every law holds"), "{out}");
}
