//! The catalogue for Insomnia (docs/insomnia.json): a whole game, whose requests succeed when they are sent from top to
//! bottom. Ids and tokens come from earlier answers. What a request looks like is taken from the OpenAPI document.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{calls, example_body};

/// One request: a call of the document.
struct Step {
    /// Unique, and part of the request's id in Insomnia.
    id: &'static str,
    /// What it does, for people.
    name: &'static str,
    /// The `operationId` of the call.
    call: &'static str,
    /// Its body, where that is not the example of the document.
    body: Option<&'static str>,
    /// The variable that stands for `{id}` in the path, where that is not the usual one.
    path_id: Option<&'static str>,
}

/// A step whose id is its call's name.
const fn step(call: &'static str, name: &'static str) -> Step {
    Step { id: call, name, call, body: None, path_id: None }
}

impl Step {
    const fn id(self, id: &'static str) -> Step {
        Step { id, ..self }
    }

    const fn body(self, body: &'static str) -> Step {
        Step { body: Some(body), ..self }
    }

    const fn of(self, variable: &'static str) -> Step {
        Step { path_id: Some(variable), ..self }
    }
}

/// The folders and their requests, in the order in which they succeed. A variable that an answer fills belongs to the
/// folders that use it, and the answer comes from a folder before: Insomnia fills all variables of a folder before it
/// sends any of its requests.
const FOLDERS: &[(&str, &[Step])] = &[
    (
        "Look around",
        &[
            step("get_live", "Is the process alive?"),
            step("get_ready", "Is the service ready?"),
            step("get_metrics", "Read the metrics"),
            step("get_openapi", "Read the OpenAPI document"),
            step("list_lotteries", "List the lotteries"),
            step("get_keys", "Show the key that verifies the public log"),
            step("get_log_checkpoint", "Show the head of the public log"),
        ],
    ),
    (
        "Get accounts",
        &[
            step("register", "Register a new player").body(
                r#"{"username": "player-{% now 'millis', '' %}", "email": "player-{% now 'millis', '' %}@example.com", "password": "{{ _.player_password }}"}"#,
            ),
            step("log_in", "Log in as the admin")
                .id("log_in_admin")
                .body(r#"{"login": "{{ _.admin_login }}", "password": "{{ _.admin_password }}"}"#),
        ],
    ),
    (
        "Log in as the player",
        &[
            step("log_in", "Log in as the player from somewhere else")
                .id("log_in_elsewhere")
                .body(r#"{"login": "{{ _.player_name }}", "password": "{{ _.player_password }}"}"#),
            step("log_in", "Log in as the player")
                .body(r#"{"login": "{{ _.player_name }}", "password": "{{ _.player_password }}"}"#),
        ],
    ),
    ("See the log-ins", &[step("list_sessions", "List the player's log-ins")]),
    ("End a log-in", &[step("end_session", "End the one from somewhere else").of("other_session_id")]),
    (
        "Create draws",
        &[
            step("get_me", "Show the logged-in player"),
            step("refresh_tokens", "Renew the player's tokens").body(r#"{"refresh_token": "{{ _.refresh_token }}"}"#),
            step("get_lottery", "Show a lottery"),
            step("create_draw", "Create a draw").body(NEW_DRAW),
            step("create_draw", "Create another draw").id("create_other_draw").body(NEW_DRAW),
        ],
    ),
    (
        "Put a draw on sale",
        &[
            step("reschedule_draw", "Change its times"),
            step("add_to_pool", "Make tickets in advance"),
            step("open_draw", "Put it on sale"),
            step("list_draws", "List the draws"),
            step("get_draw", "Show the draw"),
            step("list_pool_tickets", "List the tickets that were made in advance"),
            step("cancel_draw", "Cancel the other draw").of("other_draw_id"),
        ],
    ),
    (
        "Buy tickets",
        &[
            step("deposit", "Deposit money with a card").body(r#"{"amount": 500000, "token": "tok_visa"}"#),
            step("deposit", "Deposit money with a card that takes its time")
                .id("deposit_slowly")
                .body(r#"{"amount": 10000, "token": "tok_async"}"#),
            step("get_wallet", "Show the wallet"),
            step("order_tickets", "Buy tickets from the wallet"),
            step("order_tickets", "Reserve two tickets")
                .id("reserve_tickets")
                .body(r#"{"payment": "later", "tickets": [{"quick_pick": true}, {"from_pool": true}]}"#),
            step("withdraw", "Withdraw money"),
            step("withdraw", "Withdraw money again").id("withdraw_again"),
        ],
    ),
    (
        "Tickets and payments",
        &[
            step("give_back_ticket", "Give one reserved ticket back").of("reserved_ticket_id"),
            step("pay", "Pay for the other one with a card"),
            step("list_tickets", "List the player's tickets"),
            step("get_ticket", "Show a ticket"),
            step("get_ticket_proof", "Prove that the draw has the ticket"),
            step("list_payments", "List the player's payments"),
            step("get_payment", "Show a payment"),
            step("list_transfers", "List what went into the wallet and out of it"),
            step("list_all_payments", "List the payments of all players"),
            step("approve_withdrawal", "Approve a withdrawal"),
            step("reject_withdrawal", "Reject the other withdrawal").of("other_withdrawal_id"),
            step("list_charges", "List the charges of cards"),
            step("end_charge", "End the slow card's charge by hand").of("slow_payment_id"),
        ],
    ),
    (
        "Conduct the draw",
        &[
            step("close_draw", "End the sale"),
            step("conduct_draw", "Draw the numbers"),
            step("get_result", "Show the result"),
            step("watch_draw", "Show the events of the draw"),
            step("list_draw_tickets", "List all tickets of the draw"),
            step("get_draw_proof", "Prove what the public log says of the draw"),
            step("get_log_tile", "Read the first hash of the public log"),
            step("get_ticket_log_checkpoint", "Show the head of the draw's ticket log"),
            step("get_ticket_log_tile", "Read the first order of the draw"),
        ],
    ),
    (
        "Operate",
        &[
            step("get_stats", "Show what the dashboard shows"),
            step("get_finance", "Show the balances of all accounts"),
            step("list_draw_finance", "Show the money of each draw"),
            step("export_table", "Export a table"),
            step("get_clock", "Show the machine's clock"),
            step("confirm_clock", "Confirm that the clock is right"),
            step("list_users", "List the users"),
            step("get_user", "Show a user"),
            step("change_user", "Change a user").body(r#"{"status": "active"}"#),
            step("list_audit_log", "List what admins did"),
        ],
    ),
    (
        "Change a password",
        &[
            step("change_password", "Change the player's password").body(
                r#"{"current_password": "{{ _.player_password }}", "new_password": "{{ _.other_password }}"}"#,
            ),
            step("create_password_reset", "Allow the player to set a new password"),
        ],
    ),
    (
        "Set a new password",
        &[
            step("reset_password", "Set a new password")
                .body(r#"{"token": "{{ _.password_reset_token }}", "new_password": "{{ _.player_password }}"}"#),
            step("log_in", "Log in with the new password")
                .id("log_in_again")
                .body(r#"{"login": "{{ _.player_name }}", "password": "{{ _.player_password }}"}"#),
        ],
    ),
    (
        "Log out",
        &[step("log_out", "Log out").body(r#"{"refresh_token": "{{ _.last_refresh_token }}"}"#)],
    ),
];

const NEW_DRAW: &str = r#"{"lottery": "{{ _.lottery_id }}", "sales_close_at": "2099-01-01T20:00:00Z", "draw_at": "2099-01-01T20:05:00Z"}"#;

/// Calls that no person can make: only the payment provider can sign a notice.
const LEFT_OUT: [&str; 2] = ["/api/v1/webhooks/payments/{provider}", "/api/v1/log/policy"];

/// The variables whose values come from answers: the step, and where in its answer.
const FROM_ANSWERS: &[(&str, &str, &str)] = &[
    ("admin_token", "log_in_admin", "$.access_token"),
    ("player_token", "log_in", "$.access_token"),
    ("refresh_token", "log_in", "$.refresh_token"),
    ("last_refresh_token", "log_in_again", "$.refresh_token"),
    ("password_reset_token", "create_password_reset", "$.token"),
    ("player_id", "register", "$.id"),
    ("player_name", "register", "$.username"),
    // The oldest one: Insomnia's runner sends "Log in as the player" twice.
    ("other_session_id", "list_sessions", "$.items[-1:].id"),
    ("lottery_id", "list_lotteries", "$.items[0].id"),
    ("draw_id", "create_draw", "$.id"),
    ("other_draw_id", "create_other_draw", "$.id"),
    ("ticket_id", "order_tickets", "$.tickets[0].id"),
    ("reserved_ticket_id", "reserve_tickets", "$.tickets[1].id"),
    ("payment_id", "reserve_tickets", "$.payment.id"),
    ("slow_payment_id", "deposit_slowly", "$.id"),
    ("withdrawal_id", "withdraw", "$.id"),
    ("other_withdrawal_id", "withdraw_again", "$.id"),
];

fn resource(kind: &str, id: &str, parent: Option<&str>, name: &str, more: Value) -> Value {
    let mut resource =
        json!({"_type": kind, "_id": id, "parentId": parent, "name": name, "created": 0, "modified": 0});
    resource.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    resource
}

/// The variables that a person sets: where the service is, and who the admin is.
fn environment() -> Value {
    json!({
        "base_url": "http://127.0.0.1:8080", "admin_login": "boss", "admin_password": "correct horse",
        "player_password": "battery staple", "other_password": "horse staple battery",
    })
}

/// The variables that the requests of a folder use.
fn used(steps: &[Step]) -> BTreeSet<String> {
    let requests = steps.iter().map(|step| request(step).0.to_string()).collect::<Vec<_>>().concat();
    let uses = requests.split("{{ _.").skip(1);
    uses.map(|rest| rest.split(' ').next().unwrap().to_owned()).collect()
}

/// The variables of a folder that answers fill. A request that was not sent yet is sent when its answer is needed.
fn filled(steps: &[Step]) -> Value {
    let used = used(steps);
    let filled =
        FROM_ANSWERS.iter().filter(|(variable, ..)| used.contains(*variable)).map(|(variable, step, path)| {
            let tag = format!("{{% response 'body', 'req_{step}', '{path}', 'no-history', 60 %}}");
            ((*variable).to_owned(), Value::from(tag))
        });
    Value::Object(filled.collect())
}

/// The catalogue in Insomnia's export format 4, with a suite of tests: each request of it succeeds.
pub fn catalogue() -> Value {
    let (workspace, base, suite) = (Some("wrk_lottery"), Some("env_lottery"), Some("uts_lottery"));
    let mut resources = vec![
        resource("workspace", "wrk_lottery", None, "Lottery", json!({"scope": "collection"})),
        resource("environment", "env_lottery", workspace, "Base environment", json!({"data": environment()})),
        // The tests of `inso` need an environment below the base. Others override the base's variables here.
        resource("environment", "env_local", base, "This machine", json!({"data": {}})),
        resource("unit_test_suite", "uts_lottery", workspace, "Every request succeeds, in this order", json!({})),
    ];
    let mut order = 0;
    for (number, (folder, steps)) in (1..).zip(FOLDERS) {
        let parent = format!("fld_{number:02}");
        let more = json!({"metaSortKey": number, "environment": filled(steps)});
        resources.push(resource("request_group", &parent, workspace, &format!("{number}. {folder}"), more));
        for step in *steps {
            order += 1;
            let (mut request, status) = request(step);
            let id = format!("req_{}", step.id);
            request["metaSortKey"] = json!(order);
            resources.push(resource("request", &id, Some(&parent), step.name, request));
            let code = format!(
                "const response = await insomnia.send();\nexpect(response.status, response.data).to.equal({status});"
            );
            let (name, test) = (
                format!("{order:02} {}", step.name),
                json!({"requestId": id, "code": code, "metaSortKey": order}),
            );
            resources.push(resource("unit_test", &format!("ut_{order:02}"), suite, &name, test));
        }
    }
    json!({"_type": "export", "__export_format": 4, "__export_source": "lottery", "resources": resources})
}

/// The request of a step, and the status of its success.
fn request(step: &Step) -> (Value, u16) {
    let call = calls().find(|(.., call)| call["operationId"] == step.call);
    let (method, path, call) = call.unwrap_or_else(|| panic!("the document has no call {}", step.call));
    let (mut headers, mut asked) = (Vec::new(), Vec::new());
    for parameter in call["parameters"].as_array().into_iter().flatten() {
        let name = &parameter["name"];
        match parameter["in"].as_str().unwrap() {
            // A new key for each request that is sent.
            "header" if name == "Idempotency-Key" => {
                headers.push(json!({"name": name, "value": "{% uuid 'v4' %}"}));
            }
            "header" => headers.push(json!({"name": name, "value": "", "disabled": true})),
            "query" => asked.push(json!({"name": name, "value": "", "disabled": true})),
            _ => {}
        }
    }
    let text = step.body.map(str::to_owned).or_else(|| Some(format!("{:#}", example_body(call)?)));
    let body = text.map_or(json!({}), |text| {
        headers.push(json!({"name": "Content-Type", "value": "application/json"}));
        json!({"mimeType": "application/json", "text": text})
    });
    let authentication = match call["security"].as_array().is_some_and(|schemes| !schemes.is_empty()) {
        true if path.contains("/admin/") => json!({"type": "bearer", "token": "{{ _.admin_token }}"}),
        true => json!({"type": "bearer", "token": "{{ _.player_token }}"}),
        false => json!({}),
    };
    let noun = path.split("/{id}").next().and_then(|before| before.rsplit('/').next()).unwrap();
    let usual = match noun {
        "users" => "player_id".to_owned(),
        "lotteries" => "lottery_id".to_owned(),
        nouns => format!("{}_id", nouns.trim_end_matches('s')),
    };
    let url = path.replace("{id}", &format!("{{{{ _.{} }}}}", step.path_id.unwrap_or(&usual)));
    let url = format!("{{{{ _.base_url }}}}{}", url.replace("{table}", "tickets"));
    let tile = if path.contains("{id}") { "entries/000.p/1" } else { "0/000.p/1" };
    let url = url.replace("{tile}", tile);
    let good = call["responses"].as_object().unwrap().keys().find(|status| status.starts_with('2')).unwrap();
    let request = json!({
        "method": method, "url": url, "description": call["summary"], "headers": headers, "parameters": asked,
        "body": body, "authentication": authentication,
    });
    (request, good.parse().unwrap())
}

#[test]
fn the_catalogue_has_every_call_and_fills_every_variable() {
    let steps: Vec<&Step> = FOLDERS.iter().flat_map(|(_, steps)| *steps).collect();
    let ids: BTreeSet<&str> = steps.iter().map(|step| step.id).collect();
    assert_eq!(ids.len(), steps.len(), "each step has an id of its own");
    let there: BTreeSet<&str> = steps.iter().map(|step| step.call).collect();
    let missing: Vec<_> = calls()
        .filter(|(_, path, call)| {
            !LEFT_OUT.contains(path) && !there.contains(call["operationId"].as_str().unwrap())
        })
        .collect();
    assert!(missing.is_empty(), "the catalogue for Insomnia needs a step for {missing:?}");
    let by_hand = environment();
    for (at, (folder, steps)) in FOLDERS.iter().enumerate() {
        for variable in used(steps).into_iter().filter(|variable| by_hand.get(variable).is_none()) {
            let from = FROM_ANSWERS.iter().find(|(filled, ..)| *filled == variable);
            let (_, source, _) = from.unwrap_or_else(|| panic!("{folder}: nothing fills {variable}"));
            let before = FOLDERS[..at].iter().flat_map(|(_, steps)| *steps).any(|step| step.id == *source);
            assert!(before, "{folder}: {variable} is filled in the same folder or later");
        }
    }
}
