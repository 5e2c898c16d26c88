//! The first start records the name of the logs and the fingerprint of the master secret. A later start with another
//! secret is refused, and the name stays.

use verifiable_draw::checkpoint::Checkpoint;
use verifiable_draw::event::Event;
use verifiable_draw::note::SignedNote;
use verifiable_draw::vkey::VerifierKey;

use super::*;

const OTHER: &str = "3a9d1c5be2f04786a1b2c3d4e5f60718293a4b5c6d7e8f9001122334455667aa";

/// The program, whose master secret is in its data directory.
fn unconfigured(database: &tokio_postgres::Config) -> Program {
    // An empty variable counts as unset.
    program_on(database).with(MASTER_VARIABLE, "")
}

fn file(program: &Program) -> PathBuf {
    program.data().join("log_master")
}

async fn origin(database: &tokio_postgres::Config) -> String {
    let sql = db::connect(database).await.unwrap();
    sql.query_one("SELECT origin FROM log_identity", &[]).await.unwrap().get(0)
}

#[actix_web::test]
async fn the_first_start_makes_the_master_secret_and_a_start_with_another_one_is_refused() {
    let database = server::database().await;
    let first = unconfigured(&database);
    for command in [vec!["migrate"], vec!["check"]] {
        assert_eq!(first.run(&command).await.status.code(), Some(0), "{command:?}");
    }
    assert!(!file(&first).exists(), "only a start of the service makes it");
    first.start().await.stop().await;
    assert_eq!(fs::metadata(file(&first)).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = fs::read_to_string(file(&first)).unwrap();

    // A service that lost its data directory, or a second one.
    let second = unconfigured(&database);
    let said = refusal(&second, &["serve"]).await;
    assert!(said.contains("this service has none: copy the file log_master"), "{said}");
    assert!(said.contains("All services on a database need the same one"), "{said}");
    assert!(!file(&second).exists(), "a wrong one would stand in the way of the right one");

    fs::create_dir_all(second.data()).unwrap();
    fs::write(file(&second), OTHER).unwrap();
    let said = refusal(&second, &["serve"]).await;
    let other = format!("the master secret of {} is not the one", Path::new("data/log_master").display());
    assert!(said.contains(&other) && said.contains("copy the file log_master"), "{said}");
    assert!(!said.contains(&OTHER[..8]), "{said}");
    let said = refusal(&second.with(MASTER_VARIABLE, OTHER), &["serve"]).await;
    assert!(said.contains("the master secret of fairness.master_secret is not the one"), "{said}");

    // Copied, either way.
    let copied = unconfigured(&database);
    fs::create_dir_all(copied.data()).unwrap();
    fs::write(file(&copied), &secret).unwrap();
    copied.start().await.stop().await;
    let configured = unconfigured(&database).with(MASTER_VARIABLE, secret.trim());
    configured.start().await.stop().await;
    assert!(!file(&configured).exists());
    // The first one goes on, with what it has.
    first.start().await.stop().await;
    assert_eq!(fs::read_to_string(file(&first)).unwrap(), secret);
}

#[actix_web::test]
async fn the_logs_keep_the_name_of_the_first_start() {
    let url = "LOTTERY__SERVER__PUBLIC_URL";
    let unnamed = program_with_database().await;
    unnamed.start().await.stop().await;
    let name = origin(&database(&unnamed)).await;
    let id = name.strip_prefix("lottery.localhost/").and_then(|rest| rest.strip_suffix("/api/v1/log")).unwrap();
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    assert_ne!(name, {
        let other = program_with_database().await;
        other.start().await.stop().await;
        origin(&database(&other)).await
    });

    let named = program_with_database().await.with(url, "https://lottery.example");
    let log = named.start().await.stop().await.join("\n");
    assert_eq!(origin(&database(&named)).await, "lottery.example/api/v1/log");
    let warned = "the logs keep the name";
    assert!(!log.contains(warned), "{log}");
    for program in [unnamed.with(url, "https://lottery.example"), named.with(url, "https://new.example")] {
        let before = origin(&database(&program)).await;
        let log = program.start().await.stop().await.join("\n");
        assert!(log.contains(warned) && log.contains(&before), "{log}");
        assert_eq!(origin(&database(&program)).await, before);
    }
}

#[actix_web::test]
async fn what_the_logs_are_stays() {
    let world = World::new().await;
    let sql = world.sql().await;
    for change in ["UPDATE log_identity SET origin = 'x'", "DELETE FROM log_identity", "TRUNCATE log_identity"] {
        let refused = sql.batch_execute(change).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("is not allowed"), "{change}: {refused}");
    }
}

/// The head of the public log, opened with each of these keys alone.
async fn opens<const N: usize>(service: &Service, keys: [&VerifierKey; N]) -> [bool; N] {
    let url = format!("http://{}/api/v1/log/checkpoint", service.address);
    let note = http_client().get(url).send().await.unwrap().bytes().await.unwrap();
    keys.map(|key| Checkpoint::open(&SignedNote::parse(&note).unwrap(), [key]).is_ok())
}

async fn shown_key(service: &Service) -> VerifierKey {
    let keys = service.anonymous().get("/keys").await.expect(200);
    VerifierKey::parse(keys["log"].as_str().unwrap()).unwrap()
}

#[actix_web::test]
async fn the_key_of_the_public_log_is_rotated_while_both_keys_sign() {
    let program = program_with_database().await;
    for command in [["log", "rotate-key"], ["log", "retire-key"]] {
        let said = refusal(&program, &command).await;
        assert!(said.contains("never started") || said.contains("has no schema"), "{said}");
    }
    let service = program.start().await;
    let old = shown_key(&service).await;
    let said = refusal(&program, &["log", "retire-key"]).await;
    assert!(said.contains("only one key signs the public log: add another one first"), "{said}");
    let wrong = program_on(&database(&program)).with(MASTER_VARIABLE, OTHER);
    let said = refusal(&wrong, &["log", "rotate-key"]).await;
    assert!(said.contains("the master secret of fairness.master_secret is not the one"), "{said}");

    // While the service runs: it signs with the new key from its next start on.
    let printed = program.run(&["log", "rotate-key"]).await;
    let printed = String::from_utf8(printed.stdout).unwrap();
    let new = VerifierKey::parse(printed.lines().next().unwrap()).unwrap();
    assert!(new.name() == old.name() && new != old);
    let said = refusal(&program, &["log", "rotate-key"]).await;
    assert!(said.contains("retire the older one first"), "{said}");
    assert_eq!(opens(&service, [&old, &new]).await, [true, false]);
    service.stop().await;
    let service = program.start().await;
    assert_eq!(opens(&service, [&old, &new]).await, [true, true]);
    assert_eq!(shown_key(&service).await, new);
    // A node that stands by is recorded with the same keys.
    let other = program_on(&database(&program));
    let standby = other.stand_by().await;
    service.stop().await;
    until("the other one serves", async || opens_at(&standby, &[&old, &new]).await == Some(true)).await;
    standby.stop().await;

    assert_eq!(program.run(&["log", "retire-key"]).await.status.code(), Some(0));
    let service = program.start().await;
    assert_eq!(opens(&service, [&old, &new]).await, [false, true]);
    service.stop().await;
    let entries = db::connect(&database(&program)).await.unwrap();
    let entries = entries.query("SELECT entry FROM log_entries ORDER BY index", &[]).await.unwrap();
    let events: Vec<Event> = entries.iter().map(|row| Event::parse(row.get(0)).unwrap()).collect();
    let keys = events.iter().map(|event| match event {
        Event::KeyAdded { vkey, .. } => ("added", vkey.clone()),
        Event::KeyRetired { vkey, .. } => ("retired", vkey.clone()),
        other => panic!("{other:?}"),
    });
    assert_eq!(keys.collect::<Vec<_>>(), [("added", new.to_string()), ("retired", old.to_string())]);
    let audited = db::connect(&database(&program)).await.unwrap();
    let audited =
        audited.query("SELECT action FROM audit_log WHERE subject = 'log' ORDER BY id", &[]).await.unwrap();
    let audited: Vec<&str> = audited.iter().map(|row| row.get(0)).collect();
    assert_eq!(audited, ["log.rotate_key", "log.retire_key"]);
    assert_eq!(program.run(&["check"]).await.status.code(), Some(0));
}

/// Whether all of these keys open the head; `None`: the service does not serve.
async fn opens_at(service: &Service, keys: &[&VerifierKey]) -> Option<bool> {
    let url = format!("http://{}/api/v1/log/checkpoint", service.address);
    // A node that takes over gives up the connections on which it stood by.
    let Ok(answer) = http_client().get(url).send().await else { return None };
    if answer.status() != 200 {
        return None;
    }
    let note = answer.bytes().await.unwrap();
    Some(keys.iter().all(|key| Checkpoint::open(&SignedNote::parse(&note).unwrap(), [*key]).is_ok()))
}
