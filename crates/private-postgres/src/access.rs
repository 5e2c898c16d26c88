//! Who may log in: `pg_hba.conf`, `pg_ident.conf` and the roles of the application.
//!
//! Postgres asks the kernel for the user of the process at the other end of the socket (`peer`). The server's user,
//! the application's user and root may log in, each as any role: only they can enter the socket's directory anyway.
//! It grants no privileges; the application does that as the owner of its database.

use std::path::Path;

use nix::unistd::{Uid, User};
use tokio_postgres::{Client, Error};

use crate::error::PostgresError;
use crate::files;
use crate::user::ServerUser;

/// The name of the map from users of the operating system to roles.
const MAP: &str = "application";

const HEADER: &str = "# Written at each start of the application: changes are lost.\n";

/// Writes both files into the cluster, before each start of the application's server. So a cluster of an older
/// version, a restored one and one that was edited by hand have the same rules.
pub(crate) fn write_rules(
    cluster: &Path,
    user: &ServerUser,
    owner: &str,
    login_roles: &[String],
) -> Result<(), PostgresError> {
    let hba = format!("{HEADER}local all all peer map={MAP}\nlocal replication all peer map={MAP}\n");
    let roles: Vec<&str> = std::iter::once(owner).chain(login_roles.iter().map(String::as_str)).collect();
    files::write_owned(&cluster.join("pg_hba.conf"), &hba, user)?;
    files::write_owned(&cluster.join("pg_ident.conf"), &ident(&system_users(user), &roles), user)
}

/// The lines that let each user of the operating system log in as each role.
fn ident(users: &[String], roles: &[&str]) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let line = |user: &String, role: &&str| format!("{MAP} {} {}\n", quoted(user), quoted(role));
    let lines = users.iter().flat_map(|user| roles.iter().map(move |role| line(user, role)));
    std::iter::once(HEADER.to_owned()).chain(lines).collect()
}

/// The names of the users that may log in, each once.
fn system_users(user: &ServerUser) -> Vec<String> {
    let name_of = |uid: Uid| User::from_uid(uid).ok().flatten().map(|user| user.name);
    let ids = [Uid::from_raw(0), Uid::effective(), user.uid()];
    let mut names: Vec<String> = ids.into_iter().filter_map(name_of).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Makes the roles that do not exist yet. A role that was given more by hand loses what a role may do beyond a
/// single database.
pub(crate) async fn ensure_roles(client: &Client, login_roles: &[String]) -> Result<(), Error> {
    for role in login_roles {
        let sql = "SELECT rolcanlogin AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication
            OR rolbypassrls) FROM pg_roles WHERE rolname = $1";
        let command = match client.query_opt(sql, &[role]).await?.map(|row| row.get(0)) {
            Some(true) => continue,
            Some(false) => "ALTER",
            None => "CREATE",
        };
        let attributes = "LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS";
        client.batch_execute(&format!("{command} ROLE \"{role}\" {attributes}")).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_user_may_log_in_as_each_role() {
        let users = ["ann".to_owned(), "o\"neil x".to_owned()];
        let lines = "application \"ann\" \"app\"\napplication \"ann\" \"app_service\"\n\
            application \"o\"\"neil x\" \"app\"\napplication \"o\"\"neil x\" \"app_service\"\n";
        assert_eq!(ident(&users, &["app", "app_service"]), format!("{HEADER}{lines}"));
    }

    #[test]
    fn root_and_the_user_of_this_process_may_log_in() {
        let ours = User::from_uid(Uid::effective()).unwrap().unwrap().name;
        let users = system_users(&ServerUser::of_this_process());
        assert!(users.contains(&ours) && users.contains(&"root".to_owned()), "{users:?}");
    }
}
