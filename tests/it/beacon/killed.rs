//! The process is killed between the round and the end of the draw, at each place where something of it is stored: the
//! numbers are those of the round, and every prize is paid once.

use jiff::ToSpan;
use lottery::clock::Clock;
use tokio_postgres::Client;

use super::verified::program as verifier;
use super::*;
use crate::command::{database, program_with_database};
use crate::common::process::Program;

/// What holds a transaction up: at these writes a trigger waits for a lock.
struct Gate {
    table: &'static str,
    writes: &'static str,
    /// What must be true while it waits.
    until_then: &'static str,
}

/// The round is known, and its numbers are not stored; they are stored, and the prizes are not fixed; the prizes are fixed and
/// published, and none is paid.
const GATES: [Gate; 3] = [
    Gate {
        table: "draw_results",
        writes: "BEFORE INSERT ON draw_results FOR EACH ROW",
        until_then: "SELECT count(*) = 0 FROM draw_results",
    },
    Gate {
        table: "draw_results",
        writes: "BEFORE UPDATE OF prize_fund ON draw_results FOR EACH ROW",
        until_then: "SELECT count(*) = 1 AND min(prize_fund) IS NULL FROM draw_results",
    },
    Gate {
        table: "transfers",
        writes: "BEFORE INSERT ON transfers FOR EACH ROW WHEN (NEW.kind = 'prize')",
        until_then: "SELECT prize_fund IS NOT NULL AND (SELECT count(*) = 0 FROM transfers WHERE kind = 'prize') FROM draw_results",
    },
];
const WAITING: &str = "FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";

async fn is_true(sql: &Client, query: &str) -> bool {
    sql.query_one(query, &[]).await.unwrap().get(0)
}

impl Gate {
    async fn shut(&self, sql: &Client) {
        let gate = format!(
            "CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
                 $$ BEGIN PERFORM pg_advisory_xact_lock(42); RETURN NEW; END $$;
             CREATE TRIGGER gate {} EXECUTE FUNCTION gate(); SELECT pg_advisory_lock(42)",
            self.writes
        );
        sql.batch_execute(&gate).await.unwrap();
    }

    /// The killed process leaves a session that still waits.
    async fn open(&self, sql: &Client) {
        let ended = format!("SELECT count(pg_terminate_backend(pid)) {WAITING}");
        sql.batch_execute(&ended).await.unwrap();
        let open =
            format!("SELECT pg_advisory_unlock(42); DROP TRIGGER gate ON {}; DROP FUNCTION gate()", self.table);
        sql.batch_execute(&open).await.unwrap();
    }
}

fn with_beacon_of(program: Program, server: &Drand) -> Program {
    let chain = chain_config();
    let chain = json!({
        "hash": chain.hash, "public_key": chain.public_key, "genesis_time": chain.genesis_time, "period": chain.period,
        "group_hash": chain.group_hash, "beacon_id": chain.beacon_id,
    });
    program
        .with("LOTTERY__FAIRNESS__MODE", "beacon")
        .with("LOTTERY__FAIRNESS__MARGIN", "10s")
        .with("LOTTERY__FAIRNESS__BEACON_CHAIN", &chain.to_string())
        .with("LOTTERY__FAIRNESS__BEACON_ENDPOINTS", &json!([server.url]).to_string())
}

#[actix_web::test]
async fn a_process_that_is_killed_between_the_round_and_the_end_draws_the_same_and_pays_once() {
    let server = Drand::start(Manner::Good).await;
    let program = with_beacon_of(program_with_database().await, &server);
    let service = program.start().await;
    let sql = lottery::db::connect(&database(&program)).await.unwrap();
    let admin = service.admin(&program, "the.admin").await;
    let ann = service.player("ann").await;
    ann.deposit(10_000_000).await;
    let now = Clock::system().now();
    let (close, drawn) = (now + 10.seconds(), now + 25.seconds());
    let draw = admin.create_draw(json!({"lottery": "5of36", "sales_close_at": close, "draw_at": drawn})).await;
    admin.step(draw, "open").await.expect(200);
    for _ in 0..4 {
        ann.buy_quick(draw, 100).await;
    }
    let mut running = Some(service);
    for gate in &GATES {
        gate.shut(&sql).await;
        let service = match running.take() {
            Some(service) => service,
            None => program.start().await,
        };
        let waits = format!("SELECT count(*) > 0 {WAITING}");
        until("the draw has come to the gate", async || is_true(&sql, &waits).await).await;
        assert!(!server.asked().is_empty(), "the round is known");
        service.kill_9().await;
        gate.open(&sql).await;
        assert!(is_true(&sql, gate.until_then).await, "{}", gate.until_then);
    }
    // The numbers are stored by now, so the beacon is not needed any more.
    server.set(Manner::Status(500));
    let service = program.start().await;
    let everybody = service.anonymous();
    until("the draw is completed", async || {
        everybody.get(&format!("/draws/{draw}")).await.expect(200)["status"] == "completed"
    })
    .await;

    let rows =
        sql.query("SELECT entry FROM log_entries WHERE draw_id = $1 ORDER BY index", &[&draw]).await.unwrap();
    let all: Vec<(Vec<u8>, Event)> =
        rows.iter().map(|row| (row.get(0), Event::parse(row.get(0)).unwrap())).collect();
    let [(announcement, announced), (_, Event::DrawSealed { .. }), (_, completed)] = &all[..] else {
        panic!("{all:?}")
    };
    let Event::DrawCompleted { winning_numbers, tiers, .. } = completed else { panic!("{completed:?}") };
    assert_eq!(*winning_numbers, numbers(announcement, announced_round(announced)));
    // Each winning ticket has one prize, and there are no others.
    let winners: u64 = tiers.iter().map(|tier| tier.winners).sum();
    let total: u64 = tiers.iter().map(|tier| tier.winners * tier.prize).sum();
    let sums =
        "SELECT count(*), count(DISTINCT reference), sum(amount)::bigint FROM transfers WHERE kind = 'prize'";
    let row = sql.query_one(sums, &[]).await.unwrap();
    let paid = [0, 1, 2].map(|column| row.get::<_, i64>(column) as u64);
    assert_eq!(paid, [winners, winners, total]);
    assert!(winners > 0, "400 tickets, of which about one in seven wins");
    assert_eq!(program.run(&["check"]).await.status.code(), Some(0));
    let verifier = verifier();
    let url = format!("http://{}/api/v1/draws/{draw}", service.address);
    let verified = verifier.run(&["verify", &url, "--beacon", "chain.json"]).await;
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    service.stop().await;
}
