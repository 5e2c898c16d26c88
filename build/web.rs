//! Gives the program the files of the pages (`web/`), for `src/http/web_files.rs`: a list with the media type of each, and
//! with its compressed form if it is text. It does not change what is in them.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

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

/// Writes `web_assets.rs`, the list of all files of the web pages. Their addresses contain a hash over all of them, so
/// that a browser may keep them for good, and so that they find each other by relative addresses.
pub fn embed() -> Result<(), Box<dyn Error>> {
    // Cargo looks into the folder and its subfolders.
    println!("cargo::rerun-if-changed={WEB}");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("Cargo gives no OUT_DIR")?);
    let mut files = Vec::new();
    collect(&env::current_dir()?.join(WEB), "", &mut files)?;
    files.sort();
    let (mut hash, mut list) = (Sha256::new(), String::new());
    for (number, (name, path)) in files.iter().enumerate() {
        let content_type =
            content_type(name).ok_or_else(|| format!("add the media type of {name} to build/web.rs"))?;
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
fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> Result<(), Box<dyn Error>> {
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
