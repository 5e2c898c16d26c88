//! A series: one world, its buyers behind the proxy, and a number of rounds of one fault; then its draw is ended, and
//! everything that was answered is compared with the database.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::audit::{audit, prizes};
use crate::buyers::{self, Buyers};
use crate::common::PASSWORD;
use crate::faults::Fault;
use crate::figures::Figures;
use crate::table::Row;
use crate::world::World;

/// Pool tickets of the draw.
const POOL: usize = 3_000;
/// Successes that are replayed at the end.
const REPLAYS: usize = 300;

/// Plays the rounds and adds what was measured.
pub async fn play(fault: Fault, rounds: usize, seed: u64, row: &mut Row, figures: &mut Figures) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new(fault.fake_clocks()).await;
    let created = world.program().create_admin("the.admin", "the.admin@example.com", PASSWORD).await;
    assert!(created.status.success(), "{created:?}");
    let admin = world.anonymous().log_in("the.admin", PASSWORD).await;
    let players = buyers::register(&world).await;
    let draw = admin.create_draw(json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"})).await;
    admin.pool(draw, POOL).await.expect(201);
    admin.step(draw, "open").await.expect(200);
    let mut buyers = Buyers::start(players, &[draw], seed);
    let sales = Sales::record(&buyers);

    for round in 1..=rounds {
        fault.prepare(&mut world).await;
        buyers.until_bought(rng.random_range(50..400), &world).await;
        let per_second = rate(&buyers).await;
        buyers.take_slowest();
        let since = Instant::now();
        fault.play(&mut world, &buyers).await;
        let (pause, slowest) = (sales.longest_pause(since), buyers.take_slowest());
        world.until_whole().await;
        println!(
            "{fault:?} {round}: at {per_second:.0} purchases/s, nothing sold for {pause:.2?}, slowest call {slowest:.2?}"
        );
        assert!(pause <= fault.limit(), "nothing was sold for too long:\n{}", world.log());
        let waited = fault.longest_call().is_none_or(|longest| slowest <= longest);
        assert!(waited, "a client waited for too long:\n{}", world.log());
        row.add(pause, slowest);
        *figures.faults.entry(format!("{fault:?}")).or_default() += 1;
        figures.rounds += 1;
    }

    buyers.finish().await;
    figures.resolved += buyers.while_paused(async |journal| buyers.resolve_unknown(journal).await).await;
    let result = admin.conduct(draw).await;
    let sql = world.sql().await;
    let comparing = async |journal: &mut crate::journal::Journal| {
        figures.replays += buyers.replay(journal, REPLAYS, &mut rng).await;
        figures.unknown_but_done += audit(journal, &sql, figures).await;
        figures.count(journal);
    };
    buyers.while_paused(comparing).await;
    figures.prizes += prizes(&sql, draw, &result).await;
    figures.draws_settled += 1;
    figures.requests += buyers.requests();
    world.check().await;
}

/// How many purchases are answered in a second, measured in one.
async fn rate(buyers: &Buyers) -> f64 {
    let (since, before) = (Instant::now(), *buyers.purchases().borrow());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sold = *buyers.purchases().borrow() - before;
    sold as f64 / since.elapsed().as_secs_f64()
}

/// When purchases were answered 2xx; of those at the same moment, one.
struct Sales(Rc<RefCell<Vec<Instant>>>);

impl Sales {
    fn record(buyers: &Buyers) -> Sales {
        let (times, mut purchases) = (Rc::new(RefCell::new(Vec::new())), buyers.purchases());
        let recorded = times.clone();
        actix_web::rt::spawn(async move {
            while purchases.changed().await.is_ok() {
                recorded.borrow_mut().push(Instant::now());
            }
        });
        Sales(times)
    }

    /// The longest time without a purchase, from this moment until now.
    fn longest_pause(&self, since: Instant) -> Duration {
        let times = self.0.borrow();
        let mut ends: Vec<Instant> = vec![since];
        ends.extend(times.iter().filter(|time| **time > since));
        ends.push(Instant::now());
        ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}
