//! Retention in the real binary: the disk stays flat under churn, through kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinSet;

use crate::support::{Daemon, Disk, Folder, failed_item_of, rounds, skip, until};

/// Deliveries, unless the variable says otherwise; 300,000 are the usual proof.
const EVENTS: u64 = 4_000;
const VARIABLE: &str = "TRIPLINE_CHURN_EVENTS";
/// Bytes of text in each, so that few make many segments.
const LONG: usize = 12_000;
const SENDERS: u64 = 8;
/// The smallest `size` that is taken, and what the journal may take on disk above it: the segment that is written, with what is
/// prepared ahead, and the one on its way out.
const SIZE: u64 = 16 << 20;
const ABOVE: u64 = 16 << 20;

/// Bytes that the files below a folder take.
fn bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .filter_map(Result::ok)
        .map(|entry| entry.metadata().map_or(0, |file| if file.is_dir() { bytes(&entry.path()) } else { file.len() }))
        .sum()
}

async fn send(daemon: Arc<Daemon>, next: Arc<AtomicU64>, end: u64) {
    loop {
        let id = next.fetch_add(1, Ordering::SeqCst);
        if id >= end {
            return;
        }
        let (status, answer) = daemon.deliver(&failed_item_of(id, LONG)).await.expect("an answer");
        assert_eq!(status, 202, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_stays_flat_under_churn_and_kills() {
    let folder = Folder::new("http://127.0.0.1:9");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}retention: {{size: 16MiB}}\n"));
    let events = rounds(VARIABLE, EVENTS);
    let next = Arc::new(AtomicU64::new(1));
    let journal = folder.path("state/journal");
    let mut highest = 0;
    for round in 1..=4 {
        let daemon = Arc::new(Daemon::start(&folder).await);
        let end = 1 + events * round / 4;
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(Arc::clone(&daemon), Arc::clone(&next), end));
        }
        while let Some(sent) = senders.join_next().await {
            sent.expect("a sender");
            highest = highest.max(bytes(&journal));
        }
        next.store(end, Ordering::SeqCst);
        until("old segments are gone", async || (bytes(&journal) <= SIZE + ABOVE).then_some(())).await;
        // What is left is the newest, without gaps, and it is known.
        let left = daemon.list("/api/v1/events").await;
        let ids: Vec<_> = left.iter().filter_map(|event| event["data"]["QueueItem"]["Id"].as_u64()).collect();
        assert!(ids.contains(&(end - 1)), "the newest is there");
        assert!(ids.len() as u64 * LONG as u64 <= SIZE + ABOVE, "{} events", ids.len());
        let newest = failed_item_of(end - 1, LONG);
        assert_eq!(daemon.deliver(&newest).await.expect("an answer").1["folded"], 1);
        Arc::into_inner(daemon).expect("the senders are done").kill9();
    }
    let checkpoints = bytes(&folder.path("state/checkpoints"));
    eprintln!("{events} events of {LONG} bytes: journal {} at the end, {highest} at most, checkpoints {checkpoints}", bytes(&journal));
    assert!(checkpoints < 32 << 20, "{checkpoints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_goes_on_after_a_full_disk() {
    const TEST: &str = "retention_goes_on_after_a_full_disk";
    /// Deliveries that make segments go.
    const MANY: u64 = 2_000;
    let mut folder = Folder::new("http://127.0.0.1:9");
    folder.keep_state_in("disk/state");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}retention: {{size: 16MiB}}\n"));
    let disk = match Disk::ext4(&folder.path("image"), &folder.path("disk"), 96 << 20) {
        Ok(disk) => disk,
        Err(why) => return skip(TEST, &why),
    };
    let journal = folder.state().join("journal");
    let next = Arc::new(AtomicU64::new(1));
    let mut daemon = Arc::new(Daemon::start(&folder).await);
    let (mut newest, mut refused) = (0, 0);
    for round in 1..=3 {
        let mut senders = JoinSet::new();
        for _ in 0..SENDERS {
            senders.spawn(send(Arc::clone(&daemon), Arc::clone(&next), MANY * round));
        }
        while let Some(sent) = senders.join_next().await {
            sent.expect("a sender");
        }
        // Full in the middle of carrying and removing, as it comes; what is acknowledged meanwhile counts.
        let ballast = disk.fill();
        for id in MANY * round..MANY * round + 900 {
            match daemon.deliver(&failed_item_of(id, LONG)).await.expect("an answer") {
                (202, _) => newest = id,
                (503, _) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        next.store(MANY * round + 900, Ordering::SeqCst);
        if round == 2 {
            let Some(full) = Arc::into_inner(daemon) else { panic!("the senders are done") };
            full.kill9();
            daemon = Arc::new(Daemon::start_unready(&folder).await);
        }
        std::fs::remove_file(&ballast).expect("removed");
        until("it takes deliveries again", async || (daemon.readiness().await.0 == 200).then_some(())).await;
        until("old segments are gone", async || (bytes(&journal) <= SIZE + ABOVE).then_some(())).await;
        if newest > 0 {
            let answer = daemon.deliver(&failed_item_of(newest, LONG)).await.expect("an answer").1;
            assert_eq!(answer["folded"], 1, "what was acknowledged last is known: {answer}");
        }
    }
    assert!(refused > 0, "the disk was full");
    daemon.signal("TERM");
    assert!(Arc::into_inner(daemon).expect("the senders are done").ended().await.success());
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot");
    let checked = tripline::journal::check(&folder.state(), boot.trim(), &|_, _| ()).expect("checks");
    assert!(checked.is_good(), "{checked:?}");
    drop(disk);
}

/// What retention writes to let a segment go needs space too: the last there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_retention_makes_room_by_itself() {
    let mut folder = Folder::new("http://127.0.0.1:9");
    folder.keep_state_in("disk/state");
    let config = std::fs::read_to_string(folder.path("tripline.yaml")).expect("text");
    folder.write("tripline.yaml", &format!("{config}retention: {{size: 64MiB}}\n"));
    let disk = match Disk::memory(&folder.path("disk"), 48 << 20) {
        Ok(disk) => disk,
        Err(why) => return skip("on_a_full_disk_retention_makes_room_by_itself", &why),
    };
    let mut daemon = Daemon::start(&folder).await;
    let first = folder.state().join("journal/0000000001.seg");
    for (round, size) in ["32MiB", "16MiB"].into_iter().enumerate() {
        let mut id = 10_000 * (round as u64 + 1);
        // Nothing is left on the disk, nor in the open segment.
        let mut ballast = (round > 0).then(|| disk.fill());
        for length in [60_000, 100] {
            until("a delivery is refused", async || {
                id += 1;
                let status = daemon.deliver(&failed_item_of(id, length)).await.expect("an answer").0;
                (status == 503).then_some(())
            })
            .await;
            ballast = Some(ballast.unwrap_or_else(|| disk.fill()));
        }
        folder.write("tripline.yaml", &format!("{config}retention: {{size: {size}}}\n"));
        if round == 0 {
            daemon.signal("HUP");
        } else {
            daemon.kill9();
            daemon = Daemon::start_unready(&folder).await;
        }
        until("it takes deliveries again", async || {
            id += 1;
            let taken = daemon.deliver(&failed_item_of(id, 60_000)).await.expect("an answer").0 == 202;
            (taken && daemon.readiness().await.0 == 200).then_some(())
        })
        .await;
        assert!(!first.exists(), "{size}");
        assert!(folder.state().join("reserve").exists(), "it is held back again");
        std::fs::remove_file(ballast.expect("it was full")).expect("removed");
    }
}
