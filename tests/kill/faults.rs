//! What goes wrong with a house, and how it is done.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::house::{House, lives};

/// How often it is looked whether the writer is at its COMMIT, before it is killed wherever it is.
const LOOKS: i32 = 5_000;

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
        let mut name = format!("{self:?}");
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
                // One that answers: the file may still name the one that fell before.
                drop(house.sql().await);
                let postmaster = house.postmaster();
                kill(postmaster, Signal::SIGKILL).unwrap();
                gone(postmaster).await;
            }
            KillWriter => {
                let sql = house.sql().await;
                if let Some((writer, at_commit)) = writer(&sql, false).await {
                    // It may be gone by itself.
                    let _ = kill(writer, Signal::SIGKILL);
                    gone(writer).await;
                    name.push_str(if at_commit { " at COMMIT" } else { "" });
                }
            }
            EndWriter => {
                let sql = house.sql().await;
                if let Some((_, at_commit)) = writer(&sql, true).await {
                    name.push_str(if at_commit { " at COMMIT" } else { "" });
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
        *house.befallen.entry(name).or_default() += 1;
    }
}

/// Looks for a session at its COMMIT, from inside the server: from outside it has long gone on. A batch's one
/// statement commits by itself: it is there when it waits for the log.
const AT_COMMIT: &str = "CREATE FUNCTION pg_temp.at_commit(looks int, terminate bool) RETURNS int
    LANGUAGE plpgsql AS $$
    DECLARE found int;
    BEGIN
        FOR look IN 1..looks LOOP
            PERFORM pg_stat_clear_snapshot();
            SELECT pid INTO found FROM pg_stat_activity WHERE state = 'active' AND (query = 'COMMIT'
                OR query LIKE '-- sales::write(%' AND wait_event IN ('WALSync', 'WALWrite')) LIMIT 1;
            IF found IS NOT NULL THEN
                IF terminate THEN PERFORM pg_terminate_backend(found); END IF;
                RETURN found;
            END IF;
        END LOOP;
        RETURN NULL;
    END $$";

/// The backend of the service's writer, and whether it was met at COMMIT; terminated, if that is wanted.
async fn writer(sql: &Client, terminate: bool) -> Option<(Pid, bool)> {
    // Whatever ends the server meanwhile has done the work.
    sql.batch_execute(AT_COMMIT).await.ok()?;
    let row = sql.query_one("SELECT pg_temp.at_commit($1, $2)", &[&LOOKS, &terminate]).await.ok()?;
    if let Some(pid) = row.get::<_, Option<i32>>(0) {
        return Some((Pid::from_raw(pid), true));
    }
    let idle = "SELECT pid, CASE WHEN $1 THEN pg_terminate_backend(pid) END FROM pg_stat_activity
        WHERE query = 'COMMIT' OR query LIKE '-- sales::write(%' LIMIT 1";
    let row = sql.query_opt(idle, &[&terminate]).await.ok()??;
    Some((Pid::from_raw(row.get(0)), false))
}

async fn gone(pid: Pid) {
    while lives(pid) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
