//! The session of the README: every step works in every shell.

use super::*;

const SCRIPT: &str = include_str!("../../../docs/session.sh");
const WEBHOOK: &str = "A card that takes its time";

/// Runs the script in this shell, beside a service of its own. Returns what it prints.
async fn run(shell: &str, script: &str) -> String {
    let program = program_with_database().await;
    let service = program.start().await;
    let file = program.directory().join("session.sh");
    fs::write(&file, script).unwrap();
    let mut command = program.command(&[]);
    let variables: Vec<_> =
        command.as_std().get_envs().map(|(name, it)| (name.to_owned(), it.unwrap().to_owned())).collect();
    command = tokio::process::Command::new(shell);
    command.arg(&file).current_dir(program.directory()).env_clear().envs(variables).kill_on_drop(true);
    command.env("API", format!("http://{}/api/v1", service.address)).env("LOTTERY", env!("CARGO_BIN_EXE_lottery"));
    let output =
        tokio::time::timeout(crate::common::wait::TIMEOUT, command.output()).await.expect("it ends").unwrap();
    let (code, out, error) = printed(&output);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{shell}: {out}");
    service.stop().await;
    out
}

/// Each heading is there, and the last answer is the wallet's, with the money of the webhook.
fn check(shell: &str, out: &str) {
    let headings = SCRIPT.lines().filter_map(|line| line.trim().strip_prefix("step \""));
    let headings = headings.map(|line| line.trim_end_matches('"')).filter(|line| !line.contains("left out"));
    let mut rest = out;
    let mut count = 0;
    for heading in headings {
        rest =
            rest.split_once(&format!("== {heading}\n")).unwrap_or_else(|| panic!("{shell}: {heading}: {out}")).1;
        count += 1;
    }
    assert!(count >= 10, "headings are found");
    let (transfers, wallet) = rest.split_once("GET /wallet \n").unwrap();
    let wallet: Value = serde_json::from_str(wallet).unwrap();
    let transfers: Value = serde_json::from_str(transfers.split_once('\n').unwrap().1).unwrap();
    let newest = &transfers["items"][0];
    assert_eq!((&newest["kind"], &newest["amount"]), (&json!("deposit"), &json!(500)), "{shell}");
    assert_eq!(newest["balance_after"], wallet["balance"], "{shell}");
    assert!(wallet["balance"].as_i64().unwrap() >= 100_000 - 30_000 + 500, "{wallet}");
}

#[actix_web::test]
async fn the_session_of_the_readme_runs_in_sh_and_bash() {
    assert!(include_str!("../../../README.md").contains("\nsh docs/session.sh\n"));
    for shell in ["sh", "bash"] {
        check(shell, &run(shell, SCRIPT).await);
    }
}

#[actix_web::test]
#[ignore = "needs zsh, which .ci/shells installs"]
async fn the_session_of_the_readme_runs_in_zsh() {
    check("zsh", &run("zsh", SCRIPT).await);
}

/// As after fifteen minutes: Ann's token is not valid any more.
#[actix_web::test]
async fn the_webhook_of_the_session_works_after_the_token_has_expired() {
    let (before, webhook) = SCRIPT.split_once(&format!("    step \"{WEBHOOK}")).unwrap();
    let late = format!("{before}    ANN=a.token.of.before\n    step \"{WEBHOOK}{webhook}");
    check("sh", &run("sh", &late).await);
}

#[actix_web::test]
async fn a_session_without_a_service_says_what_to_do() {
    let program = Program::new();
    let file = program.directory().join("session.sh");
    let script = SCRIPT.split("step \"An admin").next().unwrap();
    fs::write(&file, format!("{script}\ncall '' GET /draws\necho went on\n")).unwrap();
    let mut command = tokio::process::Command::new("sh");
    let (code, out, error) =
        printed(&command.arg(&file).env("API", "http://127.0.0.1:1/api/v1").output().await.unwrap());
    assert_eq!(code, Some(1));
    assert!(error.ends_with("no service answers at http://127.0.0.1:1/api/v1: start it first\n"), "{error}");
    assert!(!out.contains("went on"), "{out}");
}
