//! The faults, and what must be true while each of them lasts.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::buyers::{Buyers, PLAYERS};
use crate::stack::NODES;
use crate::world::{FakeClocks, World};

/// How long a supervisor waits until it starts a service again (`RestartSec`).
const RESTART: Duration = Duration::from_secs(2);
/// More purchases than can be answered out of what was under way when the fault came.
const SOLD_AGAIN: usize = 2 * PLAYERS;
/// How long a service is stopped before it wakes.
const STOPPED: Duration = Duration::from_secs(30);
/// How long etcd is frozen: longer than the primary's lease in it.
const ETCD_FROZEN: Duration = Duration::from_secs(35);
/// How long a clock is wrong: longer than a standby watches before it declares the active service dead.
const CLOCK_WRONG: Duration = Duration::from_secs(10);
/// By how many seconds.
const CLOCK_MOVED: i32 = 10;
/// How long a database stays away after another one has taken over.
const AWAY: Duration = Duration::from_secs(5);
/// The exit code of a service that was declared dead.
const DECLARED_DEAD: i32 = 75;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// `kill -9` of the active service.
    ServiceKilled,
    /// SIGSTOP of the active service; it wakes when another one has taken over.
    ServiceStopped,
    /// SIGTERM to the active service.
    Drained,
    /// `kill -9` of the primary and its Patroni.
    PrimaryKilled,
    /// SIGSTOP of the primary and its Patroni.
    PrimaryFrozen,
    /// The primary's machine is off the network. The active service is on the other one.
    PrimaryCutOff,
    /// SIGSTOP of the primary's Patroni alone: another Postgres becomes the primary, and this one does not know it.
    PatroniFrozen,
    /// `kill -9` of the standby and its Patroni.
    StandbyKilled,
    /// SIGSTOP of all three etcd.
    EtcdFrozen,
    /// The machine of the primary and of the active service is off the network.
    MachineCutOff,
    /// The clock of the primary's machine is moved forward and back.
    DatabaseClock,
    /// The clock of the active service is moved forward and back.
    ServiceClock,
}

use Fault::*;

impl Fault {
    pub fn fake_clocks(self) -> FakeClocks {
        match self {
            DatabaseClock => FakeClocks::Database,
            ServiceClock => FakeClocks::Services,
            _ => FakeClocks::None,
        }
    }

    /// For how long nothing may be sold.
    pub fn limit(self) -> Duration {
        Duration::from_secs(match self {
            ServiceKilled => 7,
            // Until the proxy knows that it hangs, and as long as after a kill.
            ServiceStopped => 7,
            Drained => 1,
            PrimaryKilled | PrimaryFrozen | PrimaryCutOff | PatroniFrozen => 25,
            StandbyKilled | EtcdFrozen | DatabaseClock | ServiceClock => 3,
            // The new primary first, then the standby's patience.
            MachineCutOff => 40,
        })
    }

    /// How long a call may take, with all its tries. `None`: a fault that takes longer than a client waits.
    pub fn longest_call(self) -> Option<Duration> {
        (self == Drained).then_some(Duration::from_secs(1))
    }

    /// Whether the active service must stay the active one.
    fn leaves_the_service(self) -> bool {
        !matches!(self, ServiceKilled | ServiceStopped | Drained | MachineCutOff)
    }

    /// Makes the world as the fault needs it, before anything is measured.
    pub async fn prepare(self, world: &mut World) {
        let primary = world.stack.primary().await.expect("the world is whole");
        match self {
            PrimaryCutOff => world.move_from(primary).await,
            MachineCutOff => world.move_from(other(primary)).await,
            _ => {}
        }
    }

    /// Injects the fault and ends it, while the buyers go on; when this returns, everything comes back by itself.
    pub async fn play(self, world: &mut World, buyers: &Buyers) {
        let active = world.active().await;
        let primary = world.stack.primary().await.expect("the world is whole");
        match self {
            ServiceKilled => {
                world.end(active, Signal::SIGKILL).await;
                sleep(RESTART).await;
                world.start(active);
            }
            ServiceStopped => stopped(world, active, buyers).await,
            Drained => {
                let (status, log) = world.end(active, Signal::SIGTERM).await;
                assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
                sleep(RESTART).await;
                world.start(active);
            }
            PrimaryKilled => {
                world.stack.kill_database(primary).await;
                buyers.until_bought(SOLD_AGAIN, world).await;
                world.stack.start_patroni(primary);
            }
            PrimaryFrozen => {
                world.stack.signal_database(primary, Signal::SIGSTOP);
                buyers.until_bought(SOLD_AGAIN, world).await;
                sleep(AWAY).await;
                world.stack.signal_database(primary, Signal::SIGCONT);
            }
            PrimaryCutOff | MachineCutOff => {
                world.stack.network.cut_off(primary);
                buyers.until_bought(SOLD_AGAIN, world).await;
                sleep(AWAY).await;
                world.stack.network.reconnect(primary);
            }
            PatroniFrozen => {
                world.stack.signal_patroni(primary, Signal::SIGSTOP);
                until_another_primary(world, primary).await;
                buyers.until_bought(SOLD_AGAIN, world).await;
                sleep(AWAY).await;
                world.stack.signal_patroni(primary, Signal::SIGCONT);
            }
            StandbyKilled => {
                world.stack.kill_database(other(primary)).await;
                buyers.until_bought(SOLD_AGAIN, world).await;
                world.stack.start_patroni(other(primary));
            }
            EtcdFrozen => {
                let machines = 0..NODES + 1;
                machines.clone().for_each(|machine| world.stack.signal_etcd(machine, Signal::SIGSTOP));
                sleep(ETCD_FROZEN).await;
                machines.for_each(|machine| world.stack.signal_etcd(machine, Signal::SIGCONT));
            }
            DatabaseClock => {
                for seconds in [CLOCK_MOVED, -CLOCK_MOVED, 0] {
                    world.stack.set_clock(primary, seconds);
                    sleep(CLOCK_WRONG).await;
                }
            }
            ServiceClock => {
                for seconds in [CLOCK_MOVED, -CLOCK_MOVED, 0] {
                    world.set_service_clock(active, seconds);
                    sleep(CLOCK_WRONG).await;
                }
            }
        }
        if self.leaves_the_service() {
            assert!(world.is_running(active), "the active service has ended:\n{}", world.log());
            assert_eq!(world.active().await, active, "another service has taken over:\n{}", world.log());
        }
        buyers.until_bought(SOLD_AGAIN, world).await;
    }
}

fn other(node: usize) -> usize {
    NODES - 1 - node
}

async fn until_another_primary(world: &World, before: usize) {
    let looking = async {
        while world.stack.primary().await != Some(other(before)) {
            sleep(Duration::from_millis(100)).await;
        }
    };
    let found = tokio::time::timeout(crate::common::wait::TIMEOUT, looking).await;
    assert!(found.is_ok(), "no other Postgres becomes the primary:\n{}", world.log());
}

/// The active service is stopped, another one takes over, and it wakes: it must exit, and have written nothing.
async fn stopped(world: &mut World, active: usize, buyers: &Buyers) {
    let sql = world.sql().await;
    let node: i64 = sql.query_one("SELECT node FROM active", &[]).await.unwrap().get(0);
    let wakes = Instant::now() + STOPPED;
    world.signal(active, Signal::SIGSTOP);
    buyers.until_bought(SOLD_AGAIN, world).await;
    let written = "SELECT w::text FROM writers w WHERE node = $1 ORDER BY 1";
    let writers = async || -> Vec<String> {
        sql.query(written, &[&node]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let before = writers().await;
    sleep_until(wakes).await;
    let dead = sql.query_one("SELECT dead FROM nodes WHERE id = $1", &[&node]).await.unwrap();
    assert!(dead.get::<_, bool>(0), "nobody declared the stopped service dead:\n{}", world.log());
    world.signal(active, Signal::SIGCONT);
    let (status, log) = world.ended(active).await;
    assert_eq!(status.code(), Some(DECLARED_DEAD), "it must exit when it wakes:\n{}", log.join("\n"));
    assert_eq!(writers().await, before, "it wrote after its death:\n{}", log.join("\n"));
}
