//! Damage inside the journal: what can be saved is, the rest is kept aside, and the journal goes on.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::journal::format::{SEGMENT_HEAD, SegmentHead};
use crate::journal::rows::RowKey;
use crate::journal::scan::{segment_numbers, segment_path, walk};
use crate::runs::RunState;

const SEGMENT: u64 = 6_000;

/// A journal of several segments with some of everything, closed.
pub(super) fn filled() -> (TempDir, Vec<EventId>) {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(SEGMENT)).expect("opens");
    let mut events = Vec::new();
    for n in 0..24 {
        let accepted = accept(&journal, delivery((0..1 + n % 3).map(|m| change(n * 10 + m)).collect()));
        accept(&journal, delivery(vec![change(n * 10)]));
        let planned = planned(accepted.events[0], "rule");
        let run = planned.id;
        wait(journal.plan(Plan { through: accepted.events[0], runs: vec![planned] })).expect("kept");
        let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(6) };
        wait(journal.record(run, vec![settled])).expect("kept");
        events.extend(accepted.events);
    }
    journal.close();
    (dir, events)
}

pub(super) fn copy_of(dir: &TempDir, checkpoints: bool) -> TempDir {
    fn copy(from: &Path, to: &Path, checkpoints: bool) {
        fs::create_dir_all(to).expect("makes");
        for entry in fs::read_dir(from).expect("lists") {
            let entry = entry.expect("an entry");
            let (path, to) = (entry.path(), to.join(entry.file_name()));
            if path.is_dir() {
                if checkpoints || !path.ends_with("checkpoints") {
                    copy(&path, &to, checkpoints);
                }
            } else {
                fs::copy(path, to).expect("copies");
            }
        }
    }
    let twin = state_dir();
    copy(&state(dir), &state(&twin), checkpoints);
    twin
}

pub(super) fn numbers(dir: &TempDir) -> Vec<u32> {
    segment_numbers(&state(dir).join("journal")).expect("lists")
}

pub(super) fn segment(dir: &TempDir, number: u32) -> PathBuf {
    segment_path(&state(dir).join("journal"), number)
}

pub(super) fn flip(path: &Path, offset: usize) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[offset] ^= 0x08;
    fs::write(path, bytes).expect("writes");
}

/// Where each group of a segment begins, and where the last one ends.
pub(super) fn groups(path: &Path) -> (SegmentHead, Vec<u8>, Vec<usize>) {
    let bytes = fs::read(path).expect("reads");
    let head = SegmentHead::from_bytes(&bytes).expect("a head");
    let end = walk(&bytes, head, |_, _| Ok::<_, ()>(())).expect("walks").end as usize;
    let mut begins = vec![SEGMENT_HEAD];
    while let Some(at) = begins.last().copied().filter(|at| *at < end) {
        let group = format::GroupHead::of(format::frame(&bytes[at..], head.seed()).expect("a frame")).expect("a group");
        begins.push(at + format::GROUP_HEAD + group.bytes as usize);
    }
    (head, bytes, begins)
}

#[test]
fn one_changed_bit_costs_at_most_one_record() {
    let (dir, _) = filled();
    assert!(numbers(&dir).len() > 3);
    let (head, bytes, begins) = groups(&segment(&dir, 1));
    let mut whole = 0;
    walk(&bytes, head, |_, _| {
        whole += 1;
        Ok::<_, ()>(())
    })
    .expect("walks");
    // Every bit of the first groups, and one bit of each byte of the others but the seal, behind which nothing comes here.
    let last = begins[begins.len() - 2];
    for at in SEGMENT_HEAD..last {
        for bit in if at < begins[3] { 0..8 } else { at % 8..at % 8 + 1 } {
            let mut harmed = bytes.clone();
            harmed[at] ^= 1 << bit;
            let mut found = 0;
            let end = walk(&harmed, head, |_, _| {
                found += 1;
                Ok::<_, ()>(())
            })
            .expect("walks");
            assert!(found + 1 >= whole && end.gaps.len() == 1 && end.sealed, "bit {bit} of byte {at}: {found} of {whole}, {end:?}");
            let gap = &end.gaps[0];
            assert!(begins.contains(&(gap.offset as usize)) && (gap.offset as usize..gap.end as usize).contains(&at));
        }
    }
}

#[test]
fn damage_is_kept_aside_and_mended_and_the_journal_goes_on() {
    let (dir, events) = filled();
    let whole = Reader::new(&state(&dir)).events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items;
    assert_eq!(whole.len(), events.len());
    let last = *numbers(&dir).last().expect("segments");
    let mut tried = 0;
    for number in numbers(&dir) {
        let (_, bytes, begins) = groups(&segment(&dir, number));
        let all: Vec<_> = begins.windows(2).map(|pair| (pair[0], pair[1])).collect();
        // The last group of the last segment is a torn tail when it is damaged.
        let groups = if number == last { &all[..all.len() - 1] } else { &all };
        for (index, (begin, end)) in groups.iter().enumerate().step_by(3).chain(groups.iter().enumerate().next_back()) {
            let at = begin + [4, 40, 60, 300][index % 4] % (end - begin);
            let harmed = copy_of(&dir, false);
            flip(&segment(&harmed, number), at);
            tried += 1;
            let reader = Reader::new(&state(&harmed));
            let by_reader = reader.events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items;
            let (journal, report) = Journal::open(&state(&harmed), small(SEGMENT)).unwrap_or_else(|error| panic!("{number} {at}: {error}"));
            let [damage] = &report.damage[..] else { panic!("{number} {at}: {:?}", report.damage) };
            assert_eq!((&damage.file, damage.offset as usize), (&segment(&harmed, number), *begin), "{number} {at}");
            let aside = damage.aside.as_ref().expect("kept aside");
            let mut original = bytes[*begin..*end].to_vec();
            original[at - begin] ^= 0x08;
            assert_eq!(fs::read(aside).expect("reads"), original);
            let losses = journal.kept_after(Space::Loss, "", None, 9).expect("reads");
            assert_eq!(losses.len(), usize::from(damage.lost > 0), "{damage}");
            // What is left is a part of what was, in its order, and at most one record is missing.
            let (events, runs, unrouted, _) = seen(&journal);
            let there: BTreeSet<_> = events.iter().map(|event| event.id).collect();
            let missing: Vec<_> = whole.iter().filter(|event| !there.contains(&event.id)).collect();
            assert!(missing.len() <= 3, "{number} {at}: {missing:?}");
            assert!(missing.len() <= 1 || missing.iter().all(|event| event.change.element == 0), "those of one body");
            let left: Vec<_> =
                whole.iter().filter(|event| there.contains(&event.id)).map(|event| (event.id, event.change.clone())).collect();
            assert_eq!(events.iter().map(|event| (event.id, event.change.clone())).collect::<Vec<_>>(), left);
            assert_eq!(by_reader.iter().map(|event| event.id).collect::<Vec<_>>(), events.iter().map(|event| event.id).collect::<Vec<_>>());
            assert!(runs.len() >= 23 && unrouted.len() <= 6, "{number} {at}: {} runs", runs.len());
            // It goes on, and what is new is found beside what was saved.
            let new = accept(&journal, delivery(vec![change(9_999)])).events;
            assert_eq!(new.len(), 1);
            let before = seen(&journal);
            drop(journal);
            fs::remove_dir_all(state(&harmed).join("checkpoints")).expect("removes");
            let (journal, report) = Journal::open(&state(&harmed), small(SEGMENT)).expect("opens");
            assert_eq!((seen(&journal), &report.damage[..]), (before, &[][..]), "mended once and for all");
            assert_eq!(journal.kept_after(Space::Loss, "", None, 9).expect("reads"), losses);
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn state_that_is_in_the_checkpoints_outlives_damage_to_the_records() {
    let (dir, _) = filled();
    let before = {
        let (journal, _) = Journal::open(&state(&dir), small(SEGMENT)).expect("opens");
        seen(&journal)
    };
    let last = *numbers(&dir).last().expect("segments");
    for (number, read_again) in [(2, false), (last, true)] {
        let harmed = copy_of(&dir, true);
        let (_, _, begins) = groups(&segment(&harmed, number));
        for group in &begins[..begins.len() - 2] {
            flip(&segment(&harmed, number), group + format::GROUP_HEAD + 20);
        }
        let (journal, report) = Journal::open(&state(&harmed), small(SEGMENT)).expect("opens");
        assert_eq!((report.rebuilt, report.damage.is_empty()), (None, !read_again));
        let (events, runs, unrouted, due) = seen(&journal);
        assert!(events.len() < before.0.len());
        assert_eq!((runs, due), (before.1.clone(), before.3.clone()), "no run is forgotten");
        assert!(unrouted.iter().all(|id| before.2.contains(id)));
        assert!(accept(&journal, delivery(vec![change(9_999)])).events.len() == 1);
    }
}

#[test]
fn a_damaged_seal_is_written_again() {
    let (dir, _) = filled();
    let (journal, _) = Journal::open(&state(&dir), small(SEGMENT)).expect("opens");
    let before = seen(&journal);
    drop(journal);
    let (_, bytes, begins) = groups(&segment(&dir, 2));
    let [seal, end] = begins[begins.len() - 2..] else { panic!("two groups") };
    for harm in [(seal + 3, 1), (end - 1, 0x80), (seal, 0xff)] {
        let harmed = copy_of(&dir, false);
        let mut torn = bytes.clone();
        torn[harm.0] ^= harm.1;
        fs::write(segment(&harmed, 2), torn).expect("writes");
        let (journal, report) = Journal::open(&state(&harmed), small(SEGMENT)).expect("opens");
        assert_eq!((report.damage.len(), report.damage[0].lost), (1, 0));
        assert_eq!(seen(&journal), before);
        assert_eq!(fs::read(segment(&harmed, 2)).expect("reads"), bytes, "the same again");
    }
}

#[test]
fn a_run_whose_value_is_damaged_holds_up_no_other() {
    let dir = state_dir();
    let journal = open(&dir);
    let events: Vec<_> = (0..2).map(|n| accept(&journal, delivery(vec![change(n)])).events[0]).collect();
    let runs: Vec<_> = events.iter().map(|event| planned(*event, "rule")).collect();
    wait(journal.plan(Plan { through: events[1], runs: runs.clone() })).expect("kept");
    let begin = journal.0.shared.read().open.summary.end as usize;
    let value = json!("long ".repeat(4_000));
    let done = Fact::StepDone { step: 0, id: None, kind: "http".into(), value, maybe_twice: false, at: at(5) };
    wait(journal.record(runs[0].id, vec![done])).expect("kept");
    accept(&journal, delivery(vec![change(7)]));
    flip(&segment(&dir, 1), begin + 2_000);
    let due = journal.due(at(1_000), 9, &|_| false).expect("reads").0;
    assert_eq!(due.len(), 2, "both are due");
    let harmed = journal.run(runs[0].id).expect("reads").expect("is there");
    assert_eq!((harmed.steps.len(), &harmed.steps[0].value), (1, &json!(null)));
}

#[test]
fn a_state_that_no_run_is_in_costs_no_look_at_the_rows() {
    let dir = state_dir();
    let journal = open(&dir);
    let event = accept(&journal, delivery(vec![change(1)])).events[0];
    let run = planned(event, "rule");
    wait(journal.plan(Plan { through: event, runs: vec![run.clone()] })).expect("kept");
    let list = |state| journal.runs(&RunQuery { limit: 9, state, ..RunQuery::default() }).map(|page| page.items.len()).ok();
    assert_eq!((list(Some(RunState::Pending)), list(Some(RunState::Dead))), (Some(1), Some(0)));
    wait(journal.ask(Op::Drain)).expect("drains");
    let checkpoints = journal.0.shared.read().checkpoints.clone().expect("are there");
    let key = RowKey::Run(run.id);
    let pending = checkpoints.first_part(&key).expect("reads").expect("is there");
    let settled = Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: at(6) };
    wait(journal.record(run.id, vec![settled])).expect("kept");
    wait(journal.ask(Op::Drain)).expect("drains");
    // Who looked at the row would take it for pending.
    checkpoints.tamper(&key.bytes(), Some(&pending));
    let seen = journal.runs(&RunQuery { limit: 9, ..RunQuery::default() }).expect("reads").items;
    assert_eq!(seen.iter().map(|run| run.state).collect::<Vec<_>>(), [RunState::Pending]);
    for state in [RunState::Pending, RunState::Waiting, RunState::Paused, RunState::Dead] {
        assert_eq!(list(Some(state)), Some(0), "{state:?}");
    }
}
