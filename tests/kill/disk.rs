//! A full disk: a world on a small disk of its own, which is filled under load. First the tables cannot grow, then
//! the write-ahead log cannot, which ends Postgres (PANIC) and keeps it from starting.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::admin::Admin;
use crate::audit::audit;
use crate::buyers::{Buyers, register};
use crate::common::process::is_alive;
use crate::common::wait::{TIMEOUT, until};
use crate::figures::Figures;
use crate::journal::{Journal, Outcome};
use crate::world::World;

/// Enough for a new cluster and some load, and soon filled.
const SIZE: &str = "size=224m,mode=0755";
/// The disk stays full for longer than the service retries the first start of its Postgres.
const LONG: Duration = Duration::from_secs(75);

/// A small disk; unmounted when this value is dropped.
struct Disk(TempDir);

impl Disk {
    fn mount() -> Disk {
        let point = tempfile::Builder::new().prefix("lottery-disk-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "lottery-disk"]).arg(point.path());
        let output = mount.output().expect("`mount` is installed");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "a tmpfs must be mounted, which needs root: {}", error.trim());
        Disk(point)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) {
        let mut ballast = File::options().create(true).append(true).open(self.path().join("ballast")).unwrap();
        for size in [1 << 20, 1 << 12] {
            while ballast.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.path().join("ballast")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // `-l`: it is unmounted when its last user has ended.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[ignore = "it takes two minutes and needs root, who may mount a tmpfs: cargo test --test kill -- --ignored"]
#[actix_web::test]
async fn a_full_disk_loses_nothing_and_the_service_recovers_when_there_is_space_again() {
    let disk = Disk::mount();
    let mut world = World::in_directory(disk.path()).await;
    let admin = Admin::new(&world).await;
    let draw = admin.open_draw().await;
    let mut buyers = Buyers::start(register(&world).await, &[draw], 0);
    buyers.until_bought(100, &world).await;
    let sql = world.sql().await;

    disk.fill();
    // The next write needs a new segment of the write-ahead log, for which there is no space, and Postgres ends. (It
    // cannot even log that.)
    let postmaster = world.postmaster();
    let next_segment = "SELECT pg_logical_emit_message(false, 'disk', 'full'); SELECT pg_switch_wal()";
    let emptying = async {
        while !sql.is_closed() {
            // A checkpoint frees space, which is filled again.
            disk.fill();
            let _ = sql.batch_execute(next_segment).await;
        }
    };
    tokio::time::timeout(TIMEOUT, emptying).await.expect("there is an end to the log");
    until("Postgres ends, and cannot recover", async || !is_alive(postmaster)).await;
    let overloaded = |journal: &Journal| {
        let outcome = journal.calls.iter().flat_map(|call| &call.outcomes);
        outcome.filter(|outcome| matches!(outcome, Outcome::NotTaken("overloaded"))).count()
    };
    let before = buyers.read_journal(overloaded);
    until("orders are refused as overloaded", async || buyers.read_journal(overloaded) > before + 10).await;
    tokio::time::sleep(LONG).await;
    assert!(world.is_running(), "the service has ended:\n{}", world.log());

    disk.free();
    buyers.until_bought(100, &world).await;
    let mut rng = StdRng::seed_from_u64(0);
    admin.step_under_faults(draw, "close", 0, &mut world, &mut rng).await;
    admin.step_under_faults(draw, "conduct", 0, &mut world, &mut rng).await;
    buyers.finish().await;
    let sql = world.sql().await;
    buyers.while_paused(async |journal| audit(journal, &sql, &mut Figures::default()).await).await;
    drop(sql);
    world.close().await;
}
