//! What is there after the journal ended in one way or another.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::*;
use crate::connectors::Connectors;
use crate::fault::SourceText;
use crate::journal::format::{GROUP_HEAD, GroupHead, Kind, SEGMENT_HEAD, SegmentHead};
use crate::journal::rebuild::forget_checkpoints;
use crate::journal::scan::{ScanEnd, segment_path, walk};
use crate::rules::{Known, KnownSource};
use crate::runs::RunState;

fn segment(dir: &TempDir, number: u32) -> PathBuf {
    segment_path(&state(dir).join("journal"), number)
}

/// Some of everything; the runs planned.
fn fill(journal: &Journal) -> Vec<RunId> {
    let events: Vec<_> = (0..5).map(|n| accept(journal, delivery(vec![change(n)])).events[0]).collect();
    accept(journal, delivery(vec![change(2)]));
    let runs: Vec<_> = events[..4].iter().map(|event| planned(*event, "rule")).collect();
    wait(journal.plan(Plan { through: events[3], runs: runs.clone() })).expect("kept");
    let long = Value::String("x".repeat(20_000));
    let done = |step: usize, value: Value| Fact::StepDone {
        step,
        id: Some(format!("s{step}")),
        kind: "http".into(),
        value,
        maybe_twice: false,
        at: at(5),
    };
    let settled = |state: RunState, would: Vec<Value>| Fact::Settled { state, cause: None, would, at: at(6) };
    let facts = [
        vec![done(0, long.clone()), done(1, json!({"Id": 7})), settled(RunState::Succeeded, Vec::new())],
        vec![settled(RunState::Dead, Vec::new())],
        vec![settled(RunState::Shadowed, vec![long, json!(1)])],
    ];
    for (run, facts) in runs.iter().zip(facts) {
        wait(journal.record(run.id, facts)).expect("kept");
    }
    runs.iter().map(|run| run.id).collect()
}

#[test]
fn everything_is_there_after_every_kind_of_end() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(12_000)).expect("opens");
    let runs = fill(&journal);
    let mut before = seen(&journal);
    assert_eq!(before.0.len(), 5);
    assert_eq!(before.1.len(), 4);
    let first = journal.run(runs[0]).expect("reads").expect("is there");
    assert_eq!(first.steps[0].value, Value::String("x".repeat(20_000)), "a long value comes back from the journal");
    assert_eq!(journal.run(runs[2]).expect("reads").expect("is there").would.len(), 2);
    assert_eq!(journal.gauges().dead, [("rule".into(), 1)]);
    forget_checkpoints(&mut journal.0.shared.write()).expect("folds");
    assert_eq!(seen(&journal), before, "folded in memory, after the checkpoints failed");
    drop(journal);
    let other_boot = || Options { boot_id: "boot-2".to_owned(), ..small(12_000) };
    type Harm<'a> = Box<dyn Fn() + 'a>;
    let checkpoints = state(&dir).join("checkpoints");
    let steps: [(&str, Harm<'_>, Options, bool, bool); 8] = [
        ("dropped", Box::new(|| ()), small(12_000), false, false),
        ("dropped again, then closed", Box::new(|| ()), small(12_000), true, false),
        ("closed, another boot", Box::new(|| ()), other_boot(), false, false),
        ("dropped in another boot", Box::new(|| ()), small(12_000), true, true),
        ("checkpoints deleted", Box::new(|| fs::remove_dir_all(&checkpoints).expect("removes")), small(12_000), true, false),
        ("marker deleted", Box::new(|| fs::remove_file(state(&dir).join("store.json")).expect("removes")), small(12_000), true, true),
        (
            "sled's file is garbage",
            Box::new(|| fs::write(checkpoints.join("conf"), "segment_size: 3\nx").expect("writes")),
            small(12_000),
            true,
            true,
        ),
        ("marker is garbage", Box::new(|| fs::write(state(&dir).join("store.json"), "{}").expect("writes")), small(12_000), true, true),
    ];
    for (name, harm, options, close, rebuilt) in steps {
        harm();
        let (journal, report) = Journal::open(&state(&dir), options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(seen(&journal), before, "{name}");
        assert_eq!(report.rebuilt.is_some(), rebuilt, "{name}: {report:?}");
        assert_eq!((report.events, report.open_runs), (5, 1), "{name}");
        assert_eq!(journal.gauges().dead, [("rule".into(), 1)], "{name}");
        assert_eq!(accept(&journal, delivery(vec![change(4)])).folded, 1, "{name}");
        before = seen(&journal);
        if close {
            journal.close();
        }
        drop(journal);
        let reader = Reader::new(&state(&dir));
        let events = reader.events(&EventQuery { limit: 99, ..EventQuery::default() }).expect("reads").items;
        assert_eq!(events, before.0, "{name}");
        assert_eq!(reader.runs(&RunQuery { limit: 99, ..RunQuery::default() }).expect("reads").items, before.1, "{name}");
    }
}

#[test]
fn a_cut_at_any_byte_of_the_last_group_loses_only_that_group() {
    let dir = state_dir();
    let journal = open(&dir);
    accept(&journal, delivery(vec![change(1)]));
    let end = |journal: &Journal| journal.0.shared.read().open.summary.end as usize;
    let first = end(&journal);
    accept(&journal, delivery(vec![change(2), change(3)]));
    let second = end(&journal);
    drop(journal);
    let mut whole = fs::read(segment(&dir, 1)).expect("reads");
    // The zeros behind are many; a few do as well.
    whole.truncate(second + 100);
    let head = SegmentHead::from_bytes(&whole).expect("a head");
    let scan = |bytes: &[u8]| walk(bytes, head, |_, _| Ok::<_, ()>(())).expect("walks");
    let is_cut = |found: ScanEnd| found.end as usize == first && found.gaps.is_empty();
    for cut in first..second {
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        assert!(is_cut(scan(&torn)), "zeros from {cut}");
        assert!(is_cut(scan(&whole[..cut])), "the file ends at {cut}");
        torn[cut..second].fill(0xa5);
        assert!(is_cut(scan(&torn)), "garbage from {cut}");
    }
    assert_eq!(scan(&whole).end as usize, second);
    for cut in [first, first + 1, first + GROUP_HEAD, (first + second) / 2, second - 1] {
        let copy = state_dir();
        fs::create_dir_all(state(&copy).join("journal")).expect("makes");
        let mut torn = whole.clone();
        torn[cut..].fill(0);
        fs::write(segment(&copy, 1), &torn).expect("writes");
        let (journal, report) = Journal::open(&state(&copy), options()).expect("opens");
        let tail = torn[first..].iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        assert_eq!((report.events, report.cut), (1, tail as u64), "{cut}");
        let accepted = accept(&journal, delivery(vec![change(1), change(2)]));
        assert_eq!((accepted.events.len(), accepted.folded), (1, 1));
        drop(journal);
        assert_eq!(Journal::open(&state(&copy), options()).expect("opens").1.events, 2);
    }
}

#[test]
fn damage_to_acknowledged_records_is_refused() {
    let fresh = || {
        let dir = state_dir();
        let (journal, _) = Journal::open(&state(&dir), small(12_000)).expect("opens");
        fill(&journal);
        journal.close();
        dir
    };
    type Harm = fn(&TempDir);
    let cases: [(&str, Harm, &str); 4] = [
        (
            "the last segment's groups are gone",
            |dir| {
                let journal = state(dir).join("journal");
                let number = fs::read_dir(&journal).expect("lists").filter_map(Result::ok).count() as u32;
                let path = segment(dir, number);
                let mut bytes = fs::read(&path).expect("reads");
                bytes[SEGMENT_HEAD..].fill(0);
                fs::write(path, bytes).expect("writes");
            },
            "the checkpoints know acknowledged records",
        ),
        ("a segment in the middle is gone", |dir| fs::remove_file(segment(dir, 2)).expect("removes"), "0000000002.seg` is missing"),
        (
            "all segments are gone",
            |dir| fs::remove_dir_all(state(dir).join("journal")).expect("removes"),
            "it is missing, and the checkpoints know acknowledged records in it",
        ),
        (
            "the head of a segment",
            |dir| {
                let mut bytes = fs::read(segment(dir, 1)).expect("reads");
                bytes[20] ^= 1;
                fs::write(segment(dir, 1), bytes).expect("writes");
            },
            "0000000001.seg` is damaged at byte 0",
        ),
    ];
    for (name, harm, expected) in cases {
        let dir = fresh();
        harm(&dir);
        match Journal::open(&state(&dir), small(12_000)) {
            Err(OpenError::Damaged(text)) => assert!(text.contains(expected), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let dir = state_dir();
    let journal = open(&dir);
    let held = journal.clone();
    match Journal::open(&state(&dir), options()) {
        Err(OpenError::Locked(text)) => {
            assert!(text.contains(&state(&dir).display().to_string()) && text.contains(&format!("pid {}", std::process::id())), "{text}");
        }
        other => panic!("{other:?}"),
    }
    journal.close();
    let again = open(&dir);
    assert!(matches!(wait(held.accept(delivery(vec![change(1)]))), Err(AppendError::Ended(_))));
    drop(again);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let contents = |dir: &TempDir| {
        let mut found = Vec::new();
        for name in ["store.json", "lock", "journal/0000000001.seg"] {
            found.push(fs::read(state(dir).join(name)).expect("reads"));
        }
        found
    };
    let fresh = || {
        let dir = state_dir();
        let journal = open(&dir);
        accept(&journal, delivery(vec![change(1)]));
        journal.close();
        dir
    };
    let newer_marker = |dir: &TempDir| fs::write(state(dir).join("store.json"), r#"{"format":9,"new":[]}"#).expect("writes");
    let newer_segment = |dir: &TempDir| {
        let mut bytes = fs::read(segment(dir, 1)).expect("reads");
        bytes[8] = 9;
        fs::write(segment(dir, 1), bytes).expect("writes");
    };
    for harm in [&newer_marker as &dyn Fn(&TempDir), &newer_segment] {
        let dir = fresh();
        harm(&dir);
        let before = contents(&dir);
        match Journal::open(&state(&dir), options()) {
            Err(OpenError::Format(text)) => assert!(text.contains("format 9") && text.contains("up to 1"), "{text}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(&dir), before);
    }
}

#[test]
fn the_state_folder_is_made_for_us_alone_or_refused_with_a_remedy() {
    let dir = state_dir();
    open(&dir).close();
    for folder in [state(&dir), state(&dir).join("journal")] {
        assert_eq!(fs::metadata(folder).expect("is there").permissions().mode() & 0o777, 0o700);
    }
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("writes");
    for (path, expected) in [(dir.path().join("no/state"), "does not exist"), (file, "a file has that name")] {
        match Journal::open(&path, options()) {
            Err(OpenError::Io(text)) => assert!(text.contains(expected) && text.contains("set `state`"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn rule_texts_keep_their_generation() {
    let dir = state_dir();
    let texts = |text: &str| RuleTexts {
        files: vec![Arc::new(SourceText { path: "rules/a.yaml".into(), text: text.to_owned() })],
        known: Known {
            orchestrators: vec!["prod".into()],
            sources: vec![KnownSource { name: "hook".into(), unsigned: false, reconciles: None, orchestrator: Some("prod".into()) }],
            vars: json!({"queue": "Q"}),
            ..Known::default()
        },
    };
    for _ in 0..2 {
        let journal = open(&dir);
        assert_eq!(wait(journal.rules_loaded(texts("one"))), Ok(1));
        drop(journal);
    }
    let journal = open(&dir);
    assert_eq!(wait(journal.rules_loaded(texts("two"))), Ok(2));
    assert_eq!(wait(journal.rules_loaded(texts("two"))), Ok(2));
    assert_eq!(wait(journal.rules_loaded(texts("one"))), Ok(3), "only the newest is compared: what is in force is a generation");
    journal.close();
    let journal = open(&dir);
    for (generation, expected) in [(1, Some("one")), (2, Some("two")), (3, Some("one")), (4, None)] {
        // Connectors are equal only to themselves; each orchestrator is one, read again here.
        let kept = journal.rule_texts(generation).expect("reads");
        assert!(kept.iter().all(|kept| kept.known.connectors.get("orchestrator").is_some()));
        let plain = |texts: RuleTexts| RuleTexts { known: Known { connectors: Connectors::default(), ..texts.known }, ..texts };
        assert_eq!(kept.map(plain), expected.map(texts));
    }
}

#[test]
fn a_body_cannot_fake_a_group() {
    // A frame that verifies needs the segment's salt, which no sender knows: without it the CRC is wrong.
    let head = SegmentHead { number: 1, first_group: 1, salt: 77 };
    let mut group = vec![0; GROUP_HEAD];
    GroupHead::write(5, 0, &mut group, SegmentHead { salt: 78, ..head }.seed());
    let found = walk(&[&head.to_bytes()[..], b"torn", &group].concat(), head, |_, frame| {
        assert_eq!(frame.kind, Kind::Seal, "nothing is handed out");
        Ok::<_, ()>(())
    });
    assert_eq!(found.expect("walks").gaps, []);
}
