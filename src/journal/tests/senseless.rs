//! Rows and records that are whole and make no sense, as an earlier fault of ours may have written them: they hold up nothing
//! else, and are told.

use std::fs;
use std::path::Path;

use super::mend::{copy_of, filled, groups, segment};
use super::*;
use crate::journal::format::{FRAME_HEAD, GROUP_HEAD, GroupHead, Kind, finish_frame, frame};

/// Fills the payload of the first record of a kind with what is no record, and has everything verify all the same.
fn spoil(path: &Path, kind: Kind) -> bool {
    let (head, mut bytes, begins) = groups(path);
    for pair in begins.windows(2) {
        let mut at = pair[0] + GROUP_HEAD;
        while at < pair[1] {
            let found = frame(&bytes[at..], head.seed()).expect("a frame");
            let (of, size) = (found.kind, found.size());
            if of == kind {
                bytes[at + FRAME_HEAD..at + size].fill(0xff);
                finish_frame(&mut bytes[at..at + size], 0, head.seed());
                let old = GroupHead::of(frame(&bytes[pair[0]..], head.seed()).expect("a frame")).expect("a group");
                GroupHead::write(old.number, old.count, &mut bytes[pair[0]..pair[1]], head.seed());
                fs::write(path, bytes).expect("writes");
                return true;
            }
            at += size;
        }
    }
    false
}

#[test]
fn a_record_that_does_not_decode_is_as_lost_as_one_that_does_not_verify() {
    let (dir, events) = filled();
    for kind in [Kind::Event, Kind::Fold, Kind::Plan, Kind::Fact] {
        let harmed = copy_of(&dir, false);
        assert!(spoil(&segment(&harmed, 2), kind), "{kind:?}");
        let reader = Reader::new(&state(&harmed)).events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items;
        let (journal, report) = Journal::open(&state(&harmed), small(6_000)).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        let [damage] = &report.damage[..] else { panic!("{kind:?}: {:?}", report.damage) };
        assert_eq!(damage.file, segment(&harmed, 2));
        assert!(damage.offset > 0 && damage.to_string().contains("does not decode"), "{kind:?}: {damage}");
        assert_eq!(journal.gauges().losses, 1, "{kind:?}");
        let found = seen(&journal);
        assert_eq!(found.0.len(), events.len() - usize::from(kind == Kind::Event), "{kind:?}");
        if kind != Kind::Fold {
            assert_eq!(reader, found.0, "{kind:?}");
        }
        assert_eq!(accept(&journal, delivery(vec![change(9_999)])).events.len(), 1);
        let before = seen(&journal);
        drop(journal);
        let checked = check(&state(&harmed), "boot-1", &|_, _| ()).expect("checks");
        assert!(checked.is_good() && checked.losses.len() == 1, "{kind:?}: {checked:?}");
        assert!(matches!(checked.checkpoints, Compared::Same { .. }), "{kind:?}: {checked:?}");
        rebuild(&state(&harmed), small(6_000), false).expect("rebuilds");
        let mut dump = Vec::new();
        export(&state(&harmed), at(9), &mut dump, &|_, _| ()).expect("exports");
        let twin = state_dir();
        import(&state(&twin), small(6_000), &mut &dump[..]).expect("imports");
        for folder in [&harmed, &twin] {
            let journal = Journal::open(&state(folder), small(6_000)).expect("opens").0;
            assert_eq!((seen(&journal), journal.gauges().losses), (before.clone(), 1), "{kind:?}");
        }
    }
}

#[test]
fn a_run_whose_row_does_not_decode_holds_up_no_other_and_comes_back_by_a_rebuild() {
    let dir = state_dir();
    let journal = open(&dir);
    let events = accept(&journal, delivery((0..4).map(change).collect())).events;
    let runs: Vec<_> = events.iter().map(|event| planned(*event, "rule")).collect();
    let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
    wait(journal.plan(Plan { through: events[3], runs })).expect("kept");
    journal.close();
    drop(journal);
    let db = rows_of(&dir);
    for (key, value) in db.scan_prefix(b"r").map(|row| row.expect("reads")).take(2).enumerate().map(|(n, (key, value))| {
        // Once what only the whole row says, once what lists look at.
        (key, if n == 0 { value[..value.len() - 2].to_vec() } else { vec![0xff; 70] })
    }) {
        db.insert(key, value).expect("writes");
    }
    db.flush().expect("flushes");
    drop(db);

    let journal = open(&dir);
    for _ in 0..2 {
        let due: Vec<_> = journal.due(at(1_000_000), 2, &|_| false).expect("reads").0.iter().map(Run::id).collect();
        let next: Vec<_> = journal.due(at(1_000_000), 2, &|_| false).expect("reads").0.iter().map(Run::id).collect();
        assert_eq!((due.len() < 3, &next[..]), (true, &ids[2..]), "those that can be read");
        assert_eq!(journal.gauges().unreadable, 2);
    }
    let listed: Vec<_> = journal.runs(&RunQuery { limit: 99, ..RunQuery::default() }).expect("reads").items.iter().map(Run::id).collect();
    assert_eq!(listed, ids[2..]);
    // Others go on and are kept.
    let settled = Fact::Settled { state: crate::runs::RunState::Succeeded, cause: None, would: Vec::new(), at: at(6) };
    wait(journal.record(ids[3], vec![settled])).expect("kept");
    journal.close();
    drop(journal);
    match check(&state(&dir), "boot-1", &|_, _| ()).expect("checks").checkpoints {
        Compared::Different { which, .. } => assert!(which.contains(&ids[0].to_string()) && which.contains(&ids[1].to_string()), "{which}"),
        other => panic!("{other:?}"),
    }
    rebuild(&state(&dir), options(), false).expect("rebuilds");
    let journal = open(&dir);
    let due: Vec<_> = journal.due(at(1_000_000), 9, &|_| false).expect("reads").0.iter().map(Run::id).collect();
    assert_eq!((due, journal.gauges().unreadable), (ids[..3].to_vec(), 0));
}
