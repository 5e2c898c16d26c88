//! Tells the program which commit it was built from, for `src/version.rs`, and gives it the files of the web pages
//! (`web/`), for `src/http/pages.rs`. It knows only what is committed: changes beside that do not show in the version.
//! Without a repository the program is built all the same, and says that it does not know.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

/// `git archive` replaces this by the commit and its date, so source code without a repository knows them too.
const ARCHIVE: &str = "$Format:%H %cs$";
/// The commit and its date, for a build that has neither, such as that of an image: `git log -1 --format='%H %cs'`.
const VARIABLE: &str = "BUILD_COMMIT";
/// As many digits of the commit are shown.
const DIGITS: usize = 10;

/// The folder of the web pages' files.
const WEB: &str = "web";
/// As many digits of the hash over all of them are in their addresses.
const HASH_DIGITS: usize = 16;
/// The media type of each kind of file. Those that are text are compressed.
const TYPES: [(&str, &str); 11] = [
    ("css", "text/css; charset=utf-8"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
];

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
    println!("cargo::rerun-if-changed={WEB}");
    if let Err(error) = embed_web(Path::new(&env::var_os("OUT_DIR").unwrap_or_default())) {
        println!("cargo::error=cannot embed {WEB}/: {error}");
    }
}

/// Writes `web_assets.rs`, the list of all files of the web pages. Their addresses contain a hash over all of them, so
/// that a browser may keep them for good, and so that they find each other by relative addresses.
fn embed_web(out: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    collect(&env::current_dir()?.join(WEB), "", &mut files)?;
    files.sort();
    let (mut hash, mut list) = (Sha256::new(), String::new());
    for (number, (name, path)) in files.iter().enumerate() {
        let content_type =
            content_type(name).ok_or_else(|| format!("add the media type of {name} to build.rs"))?;
        let bytes = fs::read(path)?;
        hash.update(format!("{name} {} ", bytes.len()));
        hash.update(&bytes);
        let is_text =
            content_type.contains("text") || content_type.contains("json") || content_type.contains("svg");
        let gzip = match is_text {
            true => {
                let file = out.join(format!("{number}.gz"));
                fs::write(&file, gzip(&bytes)?)?;
                format!("Some(include_bytes!({file:?}))")
            }
            false => "None".to_owned(),
        };
        writeln!(
            list,
            "    Asset {{ name: {name:?}, content_type: {content_type:?}, plain: include_bytes!({path:?}), gzip: {gzip} }},"
        )?;
    }
    let mut hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    hash.truncate(HASH_DIGITS);
    let code = format!("const HASH: &str = {hash:?};\nstatic ASSETS: &[Asset] = &[\n{list}];\n");
    Ok(fs::write(out.join("web_assets.rs"), code)?)
}

/// Collects the files of a folder and its subfolders, each with its name below the first folder. What is for engineers
/// alone is left out; licences stay, since each copy of the program must carry them.
fn collect(
    folder: &Path,
    prefix: &str,
    files: &mut Vec<(String, PathBuf)>,
) -> Result<(), Box<dyn std::error::Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let whole = format!("{prefix}{name}");
        if path.is_dir() {
            collect(&path, &format!("{whole}/"), files)?;
        } else if !name.starts_with('.') && !name.ends_with(".md") && !name.ends_with(".d.ts") {
            files.push((whole, path));
        }
    }
    Ok(())
}

fn content_type(name: &str) -> Option<&'static str> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let extension = if file.starts_with("LICENSE") { "txt" } else { file.rsplit('.').next()? };
    TYPES.iter().find(|(known, _)| *known == extension).map(|(_, content_type)| *content_type)
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    encoder.finish()
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
