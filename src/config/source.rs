//! Where the settings come from: the built-in defaults, a file, the environment; a later source overrides an
//! earlier one.
//!
//! The defaults are `config.yaml` itself. They contain every key, so a key that is not among them is refused
//! by name. This file does not know what a value means.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::{Config, ConfigError, ConfigProblem};

/// All keys with their defaults.
const DEFAULTS: &str = include_str!("../../config.yaml");

/// The file that is read if the command line names none and this one exists.
const FILE: &str = "config.yaml";

/// The prefix of our variables: `LOTTERY__TICKETS__RESERVATION` is `tickets.reservation`.
const PREFIX: &str = "LOTTERY__";

/// The name that hosting platforms use; `LOTTERY__DATABASE__URL` overrides it.
const DATABASE_URL: &str = "DATABASE_URL";

/// What is said of a number that is not whole.
const WHOLE: &str = "must be a whole number; a text of digits needs quotes";

/// The variables of secrets. Each has a second one, with `_FILE` behind its name, that names a file which contains the
/// secret: containers receive their secrets as files, and an environment is easier to see than a file.
const SECRETS: [&str; 8] = [
    DATABASE_URL,
    "LOTTERY__DATABASE__URL",
    "LOTTERY__DATABASE__OWNER_URL",
    "LOTTERY__AUTH__JWT_SECRET",
    "LOTTERY__AUTH__JWT_SECRET_PREVIOUS",
    "LOTTERY__FAIRNESS__MASTER_SECRET",
    "LOTTERY__PAYMENTS__WEBHOOK_SECRET",
    "LOTTERY__PAYMENTS__STRIPE_KEY",
];

/// The settings that are lists, each with an example.
pub(super) const LISTS: [(&str, &str); 5] = [
    ("server.trusted_proxies", "[10.0.0.7, 10.0.0.0/8]"),
    ("server.cors_origins", "['https://shop.example']"),
    ("fairness.beacon_endpoints", "['https://api.drand.sh']"),
    (
        "lotteries",
        "[{id: 2of10, name: 2 of 10, pick: 2, of: 10, price: 100, fund_share: 5000, \
         prizes: [{matches: 2, share: 10000}]}]",
    ),
    (
        "schedules",
        "[{lottery: 5of36, at: every day at 20:00, time_zone: Europe/Moscow, on_sale: 2d, cut_off: 15m, pool: 0, \
         ahead: 1}]",
    ),
];

type YamlTable = Map<String, Value>;

/// Environment variables by name.
pub(super) type Variables = BTreeMap<String, String>;

/// A file's text, and its name for error messages.
pub(super) struct FileText {
    pub(super) origin: String,
    pub(super) text: String,
}

impl Config {
    /// Reads and checks the settings, once, at the start. The settings of `file` (which must exist), or of
    /// `./config.yaml` if it exists, override the defaults; the environment overrides both.
    pub fn load(file: Option<&Path>) -> Result<Config, ConfigError> {
        let file = match file {
            Some(path) => Some(read(path)?),
            None => match read(Path::new(FILE)) {
                Err(ConfigError::Unreadable { cause, .. }) if cause.kind() == ErrorKind::NotFound => None,
                result => Some(result?),
            },
        };
        let mut variables = environment()?;
        read_secret_files(&mut variables)?;
        Config::from_sources(file, &variables)
    }

    /// The environment variables that are ignored because of their underscores, each with the name that was meant:
    /// `LOTTERY_SERVER_PORT` is no setting. Any other variable that begins so may belong to another program.
    pub fn misspelled_variables() -> Vec<ConfigProblem> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let problem = |name: String| {
            let what = format!("is ignored; set {} (with two underscores before each part)", meant(&name)?);
            Some(ConfigProblem { key: name, what })
        };
        let mut problems: Vec<_> = names.filter(|name| !name.starts_with(PREFIX)).filter_map(problem).collect();
        problems.sort();
        problems
    }

    /// The same, with the file and the environment as arguments.
    pub(super) fn from_sources(file: Option<FileText>, variables: &Variables) -> Result<Config, ConfigError> {
        let mut settings = parse("the built-in configuration", DEFAULTS)?;
        let mut problems = Vec::new();
        if let Some(file) = file {
            overlay(&mut settings, parse(&file.origin, &file.text)?, "", &file.origin, &mut problems);
        }
        overlay_variables(&mut settings, variables, &mut problems)?;
        if !problems.is_empty() {
            problems.sort();
            return Err(ConfigError::Invalid(problems));
        }
        serde_path_to_error::deserialize::<_, Config>(Value::new(None, settings)).map_err(explain)?.validate()
    }
}

fn read(path: &Path) -> Result<FileText, ConfigError> {
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(FileText { origin, text }),
        Err(cause) => Err(ConfigError::Unreadable { path: path.to_owned(), cause }),
    }
}

/// The environment variables that are settings.
fn environment() -> Result<Variables, ConfigError> {
    let mut variables = Variables::new();
    for (name, value) in std::env::vars_os() {
        let Ok(name) = name.into_string() else { continue };
        let is_url = name.strip_suffix("_FILE").unwrap_or(&name) == DATABASE_URL;
        if !is_url && !name.starts_with(PREFIX) {
            continue;
        }
        match value.into_string() {
            Ok(value) => variables.insert(name, value),
            Err(_) => return Err(invalid(name, "is not UTF-8")),
        };
    }
    Ok(variables)
}

/// Replaces each variable that names the file of a secret by the variable with the secret.
pub(super) fn read_secret_files(variables: &mut Variables) -> Result<(), ConfigError> {
    for name in SECRETS {
        let file = format!("{name}_FILE");
        // An empty variable counts as unset, as below.
        let Some(path) = variables.remove(&file).filter(|path| !path.is_empty()) else { continue };
        if variables.get(name).is_some_and(|value| !value.is_empty()) {
            return Err(invalid(file, &format!("is set along with {name}: set only one of them")));
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|cause| invalid(file, &format!("cannot read {path}: {cause}")))?;
        // Editors and `openssl` end the file with a new line.
        variables.insert(name.to_owned(), text.trim_end().to_owned());
    }
    Ok(())
}

/// The variable of a setting whose name differs from this one in the number of underscores alone.
fn meant(name: &str) -> Option<String> {
    let squeezed = squeeze(name);
    let defaults = parse("the built-in configuration", DEFAULTS).unwrap_or_default();
    let mut known = Vec::new();
    add_variables(&defaults, PREFIX.trim_end_matches('_'), &mut known);
    let ours = SECRETS.iter().filter(|secret| secret.starts_with(PREFIX));
    known.extend(ours.map(|secret| format!("{secret}_FILE")));
    known.into_iter().find(|known| known != name && squeeze(known) == squeezed)
}

fn squeeze(name: &str) -> String {
    name.split('_').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("_").to_ascii_uppercase()
}

/// Adds the variable of each setting below a section.
fn add_variables(section: &YamlTable, at: &str, to: &mut Vec<String>) {
    for (name, value) in section {
        let variable = format!("{at}__{}", name.to_ascii_uppercase());
        match &value.kind {
            ValueKind::Table(section) => add_variables(section, &variable, to),
            _ => to.push(variable),
        }
    }
}

fn parse(origin: &str, yaml: &str) -> Result<YamlTable, ConfigError> {
    config::File::from_str(yaml, FileFormat::Yaml)
        .collect()
        .map_err(|error| ConfigError::Syntax { origin: origin.to_owned(), cause: error.to_string() })
}

/// Replaces values of `settings` by those of `given`, section by section. An empty value changes nothing.
fn overlay(settings: &mut YamlTable, given: YamlTable, at: &str, origin: &str, problems: &mut Vec<ConfigProblem>) {
    for (name, value) in given {
        let key = format!("{at}{name}");
        let mut refuse =
            |what: &str| problems.push(ConfigProblem { key: key.clone(), what: format!("{what}, in {origin}") });
        let Some(slot) = settings.get_mut(&name) else {
            refuse("there is no such setting");
            continue;
        };
        match (&mut slot.kind, value.kind) {
            (_, ValueKind::Nil) => {}
            (ValueKind::Table(section), ValueKind::Table(given)) => {
                overlay(section, given, &format!("{key}."), origin, problems);
            }
            (ValueKind::Table(_), _) => refuse("is a section: its settings must follow, indented"),
            (ValueKind::Array(_), kind) if !matches!(kind, ValueKind::Array(_)) => refuse(&must_be_a_list(&key)),
            (_, kind) if fraction(&kind) => refuse(WHOLE),
            (slot, kind) => *slot = kind,
        }
    }
}

/// Whether a value is or contains a float. The `config` crate would round it, and a price of 99.90 is not
/// 100.
fn fraction(kind: &ValueKind) -> bool {
    match kind {
        ValueKind::Float(_) => true,
        ValueKind::Array(items) => items.iter().any(|item| fraction(&item.kind)),
        ValueKind::Table(table) => table.values().any(|value| fraction(&value.kind)),
        _ => false,
    }
}

fn overlay_variables(
    settings: &mut YamlTable,
    variables: &Variables,
    problems: &mut Vec<ConfigProblem>,
) -> Result<(), ConfigError> {
    let plain =
        variables.get_key_value(DATABASE_URL).map(|(name, value)| (name, "database__url".to_owned(), value));
    let ours = variables
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?.to_ascii_lowercase(), value)));
    for (name, path, value) in plain.into_iter().chain(ours) {
        let Some(slot) = slot(settings, &path) else {
            let meant = meant(name).map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
            let what = format!("there is no such setting{meant}");
            problems.push(ConfigProblem { key: name.clone(), what });
            continue;
        };
        // An empty variable counts as unset, because compose files pass `${NAME:-}`.
        if value.is_empty() {
            continue;
        }
        slot.kind = match slot.kind {
            ValueKind::Array(_) => list(name, &path.replace("__", "."), value)?,
            _ => ValueKind::String(value.clone()),
        };
    }
    Ok(())
}

/// The setting at a path such as `tickets__reservation`; `None` for a section.
fn slot<'a>(settings: &'a mut YamlTable, path: &str) -> Option<&'a mut Value> {
    match path.split_once("__") {
        None => settings.get_mut(path).filter(|value| !matches!(value.kind, ValueKind::Table(_))),
        Some((section, rest)) => match &mut settings.get_mut(section)?.kind {
            ValueKind::Table(section) => slot(section, rest),
            _ => None,
        },
    }
}

/// A variable contains a list as one line of YAML or JSON.
fn list(name: &str, key: &str, yaml: &str) -> Result<ValueKind, ConfigError> {
    let value = parse(name, &format!("list: {yaml}")).ok().and_then(|mut table| table.remove("list"));
    match value.map(|value| value.kind) {
        Some(kind @ ValueKind::Array(_)) if !fraction(&kind) => Ok(kind),
        Some(ValueKind::Array(_)) => Err(invalid(name.to_owned(), WHOLE)),
        _ => Err(invalid(name.to_owned(), &must_be_a_list(key))),
    }
}

fn must_be_a_list(key: &str) -> String {
    let example = LISTS.iter().find(|(list, _)| *list == key).map_or("[]", |(_, example)| example);
    format!("must be a list such as {example}")
}

fn invalid(key: String, what: &str) -> ConfigError {
    ConfigError::Invalid(vec![ConfigProblem { key, what: what.to_owned() }])
}

/// Converts the error for an invalid value into ours, which begins with the key.
fn explain(error: serde_path_to_error::Error<config::ConfigError>) -> ConfigError {
    let key = error.path().to_string();
    let mut error = error.into_inner();
    // The crate's wrapper would name the key once more.
    while let config::ConfigError::At { error: inner, .. } = error {
        error = *inner;
    }
    match error {
        config::ConfigError::Type { unexpected, expected, .. } => {
            invalid(key, &format!("must be {expected}, not {unexpected}"))
        }
        // The path leads to the section in which the field is missing; the crate's text ends with the field's
        // name.
        config::ConfigError::NotFound(field) => {
            let field = field.rsplit(['.', ']']).next().unwrap_or(&field);
            invalid(key, &format!("`{field}` is missing"))
        }
        other => invalid(key, &other.to_string()),
    }
}
