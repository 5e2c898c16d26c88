//! Tells the program which commit it was built from, for `src/version.rs`, and lets `build/web.rs` give it the files of the
//! pages. It knows only what is committed: changes beside that do not show. Without a repository the program is built all
//! the same, and says that it does not know.

use std::env;
use std::path::Path;
use std::process::Command;

#[path = "build/web.rs"]
mod web;

/// `git archive` replaces this by the commit and its date, so source code without a repository knows them too.
const ARCHIVE: &str = "$Format:%H %cs$";
/// The commit and its date, for a build that has neither, such as that of an image: `git log -1 --format='%H %cs'`.
const VARIABLE: &str = "BUILD_COMMIT";
/// As many digits of the commit are shown.
const DIGITS: usize = 10;

fn main() {
    // Cargo runs this again only if one of the named things has changed, and then compiles the crate again.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let given = env::var(VARIABLE).ok();
    let commit = given.as_deref().and_then(parse).or_else(|| parse(ARCHIVE)).or_else(of_repository);
    let (commit, date) = commit.unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let text = match commit.as_str() {
        "unknown" => format!("{version} (unknown commit)"),
        commit => format!("{version} ({commit} {date})"),
    };
    println!("cargo::rustc-env=LOTTERY_COMMIT={commit}");
    println!("cargo::rustc-env=LOTTERY_COMMIT_DATE={date}");
    println!("cargo::rustc-env=LOTTERY_VERSION={text}");
    if let Err(error) = web::embed() {
        println!("cargo::error=cannot embed the pages: {error}");
    }
}

/// The commit that is checked out here. A directory above may be the repository of something else.
fn of_repository() -> Option<(String, String)> {
    if !Path::new(".git").exists() {
        return None;
    }
    // Each commit, checkout and rebase appends to the log of HEAD. Cargo would take a file that does not exist as one
    // that always changes.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).exists() {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    parse(&git(&["log", "-1", "--format=%H %cs"])?)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// A commit and its date, separated by a space.
fn parse(text: &str) -> Option<(String, String)> {
    let (commit, date) = text.trim().split_once(' ')?;
    let is_date = date.len() == 10 && date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let is_commit = commit.len() >= DIGITS && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_commit && is_date).then(|| (commit[..DIGITS].to_owned(), date.to_owned()))
}
