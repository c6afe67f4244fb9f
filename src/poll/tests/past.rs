//! Backfills: past changes, beside the new ones.

use super::*;
use crate::poll::backfill::attend;
use crate::poll::{BackfillState, Past};

async fn done(poll: &Poll, source: &Polled) -> Value {
    let until_done = async {
        loop {
            let standing = poll.backfills.standing("poll").expect("reads").expect("one").to_json("poll");
            if standing["state"] == json!(BackfillState::Done) {
                return standing;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        standing = until_done => standing,
        () = attend(poll, source) => panic!("it ended"),
    }
}

fn past(bench: &Bench, since: u64, dry_run: bool, run_rules: bool) -> Past {
    let now = bench.clock.now();
    Past { since: now.minus(Duration::from_secs(since)), until: now, run_rules, dry_run }
}

#[tokio::test]
async fn the_past_is_brought_once_late_and_beside_what_was_known() {
    for (feed, kind) in [(true, PollKind::QueueItems), (false, PollKind::QueueItems), (true, PollKind::Jobs)] {
        let mut bench = Bench::start(sandbox::Options { feed, ..options() }).await;
        let make = async |bench: &Bench, n: usize| match kind {
            PollKind::QueueItems => bench.live("Open", &format!("r-{n}")).await,
            PollKind::Jobs => {
                let id = bench.start_job().await;
                bench.move_job(id, "Running").await;
                bench.move_job(id, "Successful").await;
                id
            }
        };
        let mut old = Vec::new();
        for n in 0..30 {
            old.push(make(&bench, n).await);
        }
        // Longer ago than the first start looks back.
        bench.pass_time(40_000);
        let recent = make(&bench, 100).await;
        let source = bench.source(kind);
        let poll = bench.poll();
        good(&mut Reader::new(&poll, &source)).await;
        assert_eq!(bench.told().len(), 1, "only the recent one");
        bench.pass_time(300);
        good(&mut Reader::new(&poll, &source)).await;
        let begin = async |past| poll.backfills.begin("poll", past, bench.clock.now()).await.expect("begun");
        begin(past(&bench, 86_400, true, false)).await;
        let counted = done(&poll, &source).await;
        assert_eq!((&counted["found"], &counted["brought"], bench.told().len()), (&json!(93), &json!(0), 1), "{counted}");
        begin(past(&bench, 86_400, false, false)).await;
        bench.fault(json!({"kind": "500", "match": {"path": "QueueItems"}, "times": 1})).await;
        drop((tokio::time::timeout(Duration::from_millis(40), attend(&poll, &source)).await, poll));
        // A crash in the middle of it.
        bench.call("DELETE", "/sandbox/faults", &Value::Null).await;
        bench.open();
        let poll = bench.poll();
        let standing = done(&poll, &source).await;
        assert_eq!((&standing["found"], &standing["share"], &standing["failure"]), (&json!(93), &json!(1.0), &Value::Null), "{standing}");
        let told = bench.told();
        assert_eq!(told.len(), 31);
        for id in &old {
            assert_eq!(told[id].len(), 3, "{:?}", told[id]);
        }
        for event in bench.events() {
            let own = ["QueueItem", "Job"].iter().find_map(|name| event.data()[name]["Id"].as_i64()).expect("an id");
            assert_eq!((event.late, event.via == crate::event::Via::Backfill), (own != recent, own != recent));
        }
        let again = Past { run_rules: true, ..past(&bench, 86_400, false, true) };
        poll.backfills.begin("poll", again, bench.clock.now()).await.expect("begun");
        let standing = done(&poll, &source).await;
        assert_eq!((&standing["brought"], bench.told().len()), (&json!(0), 31), "all of it is known");
    }
}

#[tokio::test]
async fn what_the_journal_lost_on_the_disk_is_brought_again_and_marked_late() {
    let mut bench = Bench::start(options()).await;
    let source = bench.source(PollKind::QueueItems);
    {
        let poll = bench.poll();
        let mut reader = Reader::new(&poll, &source);
        for reference in ["first", "lost-on-the-disk", "last"] {
            bench.live("Open", reference).await;
            good(&mut reader).await;
            bench.pass_time(400);
        }
    }
    let whole = bench.told();
    // One bit of a record changes, and everything is read anew.
    bench.journal().close();
    bench.journal = None;
    let segment = bench.dir.path().join("journal/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("reads");
    let text = b"lost-on-the-disk";
    let at = bytes.windows(text.len()).position(|window| window == text).expect("it is there");
    bytes[at] ^= 0x08;
    std::fs::write(&segment, bytes).expect("writes");
    std::fs::remove_dir_all(bench.dir.path().join("checkpoints")).expect("removes");
    bench.open();
    assert_eq!((bench.told().len(), bench.journal().losses().expect("reads").len()), (3, 1));
    assert!(bench.told() != whole, "an event of it is gone");
    let poll = bench.poll();
    let view = good(&mut Reader::new(&poll, &source)).await.folders.remove(0).1;
    assert!(view.ledger.gaps.iter().any(|gap| gap.lost && gap.cause.contains("lost on the disk")), "{:?}", view.ledger.gaps);
    let until_done = async {
        while !poll.backfills.standing("poll").expect("reads").is_some_and(|one| one.to_json("poll")["state"] == "done") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        () = until_done => {}
        () = attend(&poll, &source) => panic!("it ended"),
    }
    let again = bench.told();
    let sorted = |told: &BTreeMap<i64, Vec<String>>| {
        told.iter()
            .map(|(id, types)| (*id, types.iter().cloned().collect::<std::collections::BTreeSet<_>>(), types.len()))
            .collect::<Vec<_>>()
    };
    assert_eq!(sorted(&again), sorted(&whole), "each change once");
    assert_eq!(bench.events().iter().filter(|event| event.late).count(), whole.values().map(Vec::len).sum::<usize>() - 8);
    // Once for each loss, also after another start.
    let standing = poll.backfills.standing("poll").expect("reads");
    drop(poll);
    bench.open();
    let poll = bench.poll();
    drop(tokio::time::timeout(Duration::from_millis(40), attend(&poll, &source)).await);
    assert_eq!(poll.backfills.standing("poll").expect("reads"), standing);
}

#[tokio::test]
async fn only_one_runs_and_it_can_be_stopped() {
    let bench = Bench::start(options()).await;
    let poll = bench.poll();
    let (now, first) = (bench.clock.now(), past(&bench, 3600, false, false));
    poll.backfills.begin("poll", first.clone(), now).await.expect("begun");
    poll.backfills.begin("poll", first, now).await.expect("the same one");
    assert!(poll.backfills.begin("poll", past(&bench, 7200, false, false), now).await.is_err());
    let stopped = poll.backfills.stop("poll", now).await.expect("stopped").to_json("poll");
    assert_eq!(stopped["state"], "stopped");
    assert!(poll.backfills.stop("poll", now).await.is_err());
    poll.backfills.begin("poll", past(&bench, 7200, false, false), now).await.expect("begun");
}
