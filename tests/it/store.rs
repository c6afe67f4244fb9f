//! The state folder in bad hands: no space, a limit on file size, checkpoints that are gone or damaged, the folder removed. Through
//! the real binary.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Daemon, Disk, Folder, failed_item, failed_item_of, skip, start_sandbox, until};

const RULE: &str = "\
rule: follow-up
events: queueItem.transactionFailed
queues: [Invoices]
steps:
  - enqueue: {queue: Invoices-Review, reference: \"r-${item.Reference}\", content: {Invoice: \"${content.InvoiceId}\"}}
";

/// Without space, an answer comes within this time.
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
/// Each delivery takes as much; so the space that was prepared is used up soon.
const LONG: usize = 120_000;

/// The lists of the API, as far as they must not change: rules have seen every event, and no run is under way.
async fn lists(daemon: &Daemon) -> (Vec<Value>, Vec<Value>) {
    let settled = until("every run is settled", async || {
        let events = daemon.list("/api/v1/events").await;
        if events.iter().any(|event| event["generation"].is_null()) {
            return None;
        }
        for state in ["pending", "running", "retrying", "waiting", "blocked"] {
            if !daemon.runs(state).await.is_empty() {
                return None;
            }
        }
        Some(events)
    });
    (settled.await, daemon.list("/api/v1/runs").await)
}

/// Lists of events and of runs are the same: else tells the first that is not.
fn are_the_same(before: &(Vec<Value>, Vec<Value>), after: &(Vec<Value>, Vec<Value>), when: &str) {
    for (before, after) in [(&before.0, &after.0), (&before.1, &after.1)] {
        before.iter().zip(after).for_each(|(before, after)| assert_eq!(before, after, "{when}"));
        assert_eq!(before.len(), after.len(), "{when}");
    }
}

/// Items of a list of events, by the numbers that the tests gave them.
fn numbers(events: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<_> = events.iter().filter_map(|event| event["data"]["QueueItem"]["Id"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

/// Delivers long items from `next` on until one is refused as it should be; the items kept.
async fn until_refused(daemon: &Daemon, next: &mut u64) -> Vec<u64> {
    let mut kept = Vec::new();
    loop {
        let body = serde_json::to_vec(&failed_item_of(*next, LONG)).expect("json");
        let asked = Instant::now();
        let answer = daemon.answer_to(body).await.expect("an answer");
        if answer.status() == 202 {
            kept.push(*next);
            *next += 1;
            assert!(kept.len() < 2000, "never full");
            continue;
        }
        assert_eq!(answer.status(), 503);
        assert!(asked.elapsed() < REFUSED_WITHIN, "{:?}", asked.elapsed());
        let again: u32 = answer.headers()["Retry-After"].to_str().expect("text").parse().expect("seconds");
        assert!((1..=60).contains(&again), "{again}");
        return kept;
    }
}

/// Space runs out under a running daemon, and `room` gives it back: everything refused is answered so at once, and nothing that was
/// kept is lost, neither then nor over two starts.
async fn runs_out_of_space_and_recovers(folder: &Folder, daemon: Daemon, room: impl FnOnce(&Daemon)) -> Daemon {
    let mut next = 1000;
    let mut kept: Vec<u64> = (1..=10).collect();
    for id in &kept {
        assert_eq!(daemon.deliver(&failed_item(*id)).await.expect("an answer").0, 202);
    }
    kept.extend(until_refused(&daemon, &mut next).await);
    until("it is not ready", async || (daemon.readiness().await == (503, vec!["full".to_owned()])).then_some(())).await;
    for _ in 0..20 {
        kept.extend(until_refused(&daemon, &mut next).await);
    }
    // The checkpoints may have no space either; then memory takes their place.
    for list in ["/api/v1/events?limit=1000", "/api/v1/runs?limit=1000"] {
        until("lists answer", async || (daemon.status(list).await == 200).then_some(())).await;
    }
    let events = daemon.list("/api/v1/events").await;
    assert_eq!(numbers(&events), kept, "what was kept can be read meanwhile, and what was refused is not there");

    room(&daemon);
    until("it is ready again", async || (daemon.readiness().await.0 == 200).then_some(())).await;
    for _ in 0..3 {
        assert_eq!(daemon.deliver(&failed_item_of(next, LONG)).await.expect("an answer").0, 202);
        kept.push(next);
        next += 1;
    }
    let before = lists(&daemon).await;
    assert_eq!(numbers(&before.0), kept);
    assert_eq!(before.1.len(), kept.len(), "each has its run");
    assert!(before.1.iter().all(|run| run["state"] == "succeeded"), "{:?}", before.1);
    // Killed first, then ended well: the checkpoints may have failed in the meantime, and that must not show.
    let failed = daemon.log().contains("the checkpoints failed");
    let starts = |log: &str| log.lines().filter(|line| line.contains("ready_ms")).count();
    let before_it = starts(&daemon.log());
    daemon.kill9();
    let daemon = Daemon::start(folder).await;
    // The log is written by a thread of its own.
    let log = until("it is said in the log", async || Some(daemon.log()).filter(|log| starts(log) > before_it)).await;
    let ready = log.lines().rfind(|line| line.contains("ready_ms")).expect("it is ready");
    assert_eq!(!ready.contains(r#""rebuilt":"no""#), failed, "once failed, never trusted again: {ready}");
    are_the_same(&before, &lists(&daemon).await, "after a kill");
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    let daemon = Daemon::start(folder).await;
    are_the_same(&before, &lists(&daemon).await, "after a good end");
    daemon
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_at_once_and_it_recovers_by_itself() {
    // Much of it is filled by the test, so that there is room when that is removed.
    const BYTES: u64 = 64 << 20;
    for kind in ["ext4", "memory"] {
        let sandbox = start_sandbox().await;
        let mut folder = Folder::new(&sandbox.url);
        folder.rule("follow-up", RULE);
        folder.keep_state_in("disk/state");
        let at = folder.path("disk");
        let made = if kind == "ext4" { Disk::ext4(&folder.path("image"), &at, BYTES) } else { Disk::memory(&at, BYTES) };
        let disk = match made {
            Ok(disk) => disk,
            Err(why) => return skip("a_full_disk_is_said_at_once_and_it_recovers_by_itself", &why),
        };
        let daemon = Daemon::start(&folder).await;
        let ballast = disk.fill();
        let daemon = runs_out_of_space_and_recovers(&folder, daemon, |_| fs::remove_file(&ballast).expect("removed")).await;

        // Asked to end while there is no space: it ends, and in time. Started without space, also twice: it opens with what it held
        // back, says that it is full, and recovers. Started read-only: refused with the remedy. Nothing is harmed by any of it.
        until("space is held back", async || folder.path("disk/state/reserve").exists().then_some(())).await;
        let ballast = disk.fill();
        let mut kept = numbers(&daemon.list("/api/v1/events").await);
        let mut next = 5000;
        kept.extend(until_refused(&daemon, &mut next).await);
        daemon.signal("TERM");
        assert!(daemon.ended().await.success());
        for start in ["first", "second"] {
            if start == "first" {
                // What the end gave back is taken as well.
                disk.fill();
            }
            let daemon = Daemon::start_unready(&folder).await;
            let full = (503, vec!["full".to_owned()]);
            until("it is open", async || Some(daemon.readiness().await).filter(|ready| ready.0 == 200 || *ready == full)).await;
            if start == "first" {
                daemon.says(&["using what was held back for this"]).await;
            }
            // The checkpoints may have given some back.
            kept.extend(until_refused(&daemon, &mut next).await);
            until("it says that it is full", async || (daemon.readiness().await == full).then_some(())).await;
            assert_eq!(numbers(&daemon.list("/api/v1/events").await), kept, "{start}: what was kept can be read");
            if start == "first" {
                daemon.kill9();
                continue;
            }
            fs::remove_file(&ballast).expect("removed");
            until("it is ready again", async || (daemon.readiness().await.0 == 200).then_some(())).await;
            assert!(folder.path("disk/state/reserve").exists(), "it is held back again");
            kept.push(6000);
            assert_eq!(daemon.deliver(&failed_item(6000)).await.expect("an answer").0, 202);
            daemon.signal("TERM");
            assert!(daemon.ended().await.success());
        }
        disk.remount("ro");
        let refused = folder.output(&["run", "-c", "tripline.yaml"]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(78), "{said}");
        assert!(said.contains("Read-only file system") && said.contains("disk/state"), "{said}");
        disk.remount("rw");
        let after = lists(&Daemon::start(&folder).await).await;
        assert_eq!((numbers(&after.0), after.1.len()), (kept.clone(), kept.len()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_file_size_is_like_a_full_disk() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", RULE);
    // Only the soft limit: it can be raised again without being root.
    let daemon = Daemon::start_after(&folder, "ulimit -S -f 12000").await;
    let lift = |daemon: &Daemon| {
        let lifted = std::process::Command::new("prlimit").args(["--pid", &daemon.pid().to_string(), "--fsize=unlimited:"]).status();
        assert!(lifted.expect("prlimit").success());
    };
    runs_out_of_space_and_recovers(&folder, daemon, lift).await;
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("lists") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Turns a bit in the middle, and one at each tenth, of every file.
fn flip(dir: &Path) {
    for path in files(dir) {
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).expect("opens");
        let length = file.metadata().expect("a length").len();
        for tenth in 0..10 {
            let at = length * tenth / 10 + 3;
            let mut byte = [0];
            if file.read_at(&mut byte, at).expect("reads") == 1 {
                file.write_all_at(&[byte[0] ^ 0x10], at).expect("writes");
            }
        }
    }
}

fn truncate(dir: &Path, keep: impl Fn(u64) -> u64) {
    for path in files(dir) {
        let file = fs::OpenOptions::new().write(true).open(&path).expect("opens");
        let length = file.metadata().expect("a length").len();
        file.set_len(keep(length)).expect("cut");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_in_any_condition_are_rebuilt_and_show_the_same() {
    let sandbox = start_sandbox().await;
    let folder = Folder::new(&sandbox.url);
    folder.rule("follow-up", RULE);
    let daemon = Daemon::start(&folder).await;
    for id in 1..=60 {
        assert_eq!(daemon.deliver(&failed_item(id)).await.expect("an answer").0, 202);
    }
    let mut before = lists(&daemon).await;
    assert_eq!((before.0.len(), before.1.len()), (60, 60));
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());

    type Harm = fn(&Path);
    let harms: [(&str, Harm); 12] = [
        ("deleted", |dir| fs::remove_dir_all(dir).expect("removed")),
        ("bits flipped", flip),
        ("cut to half", |dir| truncate(dir, |length| length / 2)),
        ("cut to nothing", |dir| truncate(dir, |_| 0)),
        ("only the data cut", |dir| {
            let file = fs::OpenOptions::new().write(true).open(dir.join("db")).expect("opens");
            file.set_len(file.metadata().expect("a length").len() / 3).expect("cut");
        }),
        ("data removed", |dir| fs::remove_file(dir.join("db")).expect("removed")),
        ("configuration emptied", |dir| fs::write(dir.join("conf"), "").expect("written")),
        ("an empty snapshot", |dir| {
            // Whatever snapshot there is becomes an empty one of the same name.
            for path in files(dir).into_iter().filter(|path| path.display().to_string().contains("snap.")) {
                fs::write(path, "").expect("written");
            }
            fs::write(dir.join("snap.00000000000FFFFF"), "").expect("written");
        }),
        ("garbage in a folder", |dir| {
            fs::remove_dir_all(dir).expect("removed");
            fs::create_dir_all(dir.join("db/conf")).expect("made");
            fs::write(dir.join("blobs"), [0xa5; 5000]).expect("written");
        }),
        ("a file", |dir| {
            fs::remove_dir_all(dir).expect("removed");
            fs::write(dir, [0xa5; 5000]).expect("written");
        }),
        ("a file again, beside the one set aside", |dir| {
            fs::remove_dir_all(dir).expect("removed");
            fs::write(dir, "garbage").expect("written");
        }),
        ("a link to nowhere", |dir| {
            fs::remove_dir_all(dir).expect("removed");
            std::os::unix::fs::symlink("/nonexistent/place", dir).expect("linked");
        }),
    ];
    for (number, (name, harm)) in harms.into_iter().enumerate() {
        harm(&folder.path("state/checkpoints"));
        let daemon = Daemon::start(&folder).await;
        let after = lists(&daemon).await;
        assert_eq!(numbers(&after.0), numbers(&before.0), "{name}");
        assert!(after == before, "{name}: the lists differ");
        // Copies are known as before, and work goes on.
        assert_eq!(daemon.deliver(&failed_item(7)).await.expect("an answer").1["folded"], 1, "{name}");
        let id = 100 + number as u64;
        assert_eq!(daemon.deliver(&failed_item(id)).await.expect("an answer").1["folded"], 0, "{name}");
        until("it has its run", async || (daemon.list("/api/v1/runs").await.len() == before.1.len() + 1).then_some(())).await;
        before = lists(&daemon).await;
        if number % 2 == 0 {
            daemon.signal("TERM");
            assert!(daemon.ended().await.success());
        } else {
            daemon.kill9();
        }
    }
}

#[tokio::test]
async fn a_state_folder_that_is_removed_ends_the_process_and_nothing_is_acknowledged_into_it() {
    type Harm = fn(&Folder);
    let harms: [(&str, Harm); 3] = [
        ("removed", |folder| fs::remove_dir_all(folder.path("state")).expect("removed")),
        ("moved away", |folder| fs::rename(folder.path("state"), folder.path("elsewhere")).expect("moved")),
        ("the journal replaced", |folder| {
            fs::remove_dir_all(folder.path("state/journal")).expect("removed");
            fs::create_dir(folder.path("state/journal")).expect("made");
        }),
    ];
    for (name, harm) in harms {
        for deliver in [true, false] {
            let folder = Folder::new("http://127.0.0.1:9");
            let config = fs::read_to_string(folder.path("tripline.yaml")).expect("text");
            folder.write("tripline.yaml", &config.replace("shutdown_grace: 5s", "shutdown_grace: 20s"));
            let daemon = Daemon::start(&folder).await;
            assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
            harm(&folder);
            let harmed = Instant::now();
            if deliver {
                let (status, answer) = daemon.deliver(&failed_item(2)).await.expect("an answer");
                assert_eq!(status, 503, "{name}: {answer}");
            }
            assert_eq!(daemon.ended().await.code(), Some(1), "{name}");
            assert!(harmed.elapsed() < Duration::from_secs(12), "{name}: not only when the time for attempts in flight was over");
            let log = fs::read_to_string(folder.path("daemon.log")).expect("text");
            assert!(log.contains("was removed or replaced while it was in use"), "{name}: {log}");
        }
    }
}

#[tokio::test]
async fn a_file_system_that_takes_no_more_writes_ends_the_process_soon_and_nothing_is_lost() {
    let mut folder = Folder::new("http://127.0.0.1:9");
    folder.keep_state_in("disk/state");
    let config = fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &config.replace("shutdown_grace: 5s", "shutdown_grace: 20s"));
    let (image, at) = (folder.path("image"), folder.path("disk"));
    let skipped = |why: &str| skip("a_file_system_that_takes_no_more_writes_ends_the_process_soon_and_nothing_is_lost", why);
    let disk = match Disk::ext4(&image, &at, 64 << 20) {
        Ok(disk) => disk,
        Err(why) => return skipped(&why),
    };
    disk.remount("errors=remount-ro");
    let daemon = Daemon::start(&folder).await;
    let mut acknowledged = 0;
    while acknowledged < 50 {
        acknowledged += 1;
        assert_eq!(daemon.deliver(&failed_item(acknowledged)).await.expect("an answer").0, 202);
    }
    if let Err(why) = disk.break_down() {
        return skipped(&why);
    }
    let broken = Instant::now();
    let (status, answer) = daemon.deliver(&failed_item(1_000)).await.expect("an answer");
    assert_eq!(status, 503, "{answer}");
    assert_eq!(daemon.ended().await.code(), Some(1));
    assert!(broken.elapsed() < Duration::from_secs(12), "not only when the time for attempts in flight was over");
    let log = fs::read_to_string(folder.path("daemon.log")).expect("text");
    assert!(log.contains("error: the journal failed: cannot write segment 1: Read-only file system"), "{log}");
    assert!(!log.contains("writer panicked"), "{log}");

    // Mounted anew, its own journal is replayed.
    drop(disk);
    let disk = Disk::mount(&image, &at).expect("mounted");
    let daemon = Daemon::start(&folder).await;
    let kept = daemon.list("/api/v1/events").await.len() as u64;
    assert!((acknowledged..=acknowledged + 1).contains(&kept), "{kept}");
    drop(daemon);
    drop(disk);
}
