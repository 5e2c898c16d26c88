//! The key of the public log is replaced: a monitor and a verifier follow it if they are asked to, and nothing else.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use verifiable_draw::vkey::VerifierKey;

use super::*;
use crate::command::{database, program_on, program_with_database};
use crate::common::process::Service;
use crate::server;

/// A service, stopped and started again with the keys that sign now.
async fn restarted(program: &Program, service: Service) -> Service {
    service.stop().await;
    program.start().await
}

/// The key that a command of the log prints.
async fn change(program: &Program, command: &str) -> String {
    let printed = program.run(&["log", command]).await;
    let printed = String::from_utf8(printed.stdout).unwrap();
    VerifierKey::parse(printed.lines().next().unwrap()).unwrap().to_string()
}

fn api(service: &Service) -> String {
    format!("http://{}/api/v1", service.address)
}

async fn body(url: &str) -> Vec<u8> {
    http_client().get(url).send().await.unwrap().bytes().await.unwrap().to_vec()
}

async fn shown_key(service: &Service) -> String {
    service.anonymous().get("/keys").await.expect(200)["log"].as_str().unwrap().to_owned()
}

/// One look of a monitor with a state of its own.
async fn watch(program: &Program, service: &Service, state: &str, more: &[&str]) -> Verified {
    let url = format!("{}/log", api(service));
    verify(program, &[&["--follow", &url, "--state", state, "--once"], more].concat()).await
}

/// A service with a draw on sale, three monitors that have seen it, and the key that they know.
async fn watched() -> (Program, Service, String) {
    let program = program_with_database().await;
    let service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let new = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
    let draw = admin.create_draw(new).await;
    admin.step(draw, "open").await.expect(200);
    for state in ["pinned.json", "following.json", "seldom.json"] {
        watch(&program, &service, state, &[]).await.tells(&["entry 0: draw 1"]);
    }
    let key = shown_key(&service).await;
    (program, service, key)
}

const FOLLOW: &str = "--follow-keys";

#[actix_web::test]
async fn a_key_that_the_known_key_vouches_for_is_followed_on_request() {
    let (program, service, old) = watched().await;
    let new = change(&program, "rotate-key").await;
    let service = restarted(&program, service).await;
    // Both sign.
    let refused = format!("the key {new} is not followed");
    let followed =
        format!("the key {new} is followed: {old} vouches for it, which has signed the log with entry 1");
    watch(&program, &service, "pinned.json", &[]).await.tells(&["entry 1: the log adds the key", &refused]);
    watch(&program, &service, "following.json", &[FOLLOW]).await.tells(&[&followed]);
    let draw = format!("{}/draws/1", api(&service));
    verify(&program, &[&draw, "--key", &old]).await.holds(&[]);

    change(&program, "retire-key").await;
    let service = restarted(&program, service).await;
    // Only the new one signs.
    let draw = format!("{}/draws/1", api(&service));
    let announced = format!("the log has announced another key, {new}: with --follow-keys");
    let unknown = "the note has no signature of a known key";
    watch(&program, &service, "pinned.json", &[]).await.fails(&[unknown, &announced]);
    let seen = format!("the log retires the key {old}");
    watch(&program, &service, "pinned.json", &[FOLLOW]).await.tells(&[&seen]);
    watch(&program, &service, "following.json", &[FOLLOW]).await.tells(&[&seen]);
    watch(&program, &service, "following.json", &[FOLLOW]).await.tells(&[]);
    watch(&program, &service, "following.json", &[]).await.fails(&[unknown, &announced]);
    watch(&program, &service, "following.json", &["--key", &new]).await.tells(&[]);
    watch(&program, &service, "following.json", &[]).await.tells(&[]);
    // A monitor that did not look while both signed follows the proofs that the service shows.
    watch(&program, &service, "seldom.json", &[])
        .await
        .fails(&[unknown, "the log may have announced another key"]);
    watch(&program, &service, "seldom.json", &[FOLLOW]).await.tells(&[&followed, &seen]);
    let state: Value = serde_json::from_slice(&read(&program, "seldom.json")).unwrap();
    assert_eq!((&state["key"], &state["added_keys"][0]["vkey"]), (&json!(old), &json!(new)));
    assert_eq!(state["retired_keys"][&old], 2);

    verify(&program, &[&draw, "--key", &old]).await.fails(&[unknown]);
    let vouches = format!("✓ The key {old} vouches for the key {new}");
    let keep = format!("from now on, give --key {new}");
    verify(&program, &[&draw, "--key", &old, FOLLOW]).await.holds(&[&vouches, &keep]);
    let alone = verify(&program, &[&draw, "--key", &new, FOLLOW]).await.holds(&[]);
    assert!(!alone.out.contains("vouches"), "{}", alone.out);
    // Offline.
    write(&program, "proof.json", &body(&format!("{draw}/proof")).await);
    write(&program, "keys.json", &body(&format!("{}/keys", api(&service))).await);
    let offline = ["proof.json", "--key", &old];
    verify(&program, &offline).await.fails(&[unknown]);
    verify(&program, &[&offline[..], &[FOLLOW]].concat()).await.fails(&["--follow-keys=FILE"]);
    verify(&program, &[&offline[..], &["--follow-keys=keys.json"]].concat()).await.holds(&[&vouches]);
    let wrong = verify(&program, &[&offline[..], &["--follow-keys=proof.json"]].concat()).await;
    wrong.fails(&["proof.json: this is not what GET /keys answers"]);
    watch(&program, &service, "seldom.json", &["--follow-keys=keys.json"])
        .await
        .fails(&["give --follow-keys alone"]);

    // The retired key has leaked: it signs the log again, alone, without the log's having added it.
    service.stop().await;
    let sql = lottery::db::connect(&database(&program)).await.unwrap();
    let back = "SET session_replication_role = replica; UPDATE log_key_generations SET oldest = 0, newest = 0";
    sql.batch_execute(back).await.unwrap();
    let service = program.start().await;
    let retired = format!("entry 2 of the log has retired the key {old}");
    watch(&program, &service, "following.json", &[FOLLOW]).await.fails(&[unknown]);
    watch(&program, &service, "seldom.json", &[FOLLOW]).await.fails(&[&retired, "seldom.json.fork"]);
    let draw = format!("{}/draws/1", api(&service));
    let with_kept = [&draw, "--key", &old, "--follow-keys=keys.json"];
    verify(&program, &with_kept).await.fails(&[&retired]);
    service.stop().await;
}

/// A server that answers as one service does, but shows the keys of another.
async fn with_other_keys(service: &Service, other: &Service) -> String {
    let (service, keys) = (api(service), format!("{}/keys", api(other)));
    let answer = move |request: HttpRequest| {
        let path = request.path().strip_prefix("/api/v1").unwrap().to_owned();
        let url = if path == "/keys" { keys.clone() } else { format!("{service}{path}") };
        async move {
            let answer = http_client().get(url).send().await.unwrap();
            HttpResponse::build(answer.status().as_u16().try_into().unwrap()).body(answer.bytes().await.unwrap())
        }
    };
    let app = move || App::new().default_service(web::to(answer.clone()));
    let server = HttpServer::new(app).workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
    let address = server.addrs()[0];
    actix_web::rt::spawn(server.run());
    format!("http://{address}/api/v1")
}

#[actix_web::test]
async fn a_key_that_was_added_in_a_forked_log_is_refused() {
    let (program, service, old) = watched().await;
    service.stop().await;
    // The same operator, with the same master secret, and another history from entry 1 on.
    let fork = program_on(&server::copy(&database(&program)).await);
    let other = fork.start().await;
    let new = json!({"lottery": "6of45", "sales_close_at": "2099-01-01T00:00:00Z"});
    let service = program.start().await;
    for (service, draws) in [(&other, 2), (&service, 1)] {
        let admin = service.log_in("the.admin").await;
        for _ in 0..draws {
            admin.create_draw(new.clone()).await;
        }
        admin.step(draws + 1, "open").await.expect(200);
    }
    let mut services = Vec::new();
    for (program, service) in [(&program, service), (&fork, other)] {
        for command in ["rotate-key", "retire-key"] {
            change(program, command).await;
        }
        services.push(restarted(program, service).await);
    }
    let [service, other] = &services[..] else { panic!() };

    // The fork alone has a chain of keys that holds, and so has the log; but nobody who knows one takes the other.
    watch(&program, service, "following.json", &[FOLLOW]).await.tells(&["is followed"]);
    watch(&program, other, "following.json", &[FOLLOW]).await.fails(&["FORK", "following.json.fork"]);
    watch(&program, other, "seldom.json", &[FOLLOW]).await.tells(&["is followed"]);
    let mixed = with_other_keys(service, other).await;
    let url = format!("{mixed}/log");
    let look = ["--follow", &url, "--state", "pinned.json", "--once", FOLLOW];
    verify(&program, &look).await.fails(&["FORK: the key that entry", "pinned.json.fork"]);
    let admin = service.log_in("the.admin").await;
    let more = admin.create_draw(new.clone()).await;
    admin.step(more, "open").await.expect(200);
    let draw = format!("{mixed}/draws/1");
    verify(&program, &[&draw, "--key", &old, FOLLOW]).await.fails(&["FORK"]);
    let draw = format!("{}/draws/1", api(service));
    verify(&program, &[&draw, "--key", &old, FOLLOW]).await.holds(&["vouches for the key"]);
    for service in services {
        service.stop().await;
    }
}
