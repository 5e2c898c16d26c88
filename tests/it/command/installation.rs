//! The first start records what the installation is: its currency and its payment provider. A later start with others
//! is refused, and the sandbox serves other machines only if it is allowed to.

use futures_util::future::join_all;
use lottery::actors::persistence::record_installation;
use lottery::clock::Clock;
use lottery::db::Db;
use lottery::domain::installation::{Installation, PaymentProvider};

use super::*;

const SANDBOX: &[(&str, &str)] = &[];
const DOLLARS: &[(&str, &str)] = &[("LOTTERY__CURRENCY", "USD")];
pub(super) const STRIPE: &[(&str, &str)] =
    &[("LOTTERY__PAYMENTS__STRIPE_KEY", "sk_live_of_nobody"), PROVIDER, WEBHOOKS];
pub(super) const STRIPE_TEST: &[(&str, &str)] =
    &[("LOTTERY__PAYMENTS__STRIPE_KEY", "rk_test_of_nobody"), PROVIDER, WEBHOOKS];
const PROVIDER: (&str, &str) = ("LOTTERY__PAYMENTS__PROVIDER", "stripe");
const WEBHOOKS: (&str, &str) = ("LOTTERY__PAYMENTS__WEBHOOK_SECRET", SECRET);

fn configured(database: &tokio_postgres::Config, variables: &[(&str, &str)]) -> Program {
    variables.iter().fold(program_on(database), |program, (name, value)| program.with(name, value))
}

async fn recorded(database: &tokio_postgres::Config) -> Vec<(String, String)> {
    let sql = db::connect(database).await.unwrap();
    let rows = sql.query("SELECT currency, provider FROM installation", &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[actix_web::test]
async fn a_start_with_another_currency_or_provider_is_refused() {
    let sandbox = ("sandbox", SANDBOX, "currency RUB and payment provider sandbox (play money)");
    let stripe = ("stripe", STRIPE, "currency RUB and payment provider stripe (real money)");
    let test =
        ("stripe_test", STRIPE_TEST, "currency RUB and payment provider stripe with a test key (play money)");
    let dollars = ("sandbox", DOLLARS, "currency USD and payment provider sandbox (play money)");
    for (first, others) in
        [(sandbox, vec![dollars, stripe, test]), (stripe, vec![sandbox, test]), (test, vec![stripe, sandbox])]
    {
        let database = server::database().await;
        let (provider, variables, described) = first;
        configured(&database, variables).start().await.stop().await;
        for (_, variables, other) in others {
            let said = refusal(&configured(&database, variables), &["serve"]).await;
            let both = format!("recorded with {described}, but the configuration says {other}.");
            assert!(said.contains(&both), "{both}\n{said}");
            assert!(said.contains("start on a new database (database.url, or another data_dir)"), "{said}");
        }
        assert_eq!(recorded(&database).await, [("RUB".to_owned(), provider.to_owned())]);
        configured(&database, variables).start().await.stop().await;
    }
}

#[actix_web::test]
async fn a_database_without_the_record_takes_the_configuration_of_its_next_start() {
    let database = server::database().await;
    let program = program_on(&database);
    for command in [vec!["migrate"], vec!["check"], vec!["export", "payments"]] {
        assert_eq!(program.run(&command).await.status.code(), Some(0), "{command:?}");
    }
    program.create_admin("first", "first@example.com", PASSWORD).await;
    assert_eq!(recorded(&database).await, [], "only a start of the service records it");

    configured(&database, DOLLARS).start().await.stop().await;
    assert_eq!(recorded(&database).await, [("USD".to_owned(), "sandbox".to_owned())]);
}

#[actix_web::test]
async fn of_two_first_starts_at_once_one_records_the_installation() {
    let database = server::database().await;
    let starts = ["RUB", "USD", "EUR", "SEK", "CHF", "JPY"].map(|currency| {
        let (currency, provider) = (currency.parse().unwrap(), PaymentProvider::Sandbox);
        let db = Db::new(&database, 1).unwrap();
        async move {
            let it = Installation { currency, provider };
            record_installation(&db, &it, Clock::system().now()).await.unwrap()
        }
    });
    let recorded = join_all(starts).await;
    assert!(recorded.iter().all(|it| *it == recorded[0]), "{recorded:?}");
}

#[actix_web::test]
async fn the_record_stays() {
    let world = World::new().await;
    let sql = world.sql().await;
    for change in ["UPDATE installation SET currency = 'USD'", "DELETE FROM installation", "TRUNCATE installation"]
    {
        let refused = sql.batch_execute(change).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("is not allowed"), "{change}: {refused}");
    }
}

#[actix_web::test]
async fn an_export_is_in_the_recorded_currency() {
    let world = World::new().await;
    world.rich_player("ann", 1_000).await;
    let written = configured(&world.database, DOLLARS).run(&["export", "payments", "--format", "ndjson"]).await;
    let payment: Value = serde_json::from_slice(&written.stdout).unwrap();
    assert_eq!((&payment["amount"], &payment["currency"]), (&json!(1_000), &json!("RUB")));
}

#[actix_web::test]
async fn the_sandbox_serves_other_machines_only_if_it_is_allowed_to() {
    for host in ["0.0.0.0", "::"] {
        let program = Program::new().with("LOTTERY__SERVER__HOST", host);
        let said = refusal(&program, &["serve"]).await;
        assert!(said.contains("payments.allow_sandbox") && said.contains(host), "{said}");
        assert!(said.contains("payments.provider: stripe"), "{said}");
        assert!(!program.data().exists(), "nothing is begun");
    }
    let open = ("LOTTERY__SERVER__HOST", "0.0.0.0");
    let allowed = [open, ("LOTTERY__PAYMENTS__ALLOW_SANDBOX", "true")];
    let stripe = [&[open], STRIPE].concat();
    for variables in [&allowed[..], &stripe[..], &[("LOTTERY__SERVER__HOST", "localhost")]] {
        configured(&server::database().await, variables).start().await.stop().await;
    }
    // The other commands open no address.
    let program = configured(&server::database().await, &[open]);
    assert_eq!(program.run(&["check"]).await.status.code(), Some(0));
}
