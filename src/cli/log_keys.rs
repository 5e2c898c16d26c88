//! `lottery log rotate-key` and `lottery log retire-key`: the key of the public log is replaced in two steps, between which
//! both keys sign, so that everybody has the time to learn the new one.

use super::{CliError, print};
use crate::actors::persistence::change_log_key;
use crate::app::{self, Database, DatabaseUse};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::{self, Db};
use crate::domain::log_keys::KeyChange;

/// Adds or retires a key, whether the service runs or not.
pub async fn change(config: &Config, change: KeyChange) -> Result<(), CliError> {
    let database = Database::open(config, DatabaseUse::Read).await?;
    let changed = async {
        db::check_up_to_date(&database.target).await?;
        let keys = app::existing_log_keys(config, &db::connect(&database.target).await?).await?;
        let db = Db::new(&database.target, 1)?;
        Ok::<_, CliError>(change_log_key(&db, &keys, change, Clock::system().now()).await?)
    };
    let changed = changed.await;
    database.close().await?;
    let key = changed?.map_err(|refusal| CliError::Refused(refusal.to_string()))?;
    print(&match change {
        KeyChange::Rotate => format!(
            "{key}\nsigns the public log from the next start of the service on, beside the key before. Restart it, tell \
             everybody who verifies draws, and retire the older key when they know the new one.\n"
        ),
        KeyChange::Retire => {
            format!(
                "{key}\ndoes not sign the public log any more from the next start of the service on. Restart it.\n"
            )
        }
    })
}
