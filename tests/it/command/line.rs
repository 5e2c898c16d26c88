//! The command line: what it refuses and how, what it prints to a terminal, to a pipe that is closed, and for shells.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use nix::pty::openpty;
use nix::unistd::Pid;

use super::*;

/// A command whose output goes to a terminal. Returns the other end.
fn on_terminal(program: &Program, arguments: &[&str]) -> (tokio::process::Child, File) {
    let terminal = openpty(None, None).unwrap();
    let stdout: OwnedFd = terminal.slave;
    let child = program.command(arguments).stdout(Stdio::from(stdout)).stderr(Stdio::piped()).spawn().unwrap();
    (child, File::from(terminal.master))
}

/// Reads what is printed to a terminal, until this text has come, or to the end.
async fn read_until(mut terminal: File, text: &'static str) -> String {
    let reading = tokio::task::spawn_blocking(move || {
        let (mut printed, mut bytes) = (String::new(), [0; 4096]);
        while !printed.contains(text) {
            // At the end of the program, Linux says that the terminal is gone.
            match terminal.read(&mut bytes) {
                Ok(count) if count > 0 => printed.push_str(&String::from_utf8_lossy(&bytes[..count])),
                _ => break,
            }
        }
        printed
    });
    reading.await.unwrap()
}

/// Runs a command whose reader has closed the pipe before the first byte; returns its exit code and standard error.
async fn run_without_reader(program: &Program, arguments: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program.command(arguments);
    let child = command.stdout(Stdio::from(writer)).stderr(Stdio::piped()).spawn().unwrap();
    // It still has the end that is written to.
    drop(command);
    let output = child.wait_with_output().await.unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

// What is refused.

#[actix_web::test]
async fn a_level_that_is_none_is_refused_with_those_that_are() {
    let levels = "must be off, error, warn, info, debug or trace, or a filter such as info,lottery::http=debug, not \"loud\"";
    for (variable, key) in [("LOTTERY__LOG__LEVEL", "log.level"), ("RUST_LOG", "RUST_LOG")] {
        let program = Program::new().with(variable, "loud");
        assert_eq!(refusal(&program, &["serve"]).await, format!("lottery: {key}: {levels}\n"));
        assert!(!program.data().exists(), "nothing is begun");
    }
}

#[actix_web::test]
async fn a_number_out_of_range_is_refused_with_the_range() {
    for (variable, value, said) in [
        ("SERVER__PORT", "65536", "server.port: must be 0 to 65535, not 65536"),
        ("SERVER__WORKERS", "-1", "server.workers: must be 0 to 1024, not -1"),
        ("SERVER__PORT", "eighty", "server.port: must be 0 to 65535, not \"eighty\""),
        ("LIMITS__LOGIN_FAILURES", "0", "limits.login_failures: must be 1 to 4294967295, not 0"),
        (
            "WALLET__MIN_WITHDRAWAL",
            "99999999999999999999",
            "wallet.min_withdrawal: must be 1 to 1000000000000, not 9",
        ),
        ("AUTH__ACCESS_TOKEN", "2d", "auth.access_token: must be 1s to 24h, not 48h"),
    ] {
        let program = Program::new().with(&format!("LOTTERY__{variable}"), value);
        let refused = refusal(&program, &["serve"]).await;
        assert!(refused.starts_with(&format!("lottery: {said}")), "{refused}");
    }
}

#[actix_web::test]
async fn a_list_that_is_none_is_refused_with_an_example() {
    for (variable, value, example) in [
        ("LOTTERY__SERVER__TRUSTED_PROXIES", "10.0.0.7", "[10.0.0.7, 10.0.0.0/8]"),
        ("LOTTERY__SERVER__CORS_ORIGINS", "https://shop.example", "['https://shop.example']"),
        ("LOTTERY__LOTTERIES", "5of36", "[{id: 2of10, name: 2 of 10, "),
        ("LOTTERY__SCHEDULES", "{", "[{lottery: 5of36, at: every day at 20:00, "),
    ] {
        let refused = refusal(&Program::new().with(variable, value), &["serve"]).await;
        assert!(
            refused.starts_with(&format!("lottery: {variable}: must be a list such as {example}")),
            "{refused}"
        );
    }
    let program = Program::new();
    fs::write(program.directory().join("config.yaml"), "server: {trusted_proxies: 10.0.0.7}").unwrap();
    let refused = refusal(&program, &["serve"]).await;
    let sentence =
        "lottery: server.trusted_proxies: must be a list such as [10.0.0.7, 10.0.0.0/8], in config.yaml\n";
    assert_eq!(refused, sentence);
}

#[actix_web::test]
async fn a_variable_with_one_underscore_is_warned_of() {
    let program = Program::new().with("LOTTERY_SERVER_HOST", "::1").with("LOTTERY_DATABASE_URL_FILE", "x");
    // Another program's, and that of a setting.
    let program = program.with("LOTTERY_SERVICE_HOST", "10.0.0.1").with("LOTTERY__LOG__LEVEL", "info");
    let (code, _, error) = printed(&program.run(&["health"]).await);
    assert_eq!(code, Some(1), "the service does not run");
    let warnings: Vec<&str> = error.lines().filter_map(|line| Some(line.split_once(" WARN ")?.1)).collect();
    let underscores = "(with two underscores before each part)";
    assert_eq!(
        warnings,
        [
            format!(
                "lottery::cli: LOTTERY_DATABASE_URL_FILE: is ignored; set LOTTERY__DATABASE__URL_FILE {underscores}"
            ),
            format!("lottery::cli: LOTTERY_SERVER_HOST: is ignored; set LOTTERY__SERVER__HOST {underscores}"),
        ]
    );
    let refused = refusal(&Program::new().with("LOTTERY__SERVER_PORT", "1"), &["health"]).await;
    let meant = "lottery: LOTTERY__SERVER_PORT: there is no such setting; did you mean LOTTERY__SERVER__PORT?\n";
    assert_eq!(refused, meant);
}

#[actix_web::test]
async fn without_a_terminal_the_password_is_not_asked_for() {
    // The same program in a session of its own, which has no terminal.
    let program = Program::new().launched_by(vec!["setsid".to_owned(), "--wait".to_owned()]);
    let said = refusal(&program, &["admin", "create", "--username", "ann", "--email", "a@example.com"]).await;
    assert_eq!(said, "lottery: there is no terminal to ask for the password: use --password-stdin\n");
    assert!(!program.data().exists(), "no server was started for it");
}

#[actix_web::test]
async fn an_export_to_a_path_that_cannot_be_written_ends_before_anything_is_read() {
    let program = Program::new();
    for (path, why) in [
        ("/nope/x.csv", "No such file or directory (os error 2)"),
        (program.directory().to_str().unwrap(), "is a directory"),
    ] {
        let said = refusal(&program, &["export", "tickets", "--output", path]).await;
        assert_eq!(said, format!("lottery: cannot write {path}: {why}\n"));
    }
    assert_eq!(fs::read_dir(program.directory()).unwrap().count(), 0);
}

// Terminals and pipes.

#[actix_web::test]
async fn an_xlsx_file_is_not_written_to_a_terminal() {
    let program = Program::new();
    let (child, terminal) = on_terminal(&program, &["export", "tickets", "--format", "xlsx"]);
    let printed = read_until(terminal, "PK").await;
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), printed.as_str()), (Some(1), ""), "{said}");
    assert_eq!(said, "lottery: an XLSX file is not for a terminal: use --output FILE\n");
}

#[actix_web::test]
async fn a_closed_pipe_ends_a_command_quietly() {
    let program = program_with_database().await;
    for arguments in [
        &["migrate"][..],
        &["nodes"],
        &["export", "tickets"],
        &["export", "tickets", "--format", "xlsx"],
        &["man"],
    ] {
        // As a shell shows the end by SIGPIPE.
        assert_eq!(run_without_reader(&program, arguments).await, (Some(141), String::new()), "{arguments:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert_eq!(run_without_reader(&program, &["completions", shell]).await, (Some(141), String::new()));
    }
    // The exit code alone tells whether the books balance.
    assert_eq!(run_without_reader(&program, &["check"]).await, (Some(0), String::new()));
}

#[actix_web::test]
async fn the_start_prints_its_links_to_a_terminal() {
    let program = program_with_database().await.with("LOTTERY__SERVER__ADMIN_ADDRESS", "127.0.0.1:0");
    let (mut child, terminal) = on_terminal(&program, &["serve"]);
    let printed = read_until(terminal.try_clone().unwrap(), "/metrics").await;
    let link = |name: &str| {
        let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {printed}")).trim().to_owned()
    };
    let base = link("API").strip_suffix("/api/v1").unwrap().to_owned();
    assert_eq!(link("pages"), format!("{base}/"));
    assert_eq!(link("docs"), format!("{base}/api/docs"));
    let http = http_client();
    for (url, expected) in [(base.clone(), 200), (link("docs"), 200), (link("API"), 404)] {
        assert_eq!(http.get(&url).send().await.unwrap().status(), expected, "{url}");
    }
    assert_ne!(link("metrics"), format!("{base}/metrics"), "they are on the admin address");
    assert!(!printed.contains(READY), "once: {printed}");
    kill(Pid::from_raw(child.id().unwrap() as i32), Signal::SIGTERM).unwrap();
    // What it says at its end must not fill the terminal.
    read_until(terminal, "the service has stopped").await;
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[actix_web::test]
async fn the_start_logs_its_links() {
    let service = program_with_database().await.start().await;
    let base = format!("http://{}", service.address);
    let log = service.stop().await.join("\n");
    for (name, path) in [("web", "/"), ("api", "/api/v1"), ("docs", "/api/docs"), ("metrics", "/metrics")] {
        assert!(log.contains(&format!("{name}=\"{base}{path}\"")), "{log}");
    }
    let program = program_with_database().await.with("LOTTERY__SERVER__DOCS", "false");
    let log = program.with("LOTTERY__SERVER__WEB", "false").start().await.stop().await.join("\n");
    assert!(log.contains("metrics=") && !log.contains("docs=") && !log.contains("web="), "{log}");
}

#[actix_web::test]
async fn libraries_are_quiet_in_the_log_unless_it_is_asked_for() {
    let tell = |log: &[String]| ["refinery", "actix_server"].map(|it| log.iter().any(|line| line.contains(it)));
    for (filter, expected) in [("info", [false, false]), ("info,refinery=info,actix=info", [true, true])] {
        // An empty database, so that migrations are applied.
        let program = program_on(&server::empty_database().await).with("LOTTERY__LOG__LEVEL", filter);
        let log = program.start().await.stop().await;
        assert_eq!(tell(&log), expected, "{filter}: {log:#?}");
    }
}

// For shells and `man`.

#[actix_web::test]
async fn completions_and_the_manual_need_no_settings() {
    let program = Program::new();
    fs::write(program.directory().join("config.yaml"), "this: is wrong").unwrap();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let (code, script, error) = printed(&program.run(&["completions", shell]).await);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{shell}");
        // Not every shell completes the values of arguments.
        let words = if ["bash", "zsh"].contains(&shell) { &["winners", "xlsx"][..] } else { &[] };
        for word in ["lottery", "password-stdin"].iter().chain(words) {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let (code, manual, error) = printed(&program.run(&["man"]).await);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for page in ["lottery", "lottery-serve", "lottery-admin-create", "lottery-export", "lottery-completions"] {
        assert!(manual.contains(&format!(".TH {page} 1")), "{page}");
    }
    assert!(manual.contains("password\\-stdin") && !manual.contains(".TH lottery-help"));
}
