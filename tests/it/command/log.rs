//! The log: what it contains, and what it never contains.

use super::*;

/// Sends one request of every kind that contains a secret; returns the secrets.
pub(super) async fn walk(service: &Service, program: &Program) -> Vec<String> {
    let anonymous = service.anonymous();
    let mut secrets = vec![SECRET.to_owned(), PASSWORD.to_owned(), "$argon2id$".to_owned()];
    let draw = open_draw(service, program).await;
    let ann = service.player("ann").await;
    let wrong = "wrong horse battery";
    service.try_log_in("ann", wrong).await.refused(401, "invalid_credentials");
    let misplaced = json!({"username": "password of mine", "email": 1, "password": ["hunter2 hunter2"]});
    anonymous.post("/auth/register", misplaced).await.refused(422, "validation_failed");
    secrets.extend([wrong, "password of mine", "hunter2"].map(str::to_owned));

    let mut pair = service.try_log_in("ann", PASSWORD).await.expect(200);
    for path in ["/auth/refresh", "/auth/refresh", "/auth/logout"] {
        secrets.extend(["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap().to_owned()));
        let answer = anonymous.post(path, json!({"refresh_token": pair["refresh_token"]})).await;
        if answer.status == 200 {
            pair = answer.body;
        }
    }
    anonymous.post("/auth/refresh", json!({"refresh_token": secrets[7]})).await.refused(401, "unauthorized");
    anonymous.with_token("a.forged.token").get("/me").await.refused(401, "unauthorized");
    secrets.push("a.forged.token".to_owned());
    secrets.push(ann.token.clone().unwrap());

    for token in ["tok_visa", "tok_declined", "tok_async"] {
        ann.post("/wallet/deposits", json!({"amount": 100_000, "token": token})).await.expect(201);
    }
    let unknown = json!({"amount": 1, "token": "tok_of_somebody"});
    ann.post("/wallet/deposits", unknown).await.refused(422, "validation_failed");
    secrets.push("tok_".to_owned());
    ann.buy(draw, &[1, 7, 13, 22, 36]).await;
    let reserved = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    let payment = reserved["payment"]["id"].as_str().unwrap();
    ann.pay(payment, card(GOOD_CARD)).await.expect(200);
    secrets
}

#[actix_web::test]
async fn no_line_of_the_log_contains_a_password_or_token() {
    let program = program_with_database().await.with("LOTTERY__LOG__LEVEL", "trace");
    let service = program.start().await;
    let secrets = walk(&service, &program).await;
    let log = service.stop().await;
    assert!(log.iter().any(|line| line.contains(" TRACE ")), "as much as there is");
    assert!(log.iter().any(|line| line.contains("/api/v1/auth/login")), "the requests themselves");
    for secret in secrets {
        let told = log.iter().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret}");
    }
}

#[actix_web::test]
async fn the_json_log_has_one_object_in_each_line() {
    let program = program_with_database().await;
    let program = program.with("LOTTERY__LOG__FORMAT", "json").with("LOTTERY__LOG__LEVEL", "debug");
    let service = program.start().await;
    let secrets = walk(&service, &program).await;
    let answer = service.anonymous().get("/draws/4711").await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let log = service.stop().await;
    let events: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for event in &events {
        event["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(event["level"].is_string() && event["target"].is_string(), "{event}");
    }
    // The lines of a request contain its id, which its client receives too.
    let answered = events.iter().find(|event| event["span"]["id"] == json!(id) && event["message"] == "answered");
    let answered = answered.expect("a line of this request");
    assert_eq!(answered["span"]["path"], "/api/v1/draws/4711");
    assert_eq!(answered["status"], 404);
    assert!(secrets.iter().all(|secret| log.iter().all(|line| !line.contains(secret.as_str()))));
}

#[actix_web::test]
async fn the_warning_of_a_refresh_token_that_was_used_twice_names_the_user() {
    let program = program_with_database().await;
    let service = program.start().await;
    service.player("bob").await;
    let ann = service.player("ann").await;
    let pair = service.try_log_in("ann", PASSWORD).await.expect(200);
    let refresh = json!({"refresh_token": pair["refresh_token"]});
    service.anonymous().post("/auth/refresh", refresh.clone()).await.expect(200);
    service.anonymous().post("/auth/refresh", refresh).await.refused(401, "unauthorized");
    let log = service.stop().await;
    let warning = log.iter().find(|line| line.contains("a used refresh token was sent again")).unwrap();
    let word = format!("user={}", ann.id);
    assert!(warning.split_whitespace().any(|field| field == word), "{word}: {warning}");
}

#[actix_web::test]
async fn log_ins_leave_a_line_with_their_user_and_request() {
    let program = program_with_database().await;
    let service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let ann = service.player("ann").await;
    let typed = "what somebody typed";
    let try_log_in = async |login: &str, password: &str| {
        let answer = service.try_log_in(login, password).await;
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    let good = try_log_in("ann", PASSWORD).await;
    let wrong = [try_log_in("ann", typed).await, try_log_in("the.admin", typed).await];
    let unknown = try_log_in(typed, typed).await;
    for _ in 0..3 {
        ann.get("/admin/users").await.refused(403, "forbidden");
    }
    let block = admin.request(reqwest::Method::PATCH, &format!("/admin/users/{}", ann.id));
    admin.send(block.json(&json!({"status": "blocked"}))).await.expect(200);
    let blocked = try_log_in("ann", PASSWORD).await;
    let log = service.stop().await;

    let (ann, admin) = (format!("user={} ", ann.id), format!("user={} ", admin.id));
    for (level, message, user, request) in [
        (" INFO ", "a user logged in", &*ann, &*good),
        (" INFO ", "a log-in failed: another password", &ann, &wrong[0]),
        (" WARN ", "a log-in of an admin failed: another password", &admin, &wrong[1]),
        (" INFO ", "a log-in failed: no such user", "", &unknown),
        (" WARN ", "a log-in failed: the account is blocked", &ann, &blocked),
    ] {
        let request = format!("request={request}");
        let line = log.iter().find(|line| line.contains(message) && line.contains(&request));
        let line = line.unwrap_or_else(|| panic!("{message} {request}: {log:#?}"));
        assert!(line.contains(level) && line.contains(user) && line.contains("address=127.0.0.1"), "{line}");
    }
    let refused = log.iter().filter(|line| line.contains("a call that only admins may make was refused"));
    assert_eq!(refused.count(), 1, "once a minute");
    assert!(!log.iter().any(|line| line.contains("somebody typed")));
}
