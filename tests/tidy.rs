//! Rules of the code that the compiler does not check: which files may import which, unique type names, the
//! header of each file, where SQL may be, and the length of files. It does not run the code.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The most lines of a file. A longer file must be split; only `tests.rs` may be longer.
const MAX_LINES: usize = 600;

/// Every source file with its text, by its path from the root of the crate.
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

fn exists(folder: &str) -> bool {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).exists()
}

/// The module that a file of `src/` belongs to: its first folder, or its own name.
fn room(file: &str) -> &str {
    let inside = file.strip_prefix("src/").unwrap();
    inside.split(['/', '.']).next().unwrap()
}

/// The modules of the crate that a module may import. `None`: all.
fn may_import(room: &str) -> Option<&'static [&'static str]> {
    match room {
        "domain" => Some(&["domain"]),
        "clock" | "tls" | "version" => Some(&[]),
        "telemetry" => Some(&["tls"]),
        "config" => Some(&["config", "telemetry", "auth"]),
        "db" => Some(&["db", "domain", "tls"]),
        "auth" => Some(&["auth", "domain"]),
        "beacon" => Some(&["beacon", "domain", "tls"]),
        "payment" => Some(&["payment", "domain", "tls"]),
        "witness" => Some(&["domain", "tls"]),
        "export" => Some(&["export", "db", "domain"]),
        "actors" => Some(&["actors", "domain", "db", "beacon", "witness", "clock"]),
        "charges" => Some(&["charges", "domain", "db", "payment", "actors", "clock"]),
        "http" => {
            Some(&["http", "domain", "db", "auth", "payment", "export", "actors", "charges", "clock", "version"])
        }
        // Only these know every module.
        "app" | "cli" | "lib" | "main" => None,
        other => panic!("{other} is a new module: add here what it may import"),
    }
}

/// The modules that a line's code names, as in `crate::db::read` or `use crate::{actors::x, db}`.
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

/// Code without its comments: doc examples and prose may name any module.
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

/// Modules whose files may import each other: a file and its direct submodules, which are one unit in several
/// files. Between all other files there is no import circle.
const FAMILIES: [&str; 8] = [
    "src/actors/persistence",
    "src/app",
    "src/beacon",
    "src/cli",
    "src/domain/draw",
    "src/export",
    "src/payment",
    "src/telemetry",
];

/// A file's code without its comments and its tests.
fn production(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_test_module =
        |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
    let end = lines.windows(2).position(is_test_module).unwrap_or(lines.len());
    let comment = |line: &str| line.find("//").filter(|at| !line[..*at].ends_with(':'));
    lines[..end].iter().map(|line| comment(line).map_or(*line, |at| &line[..at])).collect::<Vec<_>>().join("\n")
}

/// The paths of one `use`: `a::{b, c::{d, e}}` gives three.
fn expand(tree: &str) -> Vec<String> {
    let Some((head, list)) = tree.split_once('{') else {
        return vec![tree.split(" as ").next().unwrap().trim().to_owned()];
    };
    let list = list.trim_end().strip_suffix('}').unwrap();
    let (mut depth, mut items) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match c {
            ',' if depth == 0 => items.push(String::new()),
            c => items.last_mut().unwrap().push(c),
        }
    }
    items.retain(|item| !item.trim().is_empty());
    items.iter().flat_map(|item| expand(item.trim())).map(|path| format!("{}{path}", head.trim())).collect()
}

/// Every path that a file names: in its `use` declarations, and elsewhere with `crate::` or `super::`.
fn paths(text: &str) -> Vec<String> {
    let code = production(text);
    let (mut paths, mut rest) = (Vec::new(), String::new());
    let mut statements = code.split_inclusive('\n').peekable();
    while let Some(line) = statements.next() {
        let declaration = line.trim_start();
        let visible = declaration
            .find("use ")
            .filter(|at| declaration[..*at].trim_end().is_empty() || declaration.starts_with("pub"));
        let Some(at) = visible else {
            rest.push_str(line);
            continue;
        };
        let mut tree = declaration[at + "use ".len()..].to_owned();
        while !tree.contains(';') {
            tree.push_str(statements.next().unwrap());
        }
        paths.extend(expand(tree.split(';').next().unwrap()));
    }
    for root in ["crate::", "super::"] {
        for (at, _) in rest.match_indices(root) {
            // The second `super` of `super::super::x` is a part of the same path.
            if !rest[..at].ends_with("::") {
                let end = rest[at..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
                paths.push(rest[at..end.map_or(rest.len(), |end| at + end)].to_owned());
            }
        }
    }
    paths
}

/// The module that a file holds, such as `["http", "error"]`.
fn module(file: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = file.trim_start_matches("src/").trim_end_matches(".rs").split('/').collect();
    if ["mod", "lib", "main"].contains(parts.last().unwrap()) {
        parts.pop();
    }
    parts
}

/// The file that a path in this file refers to, if it belongs to the crate.
fn target<'a>(file: &str, path: &str, files: &BTreeMap<Vec<&str>, &'a str>) -> Option<&'a str> {
    let segments: Vec<&str> = path.split("::").filter(|segment| !segment.is_empty()).collect();
    let above = segments.iter().take_while(|segment| **segment == "super").count();
    let here = module(file);
    let mut full = match segments.first() {
        Some(&"crate") => segments[1..].to_vec(),
        Some(&"super") => [&here[..here.len() - above], &segments[above..]].concat(),
        Some(&"self") => [&here[..], &segments[1..]].concat(),
        // A submodule, or another crate.
        Some(_) => [&here[..], &segments[..]].concat(),
        None => return None,
    };
    let is_relative = !["crate", "super", "self"].contains(&segments[0]);
    let shortest = if is_relative { here.len() + 1 } else { 1 };
    while full.len() >= shortest {
        if let Some(found) = files.get(&full) {
            return Some(found);
        }
        full.pop();
    }
    None
}

/// The files that each file imports.
fn imported_files(sources: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    let files = sources.keys().filter(|file| !file.ends_with("main.rs")).map(|file| (module(file), file.as_str()));
    let files: BTreeMap<Vec<&str>, &str> = files.collect();
    let targets = |(file, text): (&'_ String, &String)| {
        paths(text).iter().filter_map(|path| target(file, path, &files)).filter(|other| other != file).collect()
    };
    let production = sources.iter().filter(|(file, _)| !file.ends_with("tests.rs"));
    production.map(|(file, text)| (file.as_str(), targets((file, text)))).collect()
}

/// The files that a file imports, directly or through others.
fn reachable<'a>(file: &'a str, imports: &BTreeMap<&'a str, BTreeSet<&'a str>>) -> BTreeSet<&'a str> {
    let (mut found, mut next) = (BTreeSet::new(), vec![file]);
    while let Some(file) = next.pop() {
        next.extend(imports.get(file).into_iter().flatten().filter(|file| found.insert(**file)));
    }
    found
}

#[test]
fn files_import_each_other_in_one_direction() {
    let sources = sources("src");
    let imports = imported_files(&sources);
    assert!(imports["src/http/state.rs"].contains("src/db/mod.rs"), "imports are found");
    let reachable: BTreeMap<&str, BTreeSet<&str>> =
        imports.keys().map(|file| (*file, reachable(file, &imports))).collect();
    let in_family = |family: &str, file: &str| {
        file.strip_prefix(family).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    };
    let mut circles = BTreeSet::new();
    for (file, others) in &reachable {
        let circle: BTreeSet<&str> =
            others.iter().filter(|other| reachable[*other].contains(file)).copied().collect();
        let allowed = FAMILIES.iter().any(|family| circle.iter().all(|file| in_family(family, file)));
        if !circle.is_empty() && !allowed {
            circles.insert(circle);
        }
    }
    let mut report = String::new();
    for circle in &circles {
        for file in circle {
            let others: Vec<&str> = imports[file].intersection(circle).copied().collect();
            report.push_str(&format!("{file} imports {}\n", others.join(", ")));
        }
        report.push('\n');
    }
    assert!(circles.is_empty(), "files that import each other in a circle:\n{report}");
}

/// Names that several types have. Add a name only with its reason.
const SHARED_NAMES: [&str; 0] = [];

/// The name of the type that a line defines, if it defines one. Associated types (`type Error = …` in an `impl`)
/// do not count.
fn defined_type(line: &str) -> Option<&str> {
    let (indented, mut code) = (line.starts_with(' '), line.trim_start());
    let public = code.starts_with("pub");
    if public {
        code = code.trim_start_matches(|c| c != ' ').trim_start();
    }
    let (kind, rest) = code.split_once(' ')?;
    let is_type = ["struct", "enum", "trait", "union"].contains(&kind) || kind == "type" && (public || !indented);
    let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()?;
    (is_type && name.starts_with(char::is_uppercase)).then_some(name)
}

#[test]
fn no_type_name_is_defined_twice() {
    let mut definitions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, text) in ["src", "crates"].into_iter().filter(|folder| exists(folder)).flat_map(sources) {
        if file.ends_with("tests.rs") || file.contains("/tests/") || file.contains("/benches/") {
            continue;
        }
        for name in production(&text).lines().filter_map(defined_type) {
            definitions.entry(name.to_owned()).or_default().push(file.clone());
        }
    }
    assert!(definitions.contains_key("DrawSnapshot"), "definitions are found");
    definitions.retain(|name, files| files.len() > 1 && !SHARED_NAMES.contains(&name.as_str()));
    assert!(definitions.is_empty(), "types with the same name: {definitions:#?}");
}

#[test]
fn http_is_known_to_http_alone() {
    for (file, text) in sources("src") {
        // app starts the server, and main starts its runtime.
        if ["http", "app", "main"].contains(&room(&file)) || file.ends_with("tests.rs") {
            continue;
        }
        for (number, line) in production(&text).lines().enumerate() {
            let found = ["actix_web", "utoipa"].into_iter().find(|name| line.contains(name));
            assert!(found.is_none(), "{file}:{}: {} belongs in http", number + 1, found.unwrap_or_default());
        }
    }
}

#[test]
fn the_crates_beside_the_service_do_not_know_it() {
    let mut crates = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("crates")).unwrap() {
        let manifest = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        assert!(!manifest.lines().any(|line| line.starts_with("lottery")), "{manifest}");
        crates += 1;
    }
    assert!(crates > 0, "there are crates to check");
}

#[test]
fn http_reads_through_db_read_alone() {
    for (file, text) in sources("src/http") {
        for (number, line) in code(&text) {
            let is_sql = ["prepare(", "query(", "query_opt(", "execute("].iter().any(|call| line.contains(call));
            assert!(!is_sql, "{file}:{}: SQL belongs in db::read", number + 1);
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
            assert!(!writes, "{file}:{}: writes belong in actors/persistence/write", number + 1);
        }
    }
    let persistence =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/actors/persistence/mod.rs"));
    assert!(persistence.unwrap().contains("\nmod write;"), "the module is private");
}

#[test]
fn every_file_says_what_it_knows() {
    for folder in ["src", "tests", "benches", "crates"] {
        if !exists(folder) {
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
            // A statement must begin with its name in a line of its own, so no literal begins with a verb.
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

/// Cargo.lock has the dependencies of all crates, so an image in which a crate is missing is not built.
#[test]
fn the_image_is_built_from_every_crate() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let dockerfile = fs::read_to_string(root.join("Dockerfile")).unwrap();
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let copy = format!("COPY crates/{name}/Cargo.toml crates/{name}/\n");
        assert!(dockerfile.contains(&copy), "the Dockerfile needs the line {copy}");
        assert!(dockerfile.contains(&format!("crates/{name}/src/lib.rs")), "{name} needs an empty library");
    }
}

/// The binary contains these texts, and their licences want the notice beside each copy.
#[test]
fn the_image_has_the_notice_of_each_licence() {
    let text = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let dockerfile = text("Dockerfile");
    let copied: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY LICENSE ")).collect();
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/auth")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".LICENSE") {
            let path = format!("src/auth/{name}");
            assert!(
                copied.iter().any(|line| line.split(' ').any(|word| word == path)),
                "{path} is not in the image"
            );
        }
    }
}

/// Nobody starts containers in the tests, so the text of the files is what can be checked.
#[test]
fn containers_are_confined_and_receive_secrets_as_files() {
    for file in ["compose.yaml", "compose.ha.yaml"] {
        let compose = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let (shared, rest) = compose.split_once("\nservices:\n").unwrap();
        let rest = rest.split("\nsecrets:\n").next().unwrap().split("\nnetworks:\n").next().unwrap();
        let services: Vec<(&str, String)> = blocks(rest, "  ");
        assert!(services.len() > 1, "services are found");
        for (service, text) in services {
            // What several services share stands above them, under the name of an anchor.
            let anchors = text.lines().filter_map(|line| Some(line.split_once(": *")?.1));
            let anchored = anchors.map(|name| {
                let blocks = blocks(shared, "");
                let block = blocks.into_iter().find(|(_, text)| text.contains(&format!("&{name}\n")));
                block.unwrap_or_else(|| panic!("{file}: no anchor {name}")).1
            });
            let text = anchored.fold(text.clone(), |text, anchored| text + &anchored);
            let lines: Vec<&str> = text.lines().map(str::trim).collect();
            let knows_secrets = ["postgres", "service"].iter().any(|name| service.starts_with(name));
            let settings = [
                "read_only: true",
                "mem_limit: ",
                "pids_limit: ",
                "cap_drop: [ALL]",
                "security_opt: [\"no-new-privileges:true\"]",
            ];
            for setting in settings.into_iter().chain(knows_secrets.then_some("secrets: [")) {
                assert!(lines.iter().any(|line| line.starts_with(setting)), "{file}: {service} without {setting}");
            }
            let secret = lines.iter().find(|line| {
                let name = line.split(':').next().unwrap();
                ["SECRET", "PASSWORD", "DATABASE_URL", "OWNER_URL"].iter().any(|word| name.contains(word))
                    && !name.ends_with("_FILE")
            });
            assert_eq!(secret, None, "{file}: {service} has a secret in its environment");
        }
    }
}

/// The blocks of a YAML text that begin at this indent, by their names.
fn blocks<'t>(text: &'t str, indent: &str) -> Vec<(&'t str, String)> {
    let mut blocks: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let inner = line.strip_prefix(indent).filter(|inner| inner.starts_with(|c: char| c.is_alphabetic()));
        match (inner.and_then(|inner| inner.split_once(':')), blocks.last_mut()) {
            (Some((name, rest)), _) => blocks.push((name, format!("{rest}\n"))),
            (None, Some((_, block))) => *block += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    blocks
}
