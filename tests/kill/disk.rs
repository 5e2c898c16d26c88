//! The disk full: a house on a small disk of its own, which is filled in the middle of the rush. First the
//! tables cannot grow, then the log of the writes cannot, which ends Postgres altogether (PANIC) and keeps
//! it from starting. Part of the long runs. Prefetch root, who may mount; anybody else is told so and skips it.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::audit::audit;
use crate::crowd::Crowd;
use crate::figures::Figures;
use crate::house::{House, PATIENCE, lives};
use crate::journal::{Heard, Journal};
use crate::life::Admin;
use crate::{FEW, rounds};

/// Room for a new cluster and a rush, and soon filled.
const SIZE: &str = "size=224m,mode=0755";
/// It stays full for longer than a first start is ever tried.
const LONG: Duration = Duration::from_secs(75);

/// A small disk; it goes with this value.
struct Disk(TempDir);

impl Disk {
    /// None where it may not be mounted, and why.
    fn mount() -> Result<Disk, String> {
        let point = tempfile::Builder::new().prefix("lottery-disk-").tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "lottery-disk"]).arg(point.path());
        let output = mount.output().map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(Disk(point))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
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
        // It goes when the last one who uses it is gone.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[actix_web::test]
async fn a_full_disk_loses_nothing_and_when_there_is_space_again_all_goes_on() {
    if rounds() <= FEW {
        return println!("skipped: a full disk belongs to the long runs, KILL_ROUNDS=24");
    }
    let disk = match Disk::mount() {
        Ok(disk) => disk,
        Err(why) => return println!("skipped: no disk can be mounted here: {why}"),
    };
    let mut house = House::open_in(disk.path()).await;
    let admin = Admin::new(&house).await;
    let draw = admin.open_draw().await;
    let mut crowd = Crowd::gather(&house, &[draw], 0).await;
    crowd.buys(100, &house).await;
    let sql = house.sql().await;

    disk.fill();
    // Soon the next write needs a new segment of the log, for which there is no space, and Postgres ends. (It
    // cannot even log that.)
    let postmaster = house.postmaster();
    let next_segment = "SELECT pg_logical_emit_message(false, 'disk', 'full'); SELECT pg_switch_wal()";
    let emptying = async {
        while !sql.is_closed() {
            // What a checkpoint gave free is taken again.
            disk.fill();
            let _ = sql.batch_execute(next_segment).await;
        }
    };
    tokio::time::timeout(PATIENCE, emptying).await.expect("there is an end to the log");
    until(&house, "Postgres ends, and cannot recover", || !lives(postmaster)).await;
    let overloaded = |journal: &Journal| {
        let heard = journal.calls.iter().flat_map(|call| &call.heard);
        heard.filter(|heard| matches!(heard, Heard::NotTaken("overloaded"))).count()
    };
    let before = crowd.glimpse(overloaded);
    until(&house, "they are told that nothing was taken", || crowd.glimpse(overloaded) > before + 10).await;
    tokio::time::sleep(LONG).await;
    assert!(house.runs(), "the service has ended:\n{}", house.log());

    disk.free();
    crowd.buys(100, &house).await;
    let mut rng = StdRng::seed_from_u64(0);
    admin.insist(draw, "close", 0, &mut house, &mut rng).await;
    admin.insist(draw, "conduct", 0, &mut house, &mut rng).await;
    crowd.go_home().await;
    let sql = house.sql().await;
    crowd.meanwhile(async |journal| audit(journal, &sql, &mut Figures::default()).await).await;
    drop(sql);
    house.close().await;
}

async fn until(house: &House, what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("never: {what}\n{}", house.log()));
}
