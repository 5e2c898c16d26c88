//! The files for containers: the Dockerfile, compose.yaml, .env.example and the script that makes the secrets. Nobody
//! starts containers in the tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use config::{Config, File, FileFormat};
use serde_json::Value;

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn yaml(name: &str) -> Value {
    let file = File::from_str(&text(name), FileFormat::Yaml);
    Config::builder().add_source(file).build().unwrap().try_deserialize().unwrap()
}

/// The variables of a compose file with their defaults: `${NAME:-default}`.
fn variables(compose: &str) -> BTreeMap<String, String> {
    let places = compose.split("${").skip(1).map(|rest| rest.split('}').next().unwrap());
    places
        .map(|place| place.split_once(":-").unwrap())
        .map(|(name, it)| (name.to_owned(), it.to_owned()))
        .collect()
}

#[test]
fn the_environment_of_compose_is_the_example_and_holds_no_secret() {
    let example = text(".env.example");
    let lines = example.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let example: BTreeMap<String, String> = lines
        .map(|line| line.split_once('=').unwrap())
        .map(|(name, it)| (name.to_owned(), it.to_owned()))
        .collect();
    let used = variables(&text("compose.yaml"));
    assert_eq!(used, example);
    assert!(used.len() >= 5);
    for name in used.keys() {
        // `docker inspect` shows variables.
        assert!(!["SECRET", "PASSWORD", "URL", "KEY", "TOKEN"].iter().any(|word| name.contains(word)), "{name}");
    }
    assert_eq!(variables(&text("compose.ha.yaml")), BTreeMap::new());
}

#[test]
fn compose_mounts_the_settings_where_the_service_looks_for_them() {
    let compose = yaml("compose.yaml");
    let volumes = compose["services"]["service"]["volumes"].as_array().unwrap();
    let settings = volumes.iter().find(|volume| volume.as_str().unwrap().ends_with("/config.yaml:ro")).unwrap();
    let directory = text("Dockerfile");
    let directory = directory.lines().filter_map(|line| line.strip_prefix("WORKDIR ")).next_back().unwrap();
    assert!(settings.as_str().unwrap().contains(&format!(":{directory}/config.yaml:")), "{settings}");
    // The anchors of the other file are complete.
    assert_eq!(yaml("compose.ha.yaml")["services"]["service1"]["hostname"], "lottery1");
}

#[test]
fn the_script_makes_every_secret_of_compose_once() {
    let directory = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/make_secrets.sh");
    let run = || Command::new("sh").arg(&script).current_dir(directory.path()).output().unwrap();
    let made = run();
    assert!(made.status.success(), "{made:?}");

    let secrets = directory.path().join("secrets");
    assert_eq!(fs::metadata(&secrets).unwrap().permissions().mode() & 0o777, 0o700);
    let read = |name: &str| fs::read_to_string(secrets.join(name)).unwrap();
    let files: BTreeSet<String> =
        fs::read_dir(&secrets).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    let compose = yaml("compose.yaml");
    assert_eq!(files, compose["secrets"].as_object().unwrap().keys().cloned().collect());
    for name in &files {
        let mode = fs::metadata(secrets.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{name}: the container's user reads it");
    }
    let owner = read("owner_password");
    assert!(owner.len() == 64 && owner != read("service_password"));
    assert_eq!(read("owner_url"), format!("postgres://lottery:{owner}@postgres/lottery?sslmode=disable"));
    assert!(read("database_url").contains(&format!("lottery_service:{}@", read("service_password"))));
    assert!(read("jwt_secret").len() >= 32);

    let again = run();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("the secrets that exist stay"), "{again:?}");
    assert_eq!(read("owner_password"), owner);
}

/// The paths that the Dockerfile copies from the project.
fn copied() -> Vec<String> {
    let dockerfile = text("Dockerfile");
    let copies =
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with('-'));
    copies
        .flat_map(|line| line.split(' ').rev().skip(1))
        .map(|path| path.trim_end_matches('/').to_owned())
        .collect()
}

#[test]
fn the_image_is_built_from_all_that_the_program_includes() {
    let copied = copied();
    let ignored = text(".dockerignore");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("src")];
    let mut found = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let source = fs::read_to_string(&path).unwrap_or_default();
            for place in source.split("include_").skip(1) {
                let Some(place) = place.strip_prefix("str!(\"").or_else(|| place.strip_prefix("bytes!(\"")) else {
                    continue;
                };
                let included = fs::canonicalize(folder.join(place.split('"').next().unwrap())).unwrap();
                let name = included.strip_prefix(fs::canonicalize(root).unwrap()).unwrap().to_str().unwrap();
                let top = name.split('/').next().unwrap();
                assert!(copied.iter().any(|copied| copied == top || copied == name), "{name} is not copied");
                let is_ignored =
                    |line: &str| line == top || line.strip_prefix('*').is_some_and(|end| name.ends_with(end));
                assert!(!ignored.lines().any(is_ignored), "{name} is in .dockerignore");
                found += 1;
            }
        }
    }
    assert!(found >= 3, "includes are found");
    assert!(
        ["migrations", "build.rs", "Cargo.lock"].iter().all(|name| copied.iter().any(|copied| copied == name))
    );
}

#[test]
fn the_labels_of_the_image_are_those_of_the_package() {
    let dockerfile = text("Dockerfile");
    for (label, value) in [
        ("title", "Lottery"),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("revision", "$REVISION"),
        ("created", "$CREATED"),
        ("licenses", "MIT"),
    ] {
        let line = format!("org.opencontainers.image.{label}=\"{value}\"");
        assert!(dockerfile.contains(&line), "{line} is missing");
    }
}
