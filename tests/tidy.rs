//! The house rules that a compiler does not hold: who may import whom, what each file begins with, where
//! writes may stand, how long a file may be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file stays readable in one sitting; what is longer must be split, or be tests beside their code.
const MAX_LINES: usize = 600;

/// Every source file by its path from the top.
fn sources(folder: &str) -> BTreeMap<String, String> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![top.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
                files.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    files
}

/// The room a file of `src/` belongs to: its first folder, or its own name.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split(['/', '.']).next().unwrap()
}

/// What a room may import of the crate. None: everything.
fn may_import(room: &str) -> Option<&'static [&'static str]> {
    match room {
        "domain" => Some(&["domain"]),
        "clock" | "tls" => Some(&[]),
        "telemetry" => Some(&["tls"]),
        "config" => Some(&["config", "telemetry"]),
        "db" => Some(&["db", "domain", "tls"]),
        "auth" => Some(&["auth", "domain"]),
        "payment" => Some(&["payment", "domain", "tls"]),
        "export" => Some(&["export", "db", "domain"]),
        "actors" => Some(&["actors", "domain", "db", "clock"]),
        "charges" => Some(&["charges", "domain", "db", "payment", "actors", "clock"]),
        "http" => Some(&["http", "domain", "db", "auth", "payment", "export", "actors", "charges", "clock"]),
        // They alone know every room.
        "app" | "cli" | "lib" | "main" => None,
        other => panic!("{other} is a new room: say here what it may import"),
    }
}

/// The rooms that a line's code names, as in `crate::db::read` or `use crate::{actors::x, db}`.
fn imports(line: &str) -> Vec<String> {
    let word = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => rooms.extend(list.split(',').map(|item| word(item.trim()))),
            None => rooms.push(word(rest)),
        }
    }
    rooms.retain(|room| !room.is_empty());
    rooms
}

/// Code without its comments; doc examples and prose name whom they like.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
}

#[test]
fn rooms_import_only_downward() {
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let Some(allowed) = may_import(room(&file)) else { continue };
        for (number, line) in code(&text) {
            for other in imports(line) {
                if !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{file}:{}: {} may not import {other}", number + 1, room(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_crates_beside_the_service_do_not_know_it() {
    let mut crates = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")).unwrap() {
        let manifest = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        assert!(!manifest.lines().any(|line| line.starts_with("lottery")), "{manifest}");
        crates += 1;
    }
    assert!(crates > 0, "there are crates to look at");
}

#[test]
fn http_reads_through_db_read_alone() {
    for (file, text) in sources("src/http") {
        for (number, line) in code(&text) {
            let is_sql = ["prepare(", "query(", "query_opt(", "execute("].iter().any(|call| line.contains(call));
            assert!(!is_sql, "{file}:{}: SQL stands in db::read", number + 1);
        }
    }
}

#[test]
fn writes_stand_in_one_private_room() {
    for (file, text) in sources("src") {
        if file.starts_with("src/actors/persistence/write/") {
            continue;
        }
        for (number, line) in code(&text) {
            let writes = ["INSERT INTO", "DELETE FROM", " SET "].iter().any(|verb| line.contains(verb))
                || line.trim_start().starts_with("UPDATE ");
            assert!(!writes, "{file}:{}: writes stand in actors/persistence/write", number + 1);
        }
    }
    let persistence =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors/persistence/mod.rs"));
    assert!(persistence.unwrap().contains("\nmod write;"), "the room is private");
}

#[test]
fn every_file_says_what_it_knows() {
    for folder in ["src", "tests", "benches", "crates"] {
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists() {
            continue;
        }
        for (file, text) in sources(folder) {
            assert!(text.starts_with("//!"), "{file} does not begin with //!");
        }
    }
}

#[test]
fn files_stay_readable_in_one_sitting() {
    for folder in ["src", "tests", "crates"] {
        for (file, text) in sources(folder) {
            let lines = text.lines().count();
            assert!(lines <= MAX_LINES || file.ends_with("tests.rs"), "{file} has {lines} lines");
        }
    }
}

#[test]
fn statements_bear_the_name_of_their_function() {
    let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE"];
    for (file, text) in sources("src") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let text = line.trim_start();
            // A statement that begins a literal must have had its name in the line before.
            let begins = verbs.iter().any(|verb| text.starts_with(&format!("\"{verb} ")));
            assert!(!begins, "{file}:{}: begin the statement with -- function_name()", number + 1);
        }
    }
}

#[test]
fn nothing_is_left_for_later() {
    for folder in ["src", "tests", "crates"] {
        for (file, text) in sources(folder) {
            if file == "tests/tidy.rs" {
                continue;
            }
            for (number, line) in text.lines().enumerate() {
                let left = ["TODO", "FIXME", "dbg!("].iter().any(|mark| line.contains(mark));
                assert!(!left, "{file}:{}: {line}", number + 1);
            }
        }
    }
}
