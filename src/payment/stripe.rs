//! Stripe: a card charge is a PaymentIntent that is created and confirmed in one call. Every try for a charge
//! sends the same Idempotency-Key, so that the charge is made once. The charge's name is in the intent's metadata:
//! webhooks contain it, and the intent is found by it when the result is not known. If there is none, the key is used
//! up by an intent without a card, so that a charge that was never made cannot be made later.

mod provider_clock;
mod search;

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use jiff::{SignedDuration, Timestamp};
use reqwest::header::DATE;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;

use super::{
    CardToken, ChargeOrder, ChargeReport, NOT_CHARGED, NoticeError, OpenCharge, Provider, ProviderNotice,
    ProviderUnavailable, ReportedMoney, Reversal, Signing, failure_code, is_code,
};
use crate::domain::charge::{ChargeIssue, ChargeName};
use crate::domain::money::{Currency, Money};
use crate::domain::record::Charge;
use crate::tls;

use provider_clock::ProviderClock;
use search::UnfinishedSearches;

/// The API version that this file reads.
const VERSION: &str = "2024-06-20";
/// How long connecting and an answer may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// How often a charge is sent while it is not known whether it arrived, and the pause between.
const TRIES: usize = 2;
const PAUSE: Duration = Duration::from_millis(500);
/// Intents on one page of a list; pages that one call reads for one charge, and the time after which it reads no
/// further page. The next call goes on with the page after them.
const PAGE: usize = 100;
const MAX_PAGES: usize = 50;
const SEARCH_TIME: Duration = Duration::from_secs(20);
/// Stripe keeps an idempotency key for at least 24 hours. So when a charge is younger than this and its key is still
/// unused, the charge was never made. The difference is for clocks that do not agree.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(12);
/// After this time, a charge that is not found, although its key was used or may be forgotten, waits for an admin. An
/// intent may be listed late, and Stripe sends a webhook again for days. Its tickets are held until the admin ends it,
/// but no longer than the draw is on sale.
const NEVER_ARRIVED: SignedDuration = SignedDuration::from_hours(24);
/// The largest answer that is read, in bytes. A page of intents is the largest one.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// The provider Stripe.
pub struct Stripe {
    http: Client,
    url: String,
    key: SecretString,
    /// Whether the key moves real money. `None`: the key does not say it.
    live: Option<bool>,
    signing: Signing,
    searches: UnfinishedSearches,
    /// Reads the service's clock.
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    provider_clock: ProviderClock,
}

impl Stripe {
    /// `url` is the address of the API, without a path; `key` is the account's secret key; `now` reads the service's
    /// clock.
    pub fn new(
        url: &str,
        key: SecretString,
        signing: Signing,
        now: impl Fn() -> Timestamp + Send + Sync + 'static,
    ) -> Result<Stripe, reqwest::Error> {
        let http = tls::http_client()
            .connect_timeout(CONNECT_WAIT)
            .timeout(ANSWER_WAIT)
            .redirect(Policy::none())
            .build()?;
        let live = is_live_key(key.expose_secret());
        if live.is_none() {
            tracing::warn!(
                "the key of the payment provider does not say whether it moves real money, so that is not compared"
            );
        }
        Ok(Stripe {
            http,
            url: url.trim_end_matches('/').to_owned(),
            key,
            live,
            signing,
            searches: UnfinishedSearches::default(),
            now: Box::new(now),
            provider_clock: ProviderClock::default(),
        })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        request.bearer_auth(self.key.expose_secret()).header("Stripe-Version", VERSION)
    }

    /// Creates an intent under the idempotency key of this charge.
    async fn create_intent(
        &self,
        name: ChargeName,
        amount: Money,
        currency: Currency,
        fields: &[(&str, String)],
    ) -> Result<Intent, StripeFailure> {
        let money = [
            ("amount", amount.minor().to_string()),
            ("currency", currency.to_string().to_ascii_lowercase()),
            ("payment_method_types[]", "card".to_owned()),
        ];
        let request = self.request(Method::POST, "/v1/payment_intents").form(&[&money, fields].concat());
        self.send(request.header("Idempotency-Key", name.to_string())).await
    }

    async fn create(&self, order: ChargeOrder) -> ChargeReport {
        let ChargeOrder { name, amount, currency, card, may_act } = order;
        let fields = [
            ("payment_method", card.expose().to_owned()),
            ("confirm", "true".to_owned()),
            ("metadata[payment]", name.payment.to_string()),
            ("metadata[begun]", name.begun.to_string()),
        ];
        for attempt in 1..=TRIES {
            match self.create_intent(name, amount, currency, &fields).await {
                Ok(intent) => return self.outcome(intent).await,
                Err(StripeFailure::KeyUsed) => {
                    tracing::warn!(charge = %name, "another process has used up the idempotency key of a charge");
                    return Charge::Processing.into();
                }
                Err(StripeFailure::Declined(code)) => return Charge::Declined(code).into(),
                // Only the first try can say that nothing was done: the result of the tries before a later one is
                // not known.
                Err(StripeFailure::Refused(code)) if attempt == 1 => return Charge::Declined(code).into(),
                Err(StripeFailure::NotSent(why)) if attempt == 1 => {
                    tracing::warn!(charge = %name, why, "a charge could not be sent");
                    return Charge::Declined("provider_unavailable".to_owned()).into();
                }
                Err(failure) => {
                    let why = failure.reason();
                    tracing::warn!(charge = %name, why, attempt, "the result of a charge is not known");
                }
            }
            if attempt < TRIES {
                tokio::time::sleep(PAUSE).await;
                // Another process may have taken over meanwhile. It finds out the result of the first try.
                if !may_act() {
                    break;
                }
            }
        }
        Charge::Processing.into()
    }

    async fn cancel(&self, intent: &Intent) -> Result<Intent, StripeFailure> {
        self.send(self.request(Method::POST, &format!("/v1/payment_intents/{}/cancel", intent.id))).await
    }

    /// What an intent says about its charge, and the money that it is about.
    fn report(&self, intent: &Intent, charge: Charge) -> ChargeReport {
        let amount = if charge == Charge::Paid { intent.amount_received } else { intent.amount };
        let mode_agrees = self.live.is_none() || intent.livemode == self.live;
        let money = ReportedMoney { amount, currency: intent.currency.clone(), mode_agrees };
        ChargeReport { charge, money: Some(money) }
    }

    /// The result of an intent. One that needs an action of the card's holder is cancelled: the holder is not
    /// online.
    async fn outcome(&self, intent: Intent) -> ChargeReport {
        let charge = match intent.status.as_str() {
            "succeeded" => Charge::Paid,
            "processing" => Charge::Processing,
            "canceled" => Charge::Declined("canceled".to_owned()),
            "requires_payment_method" => Charge::Declined(intent.failure()),
            _ => {
                match self.cancel(&intent).await {
                    Ok(intent) if intent.status == "canceled" => {
                        Charge::Declined("authentication_required".to_owned())
                    }
                    // Reconciliation asks again later.
                    _ => Charge::Processing,
                }
            }
        };
        self.report(&intent, charge)
    }

    /// Searches for the intent of a charge. If it is not found, uses up the charge's idempotency key: Stripe refuses a
    /// call with the same key and other parameters. So either the charge is made or the key is used up, and of two
    /// processes that try both at the same time, Stripe decides which is first.
    async fn find_or_close(&self, open: OpenCharge) -> Result<ChargeReport, ProviderUnavailable> {
        let OpenCharge { name, amount, currency, age } = open;
        let found = self.find(name).await?;
        if let SearchResult::Found(intent) = found {
            return Ok(self.outcome(*intent).await);
        }
        let is_lost = matches!(found, SearchResult::NotFound) && age.is_some_and(|age| age >= NEVER_ARRIVED);
        // This intent is not the charge's, so it has no name: a search for the charge must not find it.
        let fields = [("description", format!("Not charged: {name}"))];
        match self.create_intent(name, amount, currency, &fields).await {
            // The first answer again. Stripe compares the parameters, so this is not expected.
            Ok(intent) if intent.name() == Some(name) => return Ok(self.outcome(intent).await),
            Err(StripeFailure::Declined(code)) => return Ok(Charge::Declined(code).into()),
            Ok(intent) => {
                // Nobody can pay an intent without a card; cancelled, it does not look like one that waits for it.
                if self.cancel(&intent).await.is_err() {
                    tracing::debug!(charge = %name, intent = intent.id, "an intent without a card was not cancelled");
                }
                if age.is_some_and(|age| age < KEY_KEPT) {
                    return Ok(Charge::Declined(NOT_CHARGED.to_owned()).into());
                }
            }
            // The charge was made, and is not listed yet.
            Err(StripeFailure::KeyUsed) => {}
            Err(failure) if !is_lost => return Err(ProviderUnavailable(failure.reason())),
            Err(failure) => {
                let why = failure.reason();
                tracing::warn!(charge = %name, why, "the idempotency key of a lost charge could not be used up");
            }
        }
        Ok(if is_lost { Charge::Unresolved(ChargeIssue::NotFound) } else { Charge::Processing }.into())
    }

    /// Searches the intents of a day before and after for the one with this name. It reads a list, because
    /// Stripe's search API may lag behind.
    async fn find(&self, name: ChargeName) -> Result<SearchResult, ProviderUnavailable> {
        let (mut position, began) = (self.searches.take(name), Instant::now());
        for _ in 0..MAX_PAGES {
            let Some((from, to, after)) = position.next_page() else { return Ok(SearchResult::NotFound) };
            let mut path = format!("/v1/payment_intents?limit={PAGE}&created[gte]={from}&created[lte]={to}");
            if let Some(after) = after {
                path.push_str(&format!("&starting_after={after}"));
            }
            let page: StripeList = match self.send(self.request(Method::GET, &path)).await {
                Ok(page) => page,
                Err(failure) => {
                    // A refusal may be about the position, for example of another account: the search begins anew.
                    if matches!(failure, StripeFailure::NotSent(_) | StripeFailure::Unknown(_)) {
                        self.searches.keep(name, position);
                    }
                    return Err(ProviderUnavailable(failure.reason()));
                }
            };
            let last = page.data.last().map(|intent| intent.id.clone());
            if let Some(intent) = page.data.into_iter().find(|intent| intent.name() == Some(name)) {
                return Ok(SearchResult::Found(Box::new(intent)));
            }
            position.advance(last.filter(|_| page.has_more));
            if began.elapsed() >= SEARCH_TIME {
                break;
            }
        }
        if position.next_page().is_none() {
            return Ok(SearchResult::NotFound);
        }
        self.searches.keep(name, position);
        tracing::info!(charge = %name, "the search for a charge goes on in the next round");
        Ok(SearchResult::Unfinished)
    }

    async fn notice(
        &self,
        signature: &str,
        body: &[u8],
        now: Timestamp,
    ) -> Result<Option<ProviderNotice>, NoticeError> {
        self.signing.check(signature, body, now)?;
        let event: StripeEvent = serde_json::from_slice(body)?;
        let kind = event.r#type.as_str();
        if kind.starts_with("charge.dispute.") || kind == "charge.refunded" || kind.contains("refund.") {
            return self.reversal(event, now).await;
        }
        if !kind.starts_with("payment_intent.") {
            return Ok(None);
        }
        let intent: Intent = serde_json::from_value(event.data.object)?;
        let charge = match kind {
            "payment_intent.succeeded" => Charge::Paid,
            "payment_intent.payment_failed" => Charge::Declined(intent.failure()),
            "payment_intent.canceled" => Charge::Declined("canceled".to_owned()),
            _ => return Ok(None),
        };
        Ok(intent.name().map(|name| ProviderNotice::Charge(name, self.report(&intent, charge))))
    }

    /// A dispute or a refund. Its object names only the intent, and a refund's object has only its own amount, so
    /// Stripe is asked for the rest.
    async fn reversal(&self, event: StripeEvent, now: Timestamp) -> Result<Option<ProviderNotice>, NoticeError> {
        let is_dispute = event.r#type.starts_with("charge.dispute.");
        let object: ReversalObject = serde_json::from_value(event.data.object)?;
        // The id becomes part of a path.
        let is_id =
            |id: &String| id.starts_with("pi_") && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        let Some(intent) = object.payment_intent.filter(is_id) else { return Ok(None) };
        let path = format!("/v1/payment_intents/{intent}?expand[]=latest_charge");
        let intent: Intent = match self.send(self.request(Method::GET, &path)).await {
            Ok(intent) => intent,
            Err(failure) => return Err(ProviderUnavailable(failure.reason()).into()),
        };
        let Some(name) = intent.name() else { return Ok(None) };
        let reversal = if is_dispute {
            let at = event.created.and_then(|second| Timestamp::from_second(second).ok()).unwrap_or(now);
            let status = object.status.filter(|status| is_code(status)).unwrap_or_else(|| "unknown".to_owned());
            Reversal::Dispute { status, at }
        } else {
            Reversal::Refund(Money::new(intent.latest_charge.map_or(0, |charge| charge.amount_refunded)))
        };
        Ok(Some(ProviderNotice::Reversal(name, reversal)))
    }

    /// Sends a request, and reads its answer.
    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, StripeFailure> {
        let failure = |error: reqwest::Error| {
            let sent = !(error.is_connect() || error.is_builder());
            let why = error.without_url().to_string();
            if sent { StripeFailure::Unknown(why) } else { StripeFailure::NotSent(why) }
        };
        let mut answer = request.send().await.map_err(failure)?;
        if let Some(date) = answer.headers().get(DATE).and_then(|date| date.to_str().ok()) {
            self.provider_clock.compare(date, (self.now)());
        }
        let (status, mut body) = (answer.status(), Vec::new());
        while let Some(chunk) = answer.chunk().await.map_err(failure)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(StripeFailure::Unknown("the answer is too large".to_owned()));
            }
        }
        if status == StatusCode::OK {
            return serde_json::from_slice(&body).map_err(|error| StripeFailure::Unknown(error.to_string()));
        }
        let error = serde_json::from_slice::<ErrorAnswer>(&body).ok().map(|answer| answer.error);
        let is_type = |name: &str| error.as_ref().is_some_and(|error| error.r#type.as_deref() == Some(name));
        let (card_error, same_key) = (is_type("card_error"), is_type("idempotency_error"));
        match status {
            // 409 says that a call with this key has not ended yet.
            _ if same_key && status != StatusCode::CONFLICT => Err(StripeFailure::KeyUsed),
            StatusCode::PAYMENT_REQUIRED if card_error => {
                Err(StripeFailure::Declined(error.map_or_else(|| failure_code(None), |error| error.failure())))
            }
            StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
                let code = error.and_then(|error| error.code).unwrap_or_default();
                tracing::warn!(%status, code, "the payment provider refused a request");
                // Only the card and the amount come from the payer; an error in another field is not the payer's.
                let reason = if code.starts_with("amount_") {
                    failure_code(Some(&code))
                } else {
                    "invalid_card".to_owned()
                };
                Err(StripeFailure::Refused(reason))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS => {
                tracing::error!(%status, "the payment provider refuses the service's key, or its rate limit is reached");
                Err(StripeFailure::Refused("provider_unavailable".to_owned()))
            }
            status => Err(StripeFailure::Unknown(format!("it answered {status}"))),
        }
    }
}

impl Provider for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    /// The id of a PaymentMethod.
    fn knows(&self, card: &CardToken) -> bool {
        card.expose().starts_with("pm_")
    }

    fn charge(&self, order: ChargeOrder) -> BoxFuture<'_, ChargeReport> {
        self.create(order).boxed()
    }

    fn resolve(&self, charge: OpenCharge) -> BoxFuture<'_, Result<ChargeReport, ProviderUnavailable>> {
        self.find_or_close(charge).boxed()
    }

    fn read<'a>(
        &'a self,
        signature: &'a str,
        body: &'a [u8],
        now: Timestamp,
    ) -> BoxFuture<'a, Result<Option<ProviderNotice>, NoticeError>> {
        self.notice(signature, body, now).boxed()
    }
}

/// A field that is an object if Stripe was asked to expand it, and an id or null otherwise.
fn expanded<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<LatestCharge>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(LatestCharge::deserialize(value).ok())
}

/// Whether a key moves real money, if its first letters say it. Restricted keys begin with `rk_`.
pub fn is_live_key(key: &str) -> Option<bool> {
    let is = |mode: &str| ["sk", "rk"].iter().any(|kind| key.starts_with(&format!("{kind}_{mode}_")));
    if is("live") { Some(true) } else { is("test").then_some(false) }
}

#[derive(Deserialize)]
struct StripeList {
    data: Vec<Intent>,
    has_more: bool,
}

#[derive(Deserialize)]
struct StripeEvent {
    r#type: String,
    /// When it happened, in seconds.
    created: Option<i64>,
    data: EventData,
}

#[derive(Deserialize)]
struct EventData {
    object: serde_json::Value,
}

/// The fields of a dispute, a refund or a charge that are read.
#[derive(Deserialize)]
struct ReversalObject {
    /// `None`: the charge has no intent, so it is not of this service.
    payment_intent: Option<String>,
    status: Option<String>,
}

/// The charge of an intent.
#[derive(Deserialize)]
struct LatestCharge {
    /// What was refunded of it, in all.
    amount_refunded: i64,
}

/// The fields of a PaymentIntent that are read.
#[derive(Deserialize)]
struct Intent {
    id: String,
    status: String,
    amount: Option<i64>,
    /// What was taken.
    amount_received: Option<i64>,
    currency: Option<String>,
    livemode: Option<bool>,
    last_payment_error: Option<ErrorBody>,
    /// Read only where it is asked for; otherwise it is an id.
    #[serde(default, deserialize_with = "expanded")]
    latest_charge: Option<LatestCharge>,
    #[serde(default)]
    metadata: serde_json::Value,
}

impl Intent {
    /// The charge it belongs to, if this service created it.
    fn name(&self) -> Option<ChargeName> {
        ChargeName::deserialize(&self.metadata).ok()
    }

    fn failure(&self) -> String {
        self.last_payment_error.as_ref().map_or_else(|| failure_code(None), ErrorBody::failure)
    }
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: ErrorBody,
}

#[derive(Deserialize)]
struct ErrorBody {
    r#type: Option<String>,
    code: Option<String>,
    decline_code: Option<String>,
}

impl ErrorBody {
    /// The code for the payer: the bank's reason, if there is one.
    fn failure(&self) -> String {
        let reason = self.decline_code.as_deref().filter(|code| *code != "generic_decline");
        failure_code(reason.or(self.code.as_deref()))
    }
}

/// The result of a search for an intent.
enum SearchResult {
    Found(Box<Intent>),
    NotFound,
    /// The next call goes on with it.
    Unfinished,
}

/// Why a call failed.
enum StripeFailure {
    /// Stripe's verdict on this charge: the card was declined, for this reason. It is the same for every try.
    Declined(String),
    /// This call was refused for this reason, and did nothing. That says nothing about an earlier try.
    Refused(String),
    /// The idempotency key was used before, with other parameters: this call did nothing.
    KeyUsed,
    /// There was no connection: nothing was done.
    NotSent(String),
    /// It may have been done.
    Unknown(String),
}

impl StripeFailure {
    fn reason(self) -> String {
        match self {
            StripeFailure::Declined(why)
            | StripeFailure::Refused(why)
            | StripeFailure::NotSent(why)
            | StripeFailure::Unknown(why) => why,
            StripeFailure::KeyUsed => "the idempotency key was used before".to_owned(),
        }
    }
}
