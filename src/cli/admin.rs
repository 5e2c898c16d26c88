//! `lottery admin create`: the way to make the first admin. Admins make others with `PATCH /admin/users/{id}`.

use std::fs::File;
use std::io::{BufRead, stdin};

use crate::actors::persistence::{DuplicateName, insert_user};
use crate::app::{Database, DatabaseUse};
use crate::auth::PasswordPolicy;
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Db;
use crate::domain::user::{Email, Role, Username};

use super::{CliError, CreateAdmin, print};

/// The terminal of this process, if it has one.
const TERMINAL: &str = "/dev/tty";

/// Creates an admin, whether the service runs or not.
pub async fn create(config: &Config, new: CreateAdmin) -> Result<(), CliError> {
    let refused = |what: &str, why: &dyn std::fmt::Display| CliError::Refused(format!("{what} {why}"));
    let username = Username::parse(&new.username).map_err(|error| refused("--username", &error))?;
    let email = Email::parse(&new.email).map_err(|error| refused("--email", &error))?;
    let password = password(new.password_stdin)?;
    let policy = PasswordPolicy { refuse_weak: config.auth.refuse_weak_passwords };
    let password = policy.parse(&password, username.as_str(), email.as_str());
    let password = password.map_err(|error| refused("the password", &error))?;
    let hash = password.hash().map_err(|error| refused("the password", &error))?;

    let database = Database::open(config, DatabaseUse::Change).await?;
    let made = async {
        database.migrate().await?;
        let db = Db::new(&database.target, 1)?;
        let now = Clock::system().now();
        let user = (&username, &email, None);
        Ok::<_, CliError>(insert_user(&db, user, &hash, Role::Admin, now).await?)
    };
    let made = made.await;
    database.close().await?;
    match made? {
        Ok(user) => print(&format!("admin {} has the id {}\n", user.username, user.id)),
        Err(DuplicateName::Username) => Err(CliError::Refused(format!("the username {} is taken", new.username))),
        Err(DuplicateName::Email) => Err(CliError::Refused(format!("the email address {} is taken", new.email))),
    }
}

fn password(from_stdin: bool) -> Result<String, CliError> {
    let unreadable = |error| CliError::Refused(format!("the password cannot be read: {error}"));
    if !from_stdin {
        // The password is read from the terminal itself, wherever standard input comes from.
        if File::open(TERMINAL).is_err() {
            let what = "there is no terminal to ask for the password: use --password-stdin";
            return Err(CliError::Refused(what.to_owned()));
        }
        return rpassword::prompt_password("Password: ").map_err(unreadable);
    }
    let mut line = String::new();
    stdin().lock().read_line(&mut line).map_err(unreadable)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
