//! The faults, and how each is injected.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio_postgres::Client;

use crate::common::process::is_alive;
use crate::world::World;

/// How often to look whether the writer is at its COMMIT before it is killed wherever it is.
const LOOKS: i32 = 5_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// `kill -9` of the service; a new one is started.
    KillService,
    /// SIGTERM to the service under load; a new one is started.
    StopService,
    /// `kill -9` of the postmaster: the service starts a new one.
    KillPostmaster,
    /// `kill -9` of the writer's backend, at COMMIT if it is seen there: Postgres ends all other backends too and
    /// recovers.
    KillWriter,
    /// The writer's connection ends, at COMMIT if it is seen there; no other connection ends.
    EndWriter,
    /// Power failure: `kill -9` of the service and every process of Postgres at once.
    KillAll,
    /// The database is frozen for a moment.
    Freeze,
    /// The database is frozen for so long that orders under way are answered `outcome_unknown`.
    FreezeLong,
    /// The database is frozen, the service is killed, and the new one finds the frozen processes.
    FreezeAndKill,
    /// The database is frozen, then its postmaster is killed: the frozen children cannot notice.
    FreezeAndOrphan,
}

use Fault::*;

/// How many of a hundred faults are of this kind. Those that take long are rare.
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

/// The faults of a short run: each process is killed once, and the database is unavailable once.
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

    /// One of the faults that are injected while a draw ends.
    pub fn quick(rng: &mut StdRng) -> Fault {
        [KillService, KillPostmaster, KillWriter, EndWriter, KillAll][rng.random_range(0..5)]
    }

    /// Injects the fault; when this returns, a service runs again and recovers by itself.
    pub async fn inject(self, world: &mut World, rng: &mut StdRng) {
        let mut name = format!("{self:?}");
        match self {
            KillService => {
                world.kill_service().await;
                world.start().await;
            }
            StopService => {
                world.stop().await;
                world.start().await;
            }
            KillPostmaster => {
                // Wait for a postmaster that answers: the file may still name the one that was killed before.
                drop(world.sql().await);
                let postmaster = world.postmaster();
                kill(postmaster, Signal::SIGKILL).unwrap();
                until_ended(postmaster).await;
            }
            KillWriter => {
                let sql = world.sql().await;
                if let Some((writer, at_commit)) = writer(&sql, false).await {
                    // It may have ended by itself.
                    let _ = kill(writer, Signal::SIGKILL);
                    until_ended(writer).await;
                    name.push_str(if at_commit { " at COMMIT" } else { "" });
                }
            }
            EndWriter => {
                let sql = world.sql().await;
                if let Some((_, at_commit)) = writer(&sql, true).await {
                    name.push_str(if at_commit { " at COMMIT" } else { "" });
                }
            }
            KillAll => {
                world.kill_postgres().await;
                world.kill_service().await;
                world.start().await;
            }
            Freeze => {
                world.freeze().await;
                tokio::time::sleep(Duration::from_millis(rng.random_range(100..2_500))).await;
                world.resume();
            }
            FreezeLong => {
                world.freeze().await;
                tokio::time::sleep(Duration::from_secs(8)).await;
                world.resume();
            }
            FreezeAndKill => {
                world.freeze().await;
                world.kill_service().await;
                let left = world.leave_frozen();
                world.start().await;
                assert!(!left.iter().any(|pid| is_alive(*pid)), "frozen processes were left behind");
            }
            FreezeAndOrphan => {
                world.freeze().await;
                let left = world.leave_frozen();
                kill(left[0], Signal::SIGKILL).unwrap();
                until_ended(left[0]).await;
            }
        }
        assert!(world.is_running(), "the service has ended:\n{}", world.log());
        *world.injected.entry(name).or_default() += 1;
    }
}

/// Looks for a session at its COMMIT from inside the server, because a look from outside comes too late. A batch of
/// one statement commits implicitly: it is at COMMIT when it waits for the write-ahead log.
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

/// The backend of the service's writer, and whether it was seen at COMMIT. Terminates it, if asked to.
async fn writer(sql: &Client, terminate: bool) -> Option<(Pid, bool)> {
    // An error means that the server ended meanwhile, which is a fault as well.
    sql.batch_execute(AT_COMMIT).await.ok()?;
    let row = sql.query_one("SELECT pg_temp.at_commit($1, $2)", &[&LOOKS, &terminate]).await.ok()?;
    if let Some(pid) = row.get::<_, Option<i32>>(0) {
        return Some((Pid::from_raw(pid), true));
    }
    let idle = "SELECT pid, CASE WHEN $1 THEN pg_terminate_backend(pid) END FROM pg_stat_activity
        WHERE query = 'COMMIT' OR query LIKE '-- sales::write(%' OR query LIKE '-- writers::ping(%' LIMIT 1";
    let row = sql.query_opt(idle, &[&terminate]).await.ok()??;
    Some((Pid::from_raw(row.get(0)), false))
}

async fn until_ended(pid: Pid) {
    while is_alive(pid) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
