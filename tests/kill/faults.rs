//! What goes wrong with a house, and how it is done.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::house::{House, lives};

/// How often it is looked whether the writer is at its COMMIT, before it is killed wherever it is.
const LOOKS: usize = 300;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// `kill -9` of the service; a new one is started.
    KillService,
    /// SIGTERM to the service in the middle of the rush; a new one is started.
    StopService,
    /// `kill -9` of the postmaster: the service sees to it.
    KillPostmaster,
    /// `kill -9` of the writer's backend, at COMMIT if it can be met there: Postgres takes all other
    /// backends down with it and recovers.
    KillWriter,
    /// The writer's connection ends, at COMMIT if it can be met there, and no other.
    EndWriter,
    /// Power fails: the service and every process of Postgres at once.
    KillAll,
    /// The database stands still for a moment.
    Freeze,
    /// So long that orders whose transaction had begun are told that their outcome is unknown.
    FreezeLong,
    /// It stands still, the service is killed, and the new one finds it so.
    FreezeAndKill,
    /// It stands still, and only then the postmaster dies: its children cannot notice.
    FreezeAndOrphan,
}

use Fault::*;

/// Out of a hundred. One that takes long is rare.
const MIX: [(Fault, u32); 10] = [
    (KillService, 24),
    (KillPostmaster, 18),
    (KillWriter, 20),
    (EndWriter, 12),
    (KillAll, 9),
    (Freeze, 8),
    (StopService, 3),
    (FreezeAndKill, 3),
    (FreezeAndOrphan, 2),
    (FreezeLong, 1),
];

/// Those of a short run: each process dies once, and the database is away once.
const FEW: [Fault; 4] = [KillService, KillWriter, Freeze, KillPostmaster];

impl Fault {
    pub fn any(rng: &mut StdRng) -> Fault {
        let mut at = rng.random_range(0..MIX.iter().map(|(_, share)| share).sum());
        for (fault, share) in MIX {
            if at < share {
                return fault;
            }
            at -= share;
        }
        KillService
    }

    pub fn of_few(round: usize) -> Fault {
        FEW[round % FEW.len()]
    }

    /// One of those that may fall into the end of a draw.
    pub fn quick(rng: &mut StdRng) -> Fault {
        [KillService, KillPostmaster, KillWriter, EndWriter, KillAll][rng.random_range(0..5)]
    }

    /// Does it; when this returns, a service runs again, and heals whatever is left to heal by itself.
    pub async fn befall(self, house: &mut House, rng: &mut StdRng) {
        match self {
            KillService => {
                house.kill_service().await;
                house.start().await;
            }
            StopService => {
                house.stop().await;
                house.start().await;
            }
            KillPostmaster => {
                let postmaster = house.postmaster();
                kill(postmaster, Signal::SIGKILL).unwrap();
                gone(postmaster).await;
            }
            KillWriter => {
                let sql = house.sql().await;
                if let Some(writer) = writer(&sql).await {
                    // It may be gone by itself.
                    let _ = kill(writer, Signal::SIGKILL);
                    gone(writer).await;
                }
            }
            EndWriter => {
                let sql = house.sql().await;
                if let Some(writer) = writer(&sql).await {
                    sql.execute("SELECT pg_terminate_backend($1)", &[&writer.as_raw()]).await.unwrap();
                }
            }
            KillAll => {
                house.kill_postgres().await;
                house.kill_service().await;
                house.start().await;
            }
            Freeze => {
                house.freeze().await;
                tokio::time::sleep(Duration::from_millis(rng.random_range(100..2_500))).await;
                house.thaw();
            }
            FreezeLong => {
                house.freeze().await;
                tokio::time::sleep(Duration::from_secs(8)).await;
                house.thaw();
            }
            FreezeAndKill => {
                house.freeze().await;
                house.kill_service().await;
                let left = house.leave_frozen();
                house.start().await;
                assert!(!left.iter().any(|pid| lives(*pid)), "what stood still was left there");
            }
            FreezeAndOrphan => {
                house.freeze().await;
                let left = house.leave_frozen();
                kill(left[0], Signal::SIGKILL).unwrap();
                gone(left[0]).await;
            }
        }
        assert!(house.runs(), "the service has ended:\n{}", house.log());
    }
}

/// The backend of the service's writer, if it can at COMMIT.
async fn writer(sql: &Client) -> Option<Pid> {
    let find = "SELECT pid, state = 'active' FROM pg_stat_activity WHERE query = 'COMMIT' ORDER BY 2 DESC LIMIT 1";
    let mut writer = None;
    for _ in 0..LOOKS {
        // Whatever ends the server meanwhile has done the work.
        let row = sql.query_opt(find, &[]).await.ok()??;
        writer = Some(Pid::from_raw(row.get(0)));
        if row.get(1) {
            break;
        }
    }
    writer
}

async fn gone(pid: Pid) {
    while lives(pid) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
