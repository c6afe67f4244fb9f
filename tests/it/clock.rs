//! The system's clock is set while runs wait. Through the real binary under libfaketime, where that is installed.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Endpoint, Folder, Manner, failed_item, skip, until_within};

/// Long enough for runs that wait a second at most, far below the jumps.
const SOON: Duration = Duration::from_secs(60);

const RULE: &str = "\
rule: follow-up
events: queueItem.transactionFailed
retry: {first_wait: 100ms, factor: 2, max_wait: 1s}
steps:
  - http: {method: POST, url: \"http://ADDRESS/x\", body: {id: \"${item.Id}\"}}
";

/// Half a day is half a day, whatever the clock says.
const LATER: &str = "\
rule: later
events: queueItem.transactionFailed
steps:
  - wait: 12h
  - http: {method: POST, url: \"http://ADDRESS/later\", body: {later: \"${item.Id}\"}}
";

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")));
    folders.chain([PathBuf::from("/usr/lib/faketime/libfaketime.so.1")]).find(|path| path.exists())
}

/// Starts the daemon with a wall clock that is off by what the file `time` says, now and later.
async fn start(folder: &Folder, library: &std::path::Path) -> Daemon {
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", folder.path("time").display());
    Daemon::start_in(folder, "env", &[&preload, &file, "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"]).await
}

async fn attempts(daemon: &Daemon) -> Vec<u64> {
    daemon.list("/api/v1/runs?rule=follow-up").await.iter().map(|run| run["attempts"].as_u64().unwrap_or(0)).collect()
}

/// Awaits two further attempts of every run; nothing died.
async fn goes_on(daemon: &Daemon, what: &str) {
    let before = attempts(daemon).await;
    until_within(SOON, what, async || {
        let now = attempts(daemon).await;
        now.iter().zip(&before).all(|(now, before)| *now >= before + 2).then_some(())
    })
    .await;
    assert_eq!(daemon.runs("dead").await, Vec::<Value>::new(), "{what}");
}

/// Sets the clock while runs wait, restarts in between where asked, sets it right again.
async fn survives(jump: &str, after_restart: bool) {
    let Some(library) = library() else {
        return skip("a clock that is set", "libfaketime is not installed (apt-get install faketime)");
    };
    let target = Endpoint::start(Manner::Answer(429, "", "later")).await;
    let folder = Folder::new("http://127.0.0.1:9");
    folder.rule("follow-up", &RULE.replace("ADDRESS", &target.address.to_string()));
    folder.rule("later", &LATER.replace("ADDRESS", &target.address.to_string()));
    folder.write("time", "+0");
    let mut daemon = start(&folder, &library).await;
    let mut ids = Vec::new();
    let deliver = async |daemon: &Daemon, items: std::ops::Range<u64>| {
        let mut ids = Vec::new();
        for id in items {
            let (status, answer) = daemon.deliver(&failed_item(id)).await.expect("an answer");
            assert_eq!(status, 202, "{answer}");
            ids.push(answer["events"][0].as_str().expect("an id").to_owned());
        }
        ids
    };
    ids.extend(deliver(&daemon, 0..5).await);
    goes_on(&daemon, "before the clock is set").await;
    folder.write("time", jump);
    ids.extend(deliver(&daemon, 5..10).await);
    goes_on(&daemon, "while the clock is off").await;
    daemon.says(&["the system's clock"]).await;
    assert_eq!(daemon.status("/readyz").await, 200);
    if after_restart {
        // A restart finds a journal that may be ahead of the clock.
        daemon.kill9();
        daemon = start(&folder, &library).await;
        goes_on(&daemon, "after a restart").await;
    }
    ids.extend(deliver(&daemon, 10..15).await);
    folder.write("time", "+0");
    goes_on(&daemon, "when the clock is right again").await;
    target.now(Manner::Answer(200, "", ""));
    until_within(SOON, "every run succeeds", async || (daemon.runs("succeeded").await.len() == 15).then_some(())).await;
    assert_eq!(daemon.runs("waiting").await.len(), 15, "those that wait for half a day still do");
    assert!(!target.answered().keys().any(|body| body.contains("later")));
    assert!(ids.is_sorted(), "ids rise whatever the clock says: {ids:?}");
    let kept: Vec<_> = daemon.list("/api/v1/events").await.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect();
    assert_eq!(kept, ids, "nothing is deleted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_an_hour_forth_changes_nothing() {
    survives("+1h", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_an_hour_back_changes_nothing() {
    survives("-1h", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_a_day_forth_changes_nothing() {
    // Not over a restart: then a day may have passed.
    survives("+1d", false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_set_a_day_back_changes_nothing() {
    survives("-1d", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_ten_years_changes_nothing() {
    survives("+10y", false).await;
}
