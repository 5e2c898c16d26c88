//! What the settings mean for the modules below: their options, and refusals of settings that cannot serve. An error
//! names the setting.

use std::time::Duration;

use jiff::SignedDuration;
use secrecy::{ExposeSecret, SecretString};

use super::{AppError, fairness};
use crate::actors::draws::DrawOptions;
use crate::actors::persistence::WriteLimits;
use crate::auth::Tokens;
use crate::auth::secret::{self, SecretFile};
use crate::config::{Config, ProviderKind};
use crate::domain::installation::{Installation, PaymentProvider};
use crate::domain::money::{Currency, CurrencyError};
use crate::payment;

/// Refuses the sandbox on an address that other machines may reach, unless the configuration allows it: with its cards,
/// everybody fills a wallet.
pub async fn check_sandbox(config: &Config) -> Result<(), AppError> {
    if config.payments.provider != ProviderKind::Sandbox {
        return Ok(());
    }
    let (host, port) = (config.server.host.as_str(), config.server.port);
    let (address, variable) = (format!("{host}:{port}"), "LOTTERY__SERVER__HOST");
    let found = tokio::net::lookup_host((host, port)).await;
    let mut addresses = found.map_err(|cause| AppError::Listen { address, variable, cause })?;
    if addresses.all(|address| address.ip().to_canonical().is_loopback()) {
        return Ok(());
    }
    if config.payments.allow_sandbox {
        tracing::warn!(host, "the sandbox is the payment provider: all money is play money");
        return Ok(());
    }
    Err(AppError::Setting {
        key: "payments.allow_sandbox".to_owned(),
        what: format!(
            "must be true (LOTTERY__PAYMENTS__ALLOW_SANDBOX=true) for the sandbox on server.host {host}, which other \
             machines may reach: its test cards let everybody pay in play money. For real money set \
             payments.provider: stripe"
        ),
    })
}

/// What the configuration says that this installation is.
pub fn installation(config: &Config) -> Result<Installation, AppError> {
    let is_test_key = |key: &SecretString| payment::is_live_key(key.expose_secret()) == Some(false);
    let provider = match config.payments.provider {
        ProviderKind::Sandbox => PaymentProvider::Sandbox,
        ProviderKind::Stripe if config.payments.stripe_key.as_ref().is_some_and(is_test_key) => {
            PaymentProvider::StripeTest
        }
        ProviderKind::Stripe => PaymentProvider::Stripe,
    };
    Ok(Installation { currency: currency(config)?, provider })
}

pub fn currency(config: &Config) -> Result<Currency, AppError> {
    let invalid = |error: CurrencyError| AppError::Setting { key: "currency".to_owned(), what: error.to_string() };
    config.currency.parse().map_err(invalid)
}

/// What signs and verifies access tokens.
pub fn tokens(config: &Config) -> Result<Tokens, AppError> {
    let (current, previous) = jwt_secrets(config)?;
    if previous.is_some() {
        tracing::info!("the previous jwt_secret verifies tokens too; remove it when these have expired");
    }
    Ok(Tokens::new(&current, previous.as_ref(), config.auth.access_token))
}

/// The secret that signs tokens, and the one that signed them before it: the configured ones, or those stored in the
/// data directory. Where a secret is configured, the files have no say.
fn jwt_secrets(config: &Config) -> Result<(SecretString, Option<SecretString>), AppError> {
    let (current, previous) = (config.auth.jwt_secret.clone(), config.auth.jwt_secret_previous.clone());
    let Some(current) = current else {
        let stored = secret::load(&config.data_dir, SecretFile::PREVIOUS_TOKENS)?;
        return Ok((secret::load_or_create(&config.data_dir, SecretFile::TOKENS)?, previous.or(stored)));
    };
    Ok((current, previous))
}

pub fn write_limits(config: &Config) -> WriteLimits {
    let it = &config.persistence;
    WriteLimits { batch: it.batch, queue: it.queue, deadline: it.deadline }
}

pub fn draw_options(config: &Config) -> Result<DrawOptions, AppError> {
    Ok(DrawOptions {
        in_flight: config.limits.orders_in_flight,
        open_reservations: config.limits.enabled.then_some(config.limits.open_reservations),
        pool_limit: config.tickets.pool_limit as usize,
        reservation: signed(config.tickets.reservation),
        terms: fairness::terms(config)?,
    })
}

/// Converts; the configuration's limits keep all durations far below the maximum.
pub fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
