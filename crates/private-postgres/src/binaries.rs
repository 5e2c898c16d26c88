//! Finds the Postgres binaries that are installed, and picks those that a cluster needs.
//!
//! It asks each `postgres` for its version, as the user that will run the server: a binary that this user
//! cannot execute is ignored. It installs nothing and starts no server.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{FileContext, PostgresError};
use crate::user::ServerUser;

/// How long one `postgres --version` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Where packages put the binaries, besides the directories of `PATH`. A `*` matches a part of one name.
const USUAL_DIRS: &[&str] = &[
    "/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
    "/usr/pgsql-*/bin",                  // Postgres' own packages for Fedora and RHEL
    "/usr/libexec/postgresql*",          // Alpine
    "/usr/lib/postgresql*/bin",          // SUSE
    "/usr/lib64/postgresql-*/bin",       // Gentoo
    "/opt/homebrew/opt/postgresql*/bin", // Homebrew on Apple silicon
    "/usr/local/opt/postgresql*/bin",    // Homebrew on Intel
    "/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
    "/opt/local/lib/postgresql*/bin", // MacPorts
    "/Applications/Postgres.app/Contents/Versions/*/bin",
    "/Library/PostgreSQL/*/bin", // EnterpriseDB's installer on macOS
    "/opt/PostgreSQL/*/bin",     // and on Linux
    "/opt/postgresql*/bin",
    "/opt/bitnami/postgresql/bin",
    "/usr/local/pgsql/bin", // built from source
    "/usr/local/bin",
    "/usr/bin",
];

/// A directory with `postgres` and `initdb`, and their major version.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Binaries {
    pub dir: PathBuf,
    pub major: u32,
}

impl Binaries {
    pub(crate) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(crate) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }
}

/// All installed binaries: first those in `PATH` in its order, then those in the usual directories, the newest
/// first. If `dirs` are given, only those in them, in their order.
pub(crate) async fn find(dirs: Option<&[PathBuf]>, user: &ServerUser) -> Vec<Binaries> {
    let mut seen = HashSet::new();
    let (preferred, usual) = match dirs {
        Some(dirs) => (dirs.to_vec(), Vec::new()),
        None => (
            env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect(),
            USUAL_DIRS.iter().flat_map(|pattern| expand(pattern)).collect(),
        ),
    };
    let mut found = versions(preferred, user, &mut seen).await;
    let mut others = versions(usual, user, &mut seen).await;
    others.sort_by_key(|binaries| std::cmp::Reverse(binaries.major));
    found.append(&mut others);
    found
}

/// The binaries for an existing cluster, which needs its own major version, or for a new one.
pub(crate) fn pick(
    found: Vec<Binaries>,
    cluster: Option<&Path>,
    min_major: u32,
) -> Result<Binaries, PostgresError> {
    let Some(cluster) = cluster else {
        let mut found = found.into_iter();
        let usable = found.find(|binaries| binaries.major >= min_major);
        return usable.ok_or(PostgresError::NotInstalled { min_major });
    };
    let needed = cluster_major(cluster)?;
    let majors = found.iter().map(|binaries| binaries.major).collect();
    let mut found = found.into_iter();
    found.find(|binaries| binaries.major == needed).ok_or_else(|| PostgresError::WrongVersion {
        cluster: cluster.to_owned(),
        needed,
        found: majors,
    })
}

fn cluster_major(cluster: &Path) -> Result<u32, PostgresError> {
    let path = cluster.join("PG_VERSION");
    let text = fs::read_to_string(&path).on_file("read", &path)?;
    let parsed = text.trim().parse().map_err(|_| std::io::Error::other("it contains no version"));
    parsed.on_file("read", &path)
}

async fn versions(dirs: Vec<PathBuf>, user: &ServerUser, seen: &mut HashSet<PathBuf>) -> Vec<Binaries> {
    let mut found = Vec::new();
    for dir in dirs {
        let Some(dir) = directory_of_both(&dir) else {
            continue;
        };
        if !seen.insert(dir.clone()) {
            continue;
        }
        if let Some(major) = major_version(&dir.join("postgres"), user).await {
            found.push(Binaries { dir, major });
        }
    }
    found
}

/// `postgres` may be a symlink into the directory that also has `initdb`, or both may be symlinks in `dir`.
fn directory_of_both(dir: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(dir.join("postgres")).ok()?;
    let dirs = [real.parent()?.to_owned(), std::path::absolute(dir).ok()?];
    dirs.into_iter().find(|dir| dir.join("postgres").exists() && dir.join("initdb").exists())
}

async fn major_version(postgres: &Path, user: &ServerUser) -> Option<u32> {
    let mut command = user.command(postgres);
    command.arg("--version").kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_LIMIT, command.output()).await.ok()?.ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success())
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` has the major version 15.
fn parse_major(version: &str) -> Option<u32> {
    let starts_with_digit = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let number = version.split_whitespace().find(starts_with_digit)?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The existing paths that a pattern with at most one `*` matches.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![PathBuf::from(pattern)];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or((".", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(prefix))
        .map(|name| PathBuf::from(format!("{parent}/{name}{after}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_parsed() {
        let cases = [
            ("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 9.6.24", Some(9)),
            ("postgres (PostgreSQL) 18beta2", Some(18)),
            ("postgres (EnterpriseDB) 16.4.0", Some(16)),
            ("", None),
        ];
        for (text, major) in cases {
            assert_eq!(parse_major(text), major, "{text}");
        }
    }

    #[test]
    fn a_new_cluster_gets_the_first_recent_version_and_an_old_one_its_own() {
        let installed = || [9, 16, 17].map(|major| Binaries { dir: major.to_string().into(), major }).to_vec();
        assert_eq!(pick(installed(), None, 14).unwrap().major, 16);

        let cluster = tempfile::tempdir().unwrap();
        fs::write(cluster.path().join("PG_VERSION"), "17\n").unwrap();
        assert_eq!(pick(installed(), Some(cluster.path()), 14).unwrap().major, 17);

        fs::write(cluster.path().join("PG_VERSION"), "15\n").unwrap();
        let refusal = pick(installed(), Some(cluster.path()), 14).unwrap_err();
        assert!(refusal.to_string().contains("was made by Postgres 15"), "{refusal}");
        assert!(refusal.to_string().contains("installed are 9, 16, 17"), "{refusal}");
    }

    #[test]
    fn a_star_matches_a_part_of_a_name() {
        let root = tempfile::tempdir().unwrap();
        for name in ["pgsql-15", "pgsql-16", "other"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let root = root.path().display();
        let mut found = expand(&format!("{root}/pgsql-*/bin"));
        found.sort();
        let wanted = [15, 16].map(|major| PathBuf::from(format!("{root}/pgsql-{major}/bin")));
        assert_eq!(found, wanted);
    }
}
