//! What an installation is for its whole life: the currency of its amounts, and the payment provider that its money
//! comes from. This file does not store it.

use std::fmt;

use super::money::Currency;

/// The payment provider. A provider's test mode is another one: its money is play money.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PaymentProvider {
    Sandbox,
    StripeTest,
    Stripe,
}

impl PaymentProvider {
    /// As the database stores it.
    pub fn as_str(self) -> &'static str {
        match self {
            PaymentProvider::Sandbox => "sandbox",
            PaymentProvider::StripeTest => "stripe_test",
            PaymentProvider::Stripe => "stripe",
        }
    }

    /// The inverse of [`PaymentProvider::as_str`].
    pub fn parse(text: &str) -> Option<PaymentProvider> {
        let all = [PaymentProvider::Sandbox, PaymentProvider::StripeTest, PaymentProvider::Stripe];
        all.into_iter().find(|provider| provider.as_str() == text)
    }
}

impl fmt::Display for PaymentProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PaymentProvider::Sandbox => "sandbox (play money)",
            PaymentProvider::StripeTest => "stripe with a test key (play money)",
            PaymentProvider::Stripe => "stripe (real money)",
        })
    }
}

/// What an installation is, as it is recorded in the database or configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Installation {
    pub currency: Currency,
    pub provider: PaymentProvider,
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "currency {} and payment provider {}", self.currency, self.provider)
    }
}

/// The configuration is of another installation than the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "this database is recorded with {recorded}, but the configuration says {configured}. Amounts are stored without \
     their currency, and play money must never become real money. Set currency, payments.provider and its key back \
     to what is recorded, or start on a new database (database.url, or another data_dir)"
)]
pub struct OtherInstallation {
    pub recorded: Installation,
    pub configured: Installation,
}

impl Installation {
    /// Refuses a configuration that differs from what is recorded.
    pub fn verify(self, configured: Installation) -> Result<(), OtherInstallation> {
        if self == configured { Ok(()) } else { Err(OtherInstallation { recorded: self, configured }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [PaymentProvider; 3] =
        [PaymentProvider::Sandbox, PaymentProvider::StripeTest, PaymentProvider::Stripe];

    fn installation(currency: &str, provider: PaymentProvider) -> Installation {
        Installation { currency: currency.parse().unwrap(), provider }
    }

    #[test]
    fn each_difference_is_refused_with_both_sides() {
        for recorded in ALL {
            for configured in ALL {
                let (it, other) = (installation("RUB", recorded), installation("RUB", configured));
                assert_eq!(it.verify(other).is_ok(), recorded == configured, "{recorded} {configured}");
                let refused = it.verify(installation("USD", configured)).unwrap_err().to_string();
                for said in ["RUB", "USD", &recorded.to_string(), &configured.to_string(), "new database"] {
                    assert!(refused.contains(said), "{said}: {refused}");
                }
            }
        }
    }

    #[test]
    fn a_provider_is_read_as_it_was_stored() {
        for provider in ALL {
            assert_eq!(PaymentProvider::parse(provider.as_str()), Some(provider));
        }
        assert_eq!(PaymentProvider::parse("Stripe"), None);
    }
}
