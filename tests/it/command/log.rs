//! What the program says of itself, and what it never says.

use super::*;

/// Everything that carries a secret once, with the secrets it carried.
pub(super) async fn walk(service: &Service, home: &Home) -> Vec<String> {
    let anybody = service.anybody();
    let mut secrets = vec![SECRET.to_owned(), PASSWORD.to_owned(), "$argon2id$".to_owned()];
    let draw = service.open_draw(home).await;
    let ann = service.player("ann").await;
    let wrong = "wrong horse battery";
    service.try_log_in("ann", wrong).await.refused(401, "invalid_credentials");
    let misplaced = json!({"username": "password of mine", "email": 1, "password": ["hunter2 hunter2"]});
    anybody.post("/auth/register", misplaced).await.refused(422, "validation_failed");
    secrets.extend([wrong, "password of mine", "hunter2"].map(str::to_owned));

    let mut pair = service.try_log_in("ann", PASSWORD).await.expect(200);
    for path in ["/auth/refresh", "/auth/refresh", "/auth/logout"] {
        secrets.extend(["access_token", "refresh_token"].map(|name| pair[name].as_str().unwrap().to_owned()));
        let answer = anybody.post(path, json!({"refresh_token": pair["refresh_token"]})).await;
        if answer.status == 200 {
            pair = answer.body;
        }
    }
    anybody.post("/auth/refresh", json!({"refresh_token": secrets[7]})).await.refused(401, "unauthorized");
    anybody.bearing("a.forged.token").get("/me").await.refused(401, "unauthorized");
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
    ann.pay(payment, json!({"method": "card", "token": "tok_visa"})).await.expect(200);
    secrets
}

#[actix_web::test]
async fn no_password_or_token_stands_in_any_line_of_the_log() {
    let home = Home::with_database().await.with("LOTTERY__LOG__LEVEL", "trace");
    let service = home.serve().await;
    let secrets = walk(&service, &home).await;
    let log = service.stop().await;
    assert!(log.iter().any(|line| line.contains(" TRACE ")), "as much as there is");
    assert!(log.iter().any(|line| line.contains("/api/v1/auth/login")), "the requests themselves");
    for secret in secrets {
        let told = log.iter().find(|line| line.contains(&secret));
        assert_eq!(told, None, "{secret}");
    }
}

#[actix_web::test]
async fn a_log_in_json_is_an_object_a_line() {
    let home = Home::with_database().await;
    let home = home.with("LOTTERY__LOG__FORMAT", "json").with("LOTTERY__LOG__LEVEL", "debug");
    let service = home.serve().await;
    let secrets = walk(&service, &home).await;
    let answer = service.anybody().get("/draws/4711").await;
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    let log = service.stop().await;
    let events: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for event in &events {
        event["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(event["level"].is_string() && event["target"].is_string(), "{event}");
    }
    // A request's lines bear its id, which its client has too.
    let answered = events.iter().find(|event| event["span"]["id"] == json!(id) && event["message"] == "answered");
    let answered = answered.expect("a line of this request");
    assert_eq!(answered["span"]["path"], "/api/v1/draws/4711");
    assert_eq!(answered["status"], 404);
    assert!(secrets.iter().all(|secret| log.iter().all(|line| !line.contains(secret.as_str()))));
}
