//! `tripline state` and damage to the journal, through the real binary; deliveries while the state is rebuilt.

use std::fs;
use std::os::unix::fs::FileExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tripline::clock::Clock;
use tripline::event::{Verified, Via};
use tripline::journal::{Delivery, Journal, Options};
use tripline::normalize::{SourceView, orchestrator};

use crate::support::{Daemon, Folder, SECRET, failed_item, http, sign, until};

fn code(output: &Output) -> i32 {
    output.status.code().expect("a code")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A folder whose daemon took some items and ended well.
async fn filled(items: u64) -> Folder {
    let folder = Folder::new("http://127.0.0.1:9");
    let daemon = Daemon::start(&folder).await;
    for id in 1..=items {
        assert_eq!(daemon.deliver(&failed_item(id)).await.expect("an answer").0, 202);
    }
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    folder
}

/// Changes a bit of the body of an item, where it stands in the journal.
fn flip_in_item(folder: &Folder, id: u64) {
    let path = folder.path("state/journal/0000000001.seg");
    let bytes = fs::read(&path).expect("reads");
    let body = serde_json::to_vec(&failed_item(id)).expect("json");
    let at = bytes.windows(body.len()).position(|window| window == body).expect("the body is in the journal") + body.len() / 2;
    fs::OpenOptions::new().write(true).open(&path).expect("opens").write_all_at(&[bytes[at] ^ 4], at as u64).expect("writes");
}

#[tokio::test]
async fn people_verify_rebuild_dump_and_restore_a_state_folder() {
    let folder = filled(6).await;
    let checked = folder.output(&["state", "check", "--json"]);
    assert_eq!(code(&checked), 0, "{}", text(&checked));
    let found = json_of(&checked);
    assert_eq!((&found["good"], &found["events"], &found["checkpoints"]["compared"]), (&json!(true), &json!(6), &json!("same")));

    let events = folder.output(&["events", "list", "--json"]).stdout;
    let exported = folder.output(&["state", "export", "--out", "dump.ndjson"]);
    assert_eq!(code(&exported), 0, "{}", text(&exported));
    assert_eq!(
        folder.output(&["state", "export"]).stdout.iter().filter(|b| **b == b'\n').count(),
        fs::read_to_string(folder.path("dump.ndjson")).expect("text").lines().count()
    );
    assert_eq!(code(&folder.output(&["state", "export", "--out", "dump.ndjson"])), 2, "never over a file that is there");
    let there = folder.output(&["state", "import", "dump.ndjson"]);
    assert!(code(&there) == 2 && text(&there).contains("already"), "{}", text(&there));
    fs::rename(folder.path("state"), folder.path("before")).expect("moved");
    let imported = folder.output(&["state", "import", "dump.ndjson"]);
    assert_eq!(code(&imported), 0, "{}", text(&imported));
    for made in ["state/checkpoints", "state/checkpoints/db", "state/journal", "state/store.json"] {
        let mode = fs::metadata(folder.path(made)).expect("is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{made} is for its owner only");
    }
    assert_eq!(folder.output(&["events", "list", "--json"]).stdout, events);
    let refused = folder.output(&["state", "import", "--state", "other", "rules"]);
    assert!(code(&refused) == 2 && text(&refused).contains("is a folder"), "{}", text(&refused));

    let rebuilt = folder.output(&["state", "rebuild"]);
    assert_eq!(code(&rebuilt), 0, "{}", text(&rebuilt));
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.deliver(&failed_item(3)).await.expect("an answer").1["folded"], 1, "copies are known");
    let held = folder.output(&["state", "rebuild"]);
    assert!(code(&held) == 2 && text(&held).contains(&format!("pid {}", daemon.pid())), "{}", text(&held));
    let checked = folder.output(&["state", "check"]);
    assert!(code(&checked) == 0 && text(&checked).contains("not compared"), "{}", text(&checked));
    drop(daemon);

    for (arguments, word) in
        [(&["state", "check", "--state", "nowhere"][..], "no journal"), (&["state", "rebuild", "--state", "nowhere"], "no state folder")]
    {
        let refused = folder.output(arguments);
        assert!(code(&refused) == 2 && text(&refused).contains(word), "{}", text(&refused));
    }
}

/// Files beside the configuration whose name begins so.
fn named(folder: &Folder, begin: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.path(".")).expect("lists").map(|entry| entry.expect("an entry").file_name());
    entries.map(|name| name.to_string_lossy().into_owned()).filter(|name| name.starts_with(begin)).collect()
}

#[tokio::test]
async fn an_export_that_fails_or_is_stopped_leaves_no_file() {
    let folder = Folder::new("http://127.0.0.1:9");
    fill(&folder, 30).await;
    let mut exporting = folder.command(&["state", "export", "--out", "dump.ndjson"]).stderr(Stdio::piped()).spawn().expect("starts");
    until("some of it is written", async || {
        let part = named(&folder, "dump").pop()?;
        fs::metadata(folder.path(&part)).is_ok_and(|part| part.len() > 0).then_some(())
    })
    .await;
    assert!(!folder.path("dump.ndjson").exists());
    let killed = std::process::Command::new("kill").args(["-INT", &exporting.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let stopped = exporting.wait().expect("ends");
    assert_eq!((stopped.code(), named(&folder, "dump")), (Some(130), Vec::new()), "it was over too soon to show anything?");

    // A limit on the size of files is an error like any other, for an import too.
    assert_eq!(code(&folder.output(&["state", "export", "--out", "whole.ndjson"])), 0);
    for does in ["export --out dump.ndjson", "import --state other whole.ndjson"] {
        let mut limited = std::process::Command::new("sh");
        limited.args(["-c", &format!("ulimit -f 256; exec \"$0\" state {does}"), env!("CARGO_BIN_EXE_tripline")]);
        let refused = limited.current_dir(folder.path(".")).output().expect("ends");
        assert!(refused.status.code() == Some(2) && text(&refused).contains("File too large"), "{does}: {}", text(&refused));
    }
    assert_eq!((named(&folder, "dump"), folder.path("other/import.tmp").exists()), (Vec::new(), false));

    fs::create_dir(folder.path("state/journal/0000000002.seg")).expect("made");
    let failed = folder.output(&["state", "export", "--out", "dump.ndjson"]);
    assert!(code(&failed) == 2 && text(&failed).contains("`0000000002.seg` is a folder"), "{}", text(&failed));
    assert_eq!(named(&folder, "dump"), Vec::<String>::new());
}

#[tokio::test]
async fn damage_in_the_journal_is_named_mended_and_counted() {
    let folder = filled(9).await;
    flip_in_item(&folder, 4);
    let checked = folder.output(&["state", "check"]);
    assert!(code(&checked) == 1 && text(&checked).contains("0000000001.seg` is damaged at byte"), "{}", text(&checked));
    let listed = folder.output(&["events", "list", "--json"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).lines().count(), 8, "{}", text(&listed));
    assert!(String::from_utf8_lossy(&listed.stderr).contains("damaged at byte"), "{}", text(&listed));

    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.list("/api/v1/events").await.len(), 8);
    daemon.says(&["0000000001.seg` is damaged at byte", "quarantine/0000000001-"]).await;
    until("the loss is in the metrics", async || {
        let metrics = daemon.get("/metrics").await;
        metrics.as_str().is_some_and(|text| text.contains("tripline_journal_losses 1")).then_some(())
    })
    .await;
    assert_eq!(fs::read_dir(folder.path("state/quarantine")).expect("lists").count(), 1);
    assert_eq!(daemon.deliver(&failed_item(20)).await.expect("an answer").0, 202);
    daemon.signal("TERM");
    assert!(daemon.ended().await.success());
    let checked = json_of(&folder.output(&["state", "check", "--json"]));
    assert_eq!((&checked["damage"], checked["losses"].as_array().map(Vec::len)), (&json!([]), Some(1)), "{checked}");
    assert_eq!((&checked["losses"][0]["segment"], &checked["losses"][0]["missing"]), (&json!(1), &json!(false)), "{checked}");
}

#[tokio::test]
async fn a_journal_that_is_gone_is_refused_until_the_loss_is_accepted() {
    let folder = filled(3).await;
    fs::remove_file(folder.path("state/journal/0000000001.seg")).expect("removed");
    let refused = folder.output(&["run", "-c", "tripline.yaml"]);
    assert!(code(&refused) == 78 && text(&refused).contains("state rebuild --accept-loss"), "{}", text(&refused));
    let refused = folder.output(&["state", "rebuild"]);
    assert!(code(&refused) == 1 && text(&refused).contains("0000000001.seg"), "{}", text(&refused));
    let accepted = folder.output(&["state", "rebuild", "--accept-loss"]);
    assert_eq!(code(&accepted), 0, "{}", text(&accepted));
    let daemon = Daemon::start(&folder).await;
    assert_eq!(daemon.list("/api/v1/events").await.len(), 0);
    assert_eq!(daemon.deliver(&failed_item(1)).await.expect("an answer").0, 202);
}

/// Fills the state folder with so many events, some hundred of each body.
async fn fill(folder: &Folder, bodies: u64) {
    const EACH: u64 = 400;
    let options = Options { segment_bytes: 64 << 20, clock: Clock::system(), boot_id: "before".to_owned() };
    let (journal, _) = Journal::open(&folder.state(), options).expect("opens");
    let view = SourceView { name: "hook".into(), tenant_url: Some("https://o.example".into()) };
    for number in 0..bodies {
        let items: Vec<Value> =
            (0..EACH).map(|n| json!({"Id": number * EACH + n, "Status": "New", "Reference": "r".repeat(400)})).collect();
        let body = json!({"Type": "queueItem.added", "EventId": format!("fill-{number}"), "Queue": {"Id": 1, "Name": "Other"}, "QueueItems": items});
        let body = bytes::Bytes::from(body.to_string());
        let received = Clock::system().now();
        let normalized = orchestrator(&body, &view, received);
        let delivery = Delivery {
            source: "hook".into(),
            via: Via::Webhook,
            orchestrator: Some("prod".into()),
            verified: Verified::Yes,
            received,
            body,
            delivery_id: normalized.delivery_id,
            changes: normalized.changes,
        };
        journal.accept(delivery).await.expect("kept");
    }
    journal.close();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_wait_while_the_state_is_rebuilt_and_are_then_taken() {
    let folder = Folder::new("http://127.0.0.1:9");
    fill(&folder, 60).await;
    fs::remove_dir_all(folder.path("state/checkpoints")).expect("removed");
    let log = fs::File::create(folder.path("daemon.log")).expect("a log");
    let mut daemon = folder.command(&["run", "-c", "tripline.yaml"]).stdout(Stdio::null()).stderr(log).spawn().expect("starts");
    let pid = daemon.id();
    let client = http();
    let (ingress, admin) = until("it is bound", async || {
        let file: Value = serde_json::from_slice(&fs::read(folder.path("state/daemon.json")).ok()?).ok()?;
        (file["pid"] == pid).then_some((file["listen"].as_str()?.to_owned(), file["admin"].as_str()?.to_owned()))
    })
    .await;
    let mut senders = tokio::task::JoinSet::new();
    for id in 1..=20_u64 {
        let body = serde_json::to_vec(&failed_item(1_000_000 + id)).expect("json");
        let request = client.post(format!("http://{ingress}/hooks/hook")).header("X-UiPath-Signature", sign(&body, SECRET)).body(body);
        senders.spawn(async move { request.send().await.expect("an answer").status().as_u16() });
    }
    // Asked after they were sent: the state is still being rebuilt.
    let readiness = client.get(format!("http://{admin}/readyz")).send().await.expect("an answer");
    let (status, said) = (readiness.status().as_u16(), readiness.text().await.expect("text"));
    let answers = senders.join_all().await;
    let ended = daemon.try_wait().expect("waits");
    drop(daemon.kill());
    drop(daemon.wait());
    assert!(status == 503 && said.contains("recovering"), "the rebuild was over too soon to show anything: {status} {said}");
    assert_eq!((answers, ended), (vec![202; 20], None), "{}", fs::read_to_string(folder.path("daemon.log")).unwrap_or_default());
}
