//! Every operation on the file system fails once, in a piece of life with all there is; then everything that was
//! acknowledged is there.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::runs::{Cause, RunState};

/// What was acknowledged.
#[derive(Default)]
struct Acked {
    events: Vec<(EventId, u32)>,
    routed: Option<EventId>,
    runs: Vec<(RunId, bool)>,
    cursor: Option<u32>,
    generation: u64,
}

fn texts(number: u32) -> RuleTexts {
    use crate::fault::SourceText;
    use crate::rules::Known;
    let known = Known { orchestrators: Vec::new(), sources: Vec::new(), vars: json!({}), ..Known::default() };
    RuleTexts { files: vec![Arc::new(SourceText { path: "rules/a.yaml".into(), text: format!("# {number}") })], known }
}

/// A piece of life: two openings, rolls of segments, every kind of record. Ends where the journal does.
fn live(dir: &TempDir, files: &Files) -> Acked {
    let mut acked = Acked::default();
    for half in 0..2 {
        let Ok((journal, _)) = Journal::open_with(&state(dir), small(4_000), files.clone()) else { continue };
        if let Ok(generation) = wait(journal.rules_loaded(texts(half))) {
            acked.generation = generation;
        }
        for round in 0..5_u32 {
            let item = half * 5 + round;
            let cursor = Kept { space: Space::Cursor, key: "queue".to_owned(), value: Some(Bytes::from(item.to_string())) };
            let changes = vec![change(item), change(item.saturating_sub(1))];
            let Ok(accepted) = wait(journal.accept_keeping(delivery(changes), vec![cursor])) else { continue };
            acked.cursor = Some(item);
            // The one before is new as well when it was refused.
            acked.events.extend(accepted.events.iter().copied().zip([item, item.saturating_sub(1)]));
            let Some(event) = accepted.events.first() else { continue };
            let planned = planned(*event, "rule");
            let run = planned.id;
            if wait(journal.plan(Plan { through: *event, runs: vec![planned] })).is_err() {
                continue;
            }
            acked.routed = Some(*event);
            let done =
                Fact::StepDone { step: 0, id: None, kind: "http".into(), value: json!("x".repeat(1_500)), maybe_twice: false, at: at(5) };
            let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(6) };
            acked.runs.push((run, wait(journal.record(run, vec![done, settled])).is_ok()));
        }
        if half == 0 {
            journal.close();
        }
    }
    acked
}

/// A folder where syncing takes no time, if there is one: here it matters which operation fails, not what a disk does.
fn in_memory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| state_dir())
}

fn counted(fail: usize, kind: io::ErrorKind) -> (Files, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&count);
    let hook = move |_, _: &Path| if asked.fetch_add(1, Ordering::SeqCst) == fail { Err(kind.into()) } else { Ok(()) };
    (Files::hooked(Arc::new(hook)), count)
}

#[test]
fn any_operation_may_fail_once_and_nothing_acknowledged_is_lost() {
    let operations = {
        let (files, count) = counted(usize::MAX, io::ErrorKind::Other);
        let dir = in_memory();
        let acked = live(&dir, &files);
        assert!(acked.events.len() == 10 && acked.runs.iter().all(|(_, settled)| *settled));
        count.load(Ordering::SeqCst)
    };
    assert!(operations > 60, "{operations}");
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        // Every operation fails once in one of the two ways.
        for fail in (0..operations).skip(usize::from(kind == io::ErrorKind::StorageFull)).step_by(2) {
            let dir = in_memory();
            let (files, count) = counted(fail, kind);
            let acked = live(&dir, &files);
            assert!(count.load(Ordering::SeqCst) > fail || acked.events.len() == 10, "{kind} at {fail} was not reached");
            let journal = Journal::open(&state(&dir), small(4_000)).unwrap_or_else(|error| panic!("{kind} at {fail}: {error}")).0;
            acked.check(&journal, &format!("{kind} at {fail}"));
            let before = seen(&journal);
            journal.close();
            drop(journal);
            let found = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
            assert!(found.is_good() && matches!(found.checkpoints, Compared::Same { .. }), "{kind} at {fail}: {found:?}");
            std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
            let journal = Journal::open(&state(&dir), small(4_000)).expect("opens").0;
            assert_eq!(seen(&journal), before, "{kind} at {fail}: rebuilt");
        }
    }
}

impl Acked {
    fn check(&self, journal: &Journal, when: &str) {
        let (events, runs, unrouted, _) = seen(journal);
        for (id, item) in &self.events {
            let found = events.iter().find(|event| event.id == *id);
            let found = found.unwrap_or_else(|| panic!("{when}: item {item} was acknowledged and is lost"));
            assert_eq!(found.data()["QueueItem"]["Id"], json!(item), "{when}");
        }
        assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id), "{when}: ids rise");
        let cursor = journal
            .kept(Space::Cursor, "queue")
            .expect("reads")
            .map(|value| String::from_utf8_lossy(&value).parse::<u32>().expect("a number"));
        assert!(cursor >= self.cursor, "{when}: the cursor went back: {cursor:?} {:?}", self.cursor);
        if let Some(cursor) = cursor {
            let there = events.iter().any(|event| event.data()["QueueItem"]["Id"] == json!(cursor));
            assert!(there, "{when}: the cursor {cursor} is ahead of its events");
        }
        for (id, settled) in &self.runs {
            let run = runs.iter().find(|run| run.id() == *id).unwrap_or_else(|| panic!("{when}: a planned run is lost"));
            assert!(!settled || run.state == RunState::Succeeded, "{when}: {run:?}");
            assert!(run.steps.len() <= 1, "{when}: a step is done once");
        }
        if let Some(routed) = self.routed {
            assert!(unrouted.iter().all(|id| *id > routed), "{when}: routed again");
        }
        assert!(self.generation == 0 || journal.rule_texts(self.generation).expect("reads").is_some(), "{when}: rule texts are lost");
    }
}

/// What was acknowledged in a life in which segments go.
#[derive(Default)]
struct Left {
    events: Vec<(EventId, u32)>,
    /// Those that wait for long, with their events.
    waiting: Vec<RunId>,
    cursor: Option<u32>,
    generation: u64,
    dropped: u32,
}

const LIMITS: Retention = Retention { age: Duration::from_secs(30 * 86_400), size: 9_000, dead: Duration::from_secs(90 * 86_400) };

/// Two openings, and in each of them segments that are carried, swept and removed.
fn live_and_retire(dir: &TempDir, files: &Files) -> Left {
    let mut left = Left::default();
    for half in 0..2_u32 {
        let Ok((journal, _)) = Journal::open_with(&state(dir), small(3_000), files.clone()) else { continue };
        journal.retain(LIMITS);
        if let Ok(generation) = wait(journal.rules_loaded(texts(half))) {
            left.generation = generation;
        }
        for round in 0..8_u32 {
            let item = half * 8 + round;
            let value = Kept { space: Space::Cursor, key: "queue".to_owned(), value: Some(Bytes::from(item.to_string())) };
            let Ok(accepted) = wait(journal.accept_keeping(delivery(vec![change(item)]), vec![value])) else { continue };
            left.cursor = Some(item);
            let Some(event) = accepted.events.first().copied() else { continue };
            left.events.push((event, item));
            let planned = planned(event, "rule");
            let run = planned.id;
            if wait(journal.plan(Plan { through: event, runs: vec![planned] })).is_err() {
                continue;
            }
            let value = json!("x".repeat(1_500));
            let done = Fact::StepDone { step: 0, id: None, kind: "http".into(), value, maybe_twice: false, at: at(5) };
            let cause = Cause { code: "server".to_owned(), message: "503".to_owned() };
            let (waits, settled) = (
                Fact::Waits { state: RunState::Waiting, until: at(86_400), cause, at: at(6) },
                Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(6) },
            );
            let last = if round % 4 == 0 { waits } else { settled };
            if wait(journal.record(run, vec![done, last])).is_ok() && round % 4 == 0 {
                left.waiting.push(run);
            }
            if round % 4 == 3 {
                // What is answered is that it was looked; what failed in it is tried again at the next look.
                drop(wait(journal.ask(Op::Retire)));
            }
        }
        left.dropped = journal.0.shared.read().standing.heads.first.saturating_sub(1);
        if half == 0 {
            journal.close();
        }
    }
    left
}

/// Every how many-th operation fails in its turn, unless the variable says otherwise; 1 is the whole proof, and takes minutes.
#[expect(clippy::disallowed_methods, reason = "the length of a test is asked of whoever starts it")]
fn step() -> usize {
    std::env::var("TRIPLINE_FAULT_STEP").map_or(5, |text| text.parse().expect("TRIPLINE_FAULT_STEP is a number"))
}

#[test]
fn any_operation_of_retention_may_fail_once_and_nothing_that_is_needed_is_lost() {
    let operations = {
        let (files, count) = counted(usize::MAX, io::ErrorKind::Other);
        let left = live_and_retire(&in_memory(), &files);
        assert!(left.dropped > 4 && left.events.len() == 16 && left.waiting.len() == 4, "{} {}", left.dropped, left.events.len());
        count.load(Ordering::SeqCst)
    };
    assert!(operations > 120, "{operations}");
    for (kind, step) in [(io::ErrorKind::Other, step()), (io::ErrorKind::StorageFull, 5 * step())] {
        for fail in (0..operations).step_by(step) {
            let when = format!("{kind} at {fail}");
            let dir = in_memory();
            let (files, _) = counted(fail, kind);
            let left = live_and_retire(&dir, &files);
            let journal = Journal::open(&state(&dir), small(3_000)).unwrap_or_else(|error| panic!("{when}: {error}")).0;
            journal.retain(LIMITS);
            left.check(&journal, &when);
            // What was cut off is done to the end, and done again harms nothing.
            wait(journal.ask(Op::Retire)).expect("retires");
            left.check(&journal, &when);
            let first = journal.0.shared.read().standing.heads.first;
            let before = seen(&journal);
            let files_left = scan::segment_numbers(&state(&dir).join("journal")).expect("lists");
            assert!(files_left.iter().all(|number| *number >= first), "{when}: {first} {files_left:?}");
            journal.close();
            drop(journal);
            let found = check(&state(&dir), "boot-1", &|_, _| ()).expect("checks");
            assert!(found.is_good() && matches!(found.checkpoints, Compared::Same { .. }), "{when}: {found:?}");
            std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes");
            let journal = Journal::open(&state(&dir), small(3_000)).expect("opens").0;
            assert_eq!(seen(&journal), before, "{when}: rebuilt");
        }
    }
}

impl Left {
    fn check(&self, journal: &Journal, when: &str) {
        let oldest = journal.0.shared.read().standing.heads.oldest;
        for (id, item) in self.events.iter().filter(|(id, _)| *id >= oldest && oldest != EventId(0)) {
            let event = journal.event(*id).expect("reads").unwrap_or_else(|| panic!("{when}: item {item} is lost"));
            assert_eq!(event.data()["QueueItem"]["Id"], json!(item), "{when}");
        }
        for id in &self.waiting {
            let run = journal.run(*id).expect("reads").unwrap_or_else(|| panic!("{when}: a run that waits is lost"));
            assert_eq!((run.state, run.steps.len()), (RunState::Waiting, 1), "{when}");
            assert_eq!(run.steps[0].value, json!("x".repeat(1_500)), "{when}");
            assert!(journal.event(id.event).expect("reads").is_some(), "{when}: the event of a run that waits is lost");
        }
        let due: Vec<_> = journal.due(at(1_000_000), usize::MAX, &|_| false).expect("reads").0.iter().map(Run::id).collect();
        assert!(self.waiting.iter().all(|id| due.contains(id)), "{when}: it is due");
        let cursor = journal.kept(Space::Cursor, "queue").expect("reads").map(|value| String::from_utf8_lossy(&value).parse::<u32>());
        assert!(cursor.transpose().expect("a number") >= self.cursor, "{when}: the cursor went back");
        assert!(self.generation == 0 || journal.rule_texts(self.generation).expect("reads").is_some(), "{when}: rule texts are lost");
    }
}
