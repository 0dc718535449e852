//! Case: a disk that fills up and is freed again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::tempdir;
use tokio::time::sleep;

use super::check::Seen;
use super::client::Client;
use super::ledger::Ledger;
use super::load::World;
use super::server::Launch;
use super::setting::{assert_kept, becomes, block_on, millis, run_on, seed};

/// A small disk of its own, which lives as long as the process that holds it.
struct SmallDisk {
    holder: Child,
    mount: PathBuf,
}

impl SmallDisk {
    /// A tmpfs of `mebibytes` at `mount`, visible to those who go `through` it.
    fn mount(mount: &Path, mebibytes: u32) -> Self {
        fs::create_dir(mount).expect("the mount point can be made");
        let script = format!(
            "mount -t tmpfs -o size={mebibytes}m small {0} && touch {0}/mounted && exec sleep 600",
            mount.display()
        );
        // Without root, a user namespace allows the same.
        let flags: &[&str] = if Self::is_root() {
            &["-m"]
        } else {
            &["-r", "-m"]
        };
        let mut command = Command::new("unshare");
        let holder = command.args(flags).args(["sh", "-c", &script]).spawn();
        let disk = Self {
            holder: holder.expect("`unshare` is there"),
            mount: mount.to_owned(),
        };
        let begun = Instant::now();
        while !disk.path("mounted").exists() {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "a tmpfs cannot be mounted here"
            );
            std::thread::sleep(millis(10));
        }
        disk
    }

    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    /// A path on it, seen from outside.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self
            .mount
            .strip_prefix("/")
            .expect("temporary folders are absolute");
        root.join(inside).join(name)
    }

    fn through(&self) -> Vec<String> {
        let mut words = vec![
            "nsenter".to_owned(),
            format!("--target={}", self.holder.id()),
        ];
        if !Self::is_root() {
            words.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        words.push("--mount".to_owned());
        words
    }

    /// Fills it until `left` bytes are free, more or less.
    fn fill(&self, left: u64) {
        let free = rustix::fs::statvfs(self.path("")).expect("it is mounted");
        let ballast = (free.f_bavail * free.f_frsize).saturating_sub(left);
        let zeros = vec![0; ballast as usize];
        fs::write(self.path("ballast"), zeros).expect("the ballast fits");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ended = self.holder.kill();
        let _status = self.holder.wait();
    }
}

#[test]
fn a_full_disk_refuses_messages_serves_reads_and_recovers() {
    const MEBIBYTE: u64 = 1 << 20;
    let mut seed = seed("full disk");
    let folder = tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("disk"), 192);
    let reserve = (8 * MEBIBYTE).to_string();
    let launch = Launch::on(&folder.path().join("disk/data"))
        .env("FANFARE_STORE_MIN_FREE_BYTES", reserve)
        .through(&disk.through());
    block_on(async {
        let server = launch.start();
        let world = World::create(&Client::to(server.address), 1, 2, 2).await;
        let run = run_on(&server, &world, Ledger::default(), &mut seed);
        let tasks = run.start();
        sleep(millis(300)).await;
        let before = run.ledger.borrow().promised();
        assert!(
            before > 5,
            "the load did next to nothing: {:?}",
            run.refused
        );

        disk.fill(4 * MEBIBYTE);
        let refuses = || async { matches!(run.notify().await, Ok(false)) };
        assert!(
            becomes(Duration::from_secs(5), refuses).await,
            "goes on with a full disk"
        );
        let refuses = || async { matches!(run.send_plain().await, Ok(false)) };
        assert!(
            becomes(Duration::from_secs(5), refuses).await,
            "the plain queue goes on"
        );
        run.stop(tasks).await;
        run.refused.borrow_mut().clear();
        assert!(matches!(run.notify().await, Ok(false)));
        let refused = run.refused.borrow_mut().pop().expect("it was refused");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(matches!(run.send_plain().await, Ok(false)));
        let refused = run.refused.borrow_mut().pop().expect("it was refused");
        assert!([500, 503].contains(&refused.status), "{refused:?}");
        let kind = refused.body["__type"].as_str().unwrap_or_default();
        assert!(kind.contains("InternalError"), "{refused:?}");
        // Reads go on: every history, and one queue.
        for user in world.users() {
            assert_kept(&run.check_history(user).await, "while the disk is full");
        }
        let broken = run.check_queue(world.sessions.first(), Seen::Leave).await;
        assert_kept(&broken, "while the disk is full");

        fs::remove_file(disk.path("ballast")).expect("the ballast is there");
        let accepts = || async { matches!(run.notify().await, Ok(true)) };
        assert!(
            becomes(Duration::from_secs(5), accepts).await,
            "does not recover"
        );
        let run = run_on(&server, &world, run.ledger.take(), &mut seed);
        server.kill();
        let server = launch.start();
        let run = run_on(&server, &world, run.ledger.take(), &mut seed);
        // The first queue was received from, and its messages are still hidden.
        for session in world.sessions.iter().skip(1) {
            assert_kept(
                &run.check_queue(Some(session), Seen::Delete).await,
                "after the restart",
            );
        }
        assert_kept(
            &run.check_queue(None, Seen::Delete).await,
            "after the restart",
        );
        for user in world.users() {
            assert_kept(&run.check_history(user).await, "after the restart");
        }
    });
}
