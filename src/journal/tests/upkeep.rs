//! Check, rebuild, export and import, and what people are told when segments are lost.

use std::collections::BTreeSet;
use std::fs;

use super::mend::{copy_of, filled, flip, groups, numbers, segment};
use super::*;
use crate::journal::format::SEGMENT_HEAD;

const SEGMENT: u64 = 6_000;

fn checked(dir: &TempDir) -> Checked {
    check(&state(dir), "boot-1", &|_, _| ()).expect("checks")
}

fn opened(dir: &TempDir) -> Journal {
    Journal::open(&state(dir), small(SEGMENT)).expect("opens").0
}

#[test]
fn a_good_folder_is_good_after_every_kind_of_end() {
    let (dir, events) = filled();
    let number = numbers(&dir).len();
    for end in ["closed", "dropped", "drained and dropped", "checkpoints deleted", "another boot"] {
        let journal = opened(&dir);
        accept(&journal, delivery(vec![change(5), change(9_000)]));
        match end {
            "closed" => journal.close(),
            "drained and dropped" => wait(journal.ask(Op::Drain)).expect("drains"),
            "checkpoints deleted" => fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removes"),
            _ => {}
        }
        let during = checked(&dir);
        if end != "closed" {
            assert!(matches!(&during.checkpoints, Compared::Not(why) if why.contains("pid")), "{end}: {during:?}");
        }
        drop(journal);
        let boot = if end == "another boot" { "boot-2" } else { "boot-1" };
        let marker = fs::read(state(&dir).join("store.json")).expect("reads");
        let found = check(&state(&dir), boot, &|_, _| ()).expect("checks");
        assert!(found.is_good() && found.segments >= number && found.events > events.len() as u64, "{end}: {found:?}");
        match end {
            "checkpoints deleted" | "another boot" => assert!(matches!(found.checkpoints, Compared::Rebuilt(_)), "{end}: {found:?}"),
            _ => assert!(matches!(found.checkpoints, Compared::Same { rows } if rows > 30), "{end}: {found:?}"),
        }
        assert_eq!(fs::read(state(&dir).join("store.json")).expect("reads"), marker, "{end}: as it was");
    }
}

#[test]
fn what_is_wrong_is_found_and_named() {
    let (dir, _) = filled();
    let harmed = copy_of(&dir, true);
    flip(&segment(&harmed, 2), SEGMENT_HEAD + 60);
    let found = checked(&harmed);
    assert!(!found.is_good() && found.damage.len() == 1, "{found:?}");
    assert_eq!((&found.damage[0].file, found.damage[0].offset), (&segment(&harmed, 2), SEGMENT_HEAD as u64));

    let harmed = copy_of(&dir, true);
    fs::remove_file(segment(&harmed, 2)).expect("removes");
    let found = checked(&harmed);
    assert!(found.damage.iter().any(|damage| damage.missing && damage.file == segment(&harmed, 2)), "{found:?}");

    let harmed = copy_of(&dir, true);
    flip(&segment(&harmed, 1), 20);
    let found = checked(&harmed);
    assert!(found.damage.iter().any(|damage| damage.file == segment(&harmed, 1) && damage.lost > 0), "{found:?}");

    // A row that says something else, and one that is not there.
    let rows = [(b"r", true, "run 0"), (b"f", false, "copies of event 0"), (b"i", false, "index of segment 1"), (b"s", true, "segment 1")];
    for (prefix, change_row, name) in rows {
        let harmed = copy_of(&dir, true);
        let db = sled::open(state(&harmed).join("checkpoints")).expect("opens");
        let (key, value) = db.scan_prefix(prefix).next().expect("a row").expect("reads");
        let mut value = value.to_vec();
        if change_row {
            value[9] ^= 1;
            db.insert(&key, value).expect("writes");
        } else {
            db.remove(&key).expect("removes");
        }
        db.flush().expect("flushes");
        drop(db);
        match checked(&harmed).checkpoints {
            Compared::Different { rows: 1, which } => assert!(which.starts_with(name), "{which}"),
            other => panic!("{:?}: {other:?}", char::from(prefix[0])),
        }
        rebuild(&state(&harmed), small(SEGMENT), false).expect("rebuilds");
        assert!(matches!(checked(&harmed).checkpoints, Compared::Same { .. }));
    }
}

#[test]
fn a_loss_is_refused_until_it_is_accepted_and_then_counted() {
    let (dir, _) = filled();
    let whole: Vec<_> = Reader::new(&state(&dir))
        .events(&EventQuery { limit: 999, ..EventQuery::default() })
        .expect("reads")
        .items
        .into_iter()
        .map(|event| event.id)
        .collect();
    let last = *numbers(&dir).last().expect("segments");
    type Harm<'a> = Box<dyn Fn(&TempDir) + 'a>;
    let cut = |dir: &TempDir, number: u32, keep: usize| {
        let (_, bytes, _) = groups(&segment(dir, number));
        fs::write(segment(dir, number), &bytes[..keep]).expect("writes");
    };
    let harms: [(&str, Harm<'_>); 15] = [
        ("one segment in the middle is gone", Box::new(|dir| fs::remove_file(segment(dir, 2)).expect("removes"))),
        ("the first one is gone", Box::new(|dir| fs::remove_file(segment(dir, 1)).expect("removes"))),
        ("the first two are gone", Box::new(|dir| (1..3).for_each(|number| fs::remove_file(segment(dir, number)).expect("removes")))),
        ("the first one is empty", Box::new(|dir| fs::write(segment(dir, 1), b"").expect("writes"))),
        ("the head of the first one is damaged", Box::new(|dir| flip(&segment(dir, 1), 21))),
        ("the head of the last one is damaged", Box::new(|dir| flip(&segment(dir, last), 21))),
        ("all but the last are gone", Box::new(|dir| (1..last).for_each(|number| fs::remove_file(segment(dir, number)).expect("removes")))),
        (
            "two segments in the middle are gone",
            Box::new(|dir| (2..4).for_each(|number| fs::remove_file(segment(dir, number)).expect("removes"))),
        ),
        ("the last segment is gone", Box::new(|dir| fs::remove_file(segment(dir, last)).expect("removes"))),
        (
            "the last two are gone",
            Box::new(|dir| (last - 1..=last).for_each(|number| fs::remove_file(segment(dir, number)).expect("removes"))),
        ),
        ("all are gone", Box::new(|dir| fs::remove_dir_all(state(dir).join("journal")).expect("removes"))),
        ("the last one lost its groups", Box::new(|dir| cut(dir, last, SEGMENT_HEAD))),
        ("the head of one is damaged", Box::new(|dir| flip(&segment(dir, 2), 21))),
        ("a sealed one is cut in the middle of a group", Box::new(|dir| cut(dir, 2, 1_500))),
        (
            "a sealed one is cut between groups",
            Box::new(|dir| {
                let (_, _, begins) = groups(&segment(dir, 2));
                cut(dir, 2, begins[3]);
            }),
        ),
    ];
    for ((name, harm), checkpoints) in harms.iter().flat_map(|harm| [(harm, true), (harm, false)]) {
        let harmed = copy_of(&dir, checkpoints);
        harm(&harmed);
        // Who knows how far the journal went?
        let untold = ["the last segment is gone", "the last two are gone", "all are gone", "the last one lost its groups"];
        if !checkpoints && untold.contains(name) {
            continue;
        }
        let refusals = [
            Journal::open(&state(&harmed), small(SEGMENT)).map(drop),
            rebuild(&state(&harmed), small(SEGMENT), false).map(drop),
            Journal::open(&state(&harmed), small(SEGMENT)).map(drop),
        ];
        // A damaged segment that need not be read at the start is no hindrance; making the checkpoints anew reads all.
        let unread = checkpoints && name.starts_with("a sealed one");
        for (number, refusal) in refusals.into_iter().enumerate() {
            match refusal {
                Err(OpenError::Damaged(text)) => assert!(text.contains(".seg`") && text.contains("--accept-loss"), "{name}: {text}"),
                Ok(()) if unread && number == 0 => {}
                other => panic!("{name}, {number}: {other:?}"),
            }
        }
        let report = rebuild(&state(&harmed), small(SEGMENT), true).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!report.damage.is_empty(), "{name}");
        let journal = opened(&harmed);
        let there: BTreeSet<_> = seen(&journal).0.iter().map(|event| event.id).collect();
        assert!(there.len() < whole.len() && there.iter().all(|id| whole.contains(id)), "{name}");
        assert!(name.starts_with("all") || !there.is_empty(), "{name}");
        assert!(journal.gauges().losses > 0, "{name}");
        assert_eq!(accept(&journal, delivery(vec![change(9_999)])).events.len(), 1);
        assert_eq!(accept(&journal, delivery(vec![change(9_999)])).folded, 1);
        let before = seen(&journal);
        drop(journal);
        let found = checked(&harmed);
        assert!(found.is_good() && !found.losses.is_empty() && matches!(found.checkpoints, Compared::Same { .. }), "{name}: {found:?}");
        fs::remove_dir_all(state(&harmed).join("checkpoints")).expect("removes");
        let journal = opened(&harmed);
        assert_eq!((seen(&journal), journal.gauges().losses > 0), (before, true), "{name}");
    }
}

fn exported(dir: &TempDir) -> (Vec<u8>, Exported) {
    let mut dump = Vec::new();
    let exported = export(&state(dir), at(9), &mut dump, &|_, _| ()).expect("exports");
    (dump, exported)
}

#[test]
fn a_dump_brings_everything_back() {
    let (dir, events) = filled();
    let journal = opened(&dir);
    let kept = Kept { space: Space::Cursor, key: "k".to_owned(), value: Some(Bytes::from_static(b"17")) };
    wait(journal.keep(vec![kept])).expect("kept");
    let before = seen(&journal);
    // While the journal is open, too.
    let (dump, exported_) = exported(&dir);
    assert_eq!((exported_.events, exported_.damaged), (events.len() as u64, 0));
    assert_eq!(exported_.records, checked(&dir).records);
    let lines: Vec<serde_json::Value> =
        dump.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).expect("json")).collect();
    assert_eq!((&lines[0]["tripline"], &lines[lines.len() - 1]["end"]), (&json!("state"), &json!(true)));
    let shown: Vec<_> = lines.iter().filter_map(|line| line["event"]["id"].as_str()).collect();
    assert_eq!(shown, events.iter().map(ToString::to_string).collect::<Vec<_>>());
    drop(journal);

    let twin = state_dir();
    let report = import(&state(&twin), small(SEGMENT), &mut &dump[..]).expect("imports");
    assert_eq!(report.events, events.len() as u64);
    let journal = opened(&twin);
    assert_eq!(seen(&journal), before);
    assert_eq!(journal.kept(Space::Cursor, "k").expect("reads"), Some(Bytes::from_static(b"17")));
    assert_eq!(accept(&journal, delivery(vec![change(0)])).folded, 1, "copies are known");
    assert_eq!(accept(&journal, delivery(vec![change(9_999)])).events.len(), 1);
    drop(journal);
    assert!(checked(&twin).is_good());
    match import(&state(&twin), small(SEGMENT), &mut &dump[..]) {
        Err(OpenError::Io(text)) => assert!(text.contains("already"), "{text}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_dump_that_is_not_whole_makes_nothing() {
    let (dir, _) = filled();
    let (dump, _) = exported(&dir);
    let ends: Vec<_> = dump.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
    let mut bad: Vec<Vec<u8>> =
        [0, 1, 20, ends[0], ends[1], ends[7], ends[7] + 50, ends[ends.len() - 2]].map(|end| dump[..end].to_vec()).into();
    let text = String::from_utf8(dump.clone()).expect("text");
    bad.push(text.replacen("\"format\":1", "\"format\":9", 1).into_bytes());
    bad.push(text.replacen("\"kind\":\"event\"", "\"kind\":\"novelty\"", 1).into_bytes());
    bad.push(text.replacen("\"payload\":\"", "\"payload\":\"!", 1).into_bytes());
    bad.push([&dump[..ends[5]], &dump[ends[6]..]].concat());
    bad.push(b"{\"id\": 1}\n".to_vec());
    bad.push([&dump[..], b"\n"].concat());
    bad.push([&dump[..], &dump[..]].concat());
    // A payload that is another one, still base64.
    let payload = dump[ends[9]..].windows(11).position(|w| w == b"\"payload\":\"").map(|at| ends[9] + at + 15).expect("a payload");
    let other = if dump[payload] == b'A' { b'B' } else { b'A' };
    bad.push([&dump[..payload], &[other], &dump[payload + 1..]].concat());
    for (number, bad) in bad.into_iter().enumerate() {
        let twin = state_dir();
        match import(&state(&twin), small(SEGMENT), &mut &bad[..]) {
            Err(OpenError::Io(text)) => assert!(text.contains("dump"), "{number}: {text}"),
            other => panic!("{number}: {other:?}"),
        }
        assert!(!state(&twin).join("journal").exists());
        import(&state(&twin), small(SEGMENT), &mut &dump[..]).expect("the whole one goes in after it");
    }
}

#[test]
fn a_damaged_journal_gives_a_dump_of_what_is_whole() {
    let (dir, events) = filled();
    let harmed = copy_of(&dir, true);
    let (_, _, begins) = groups(&segment(&harmed, 2));
    flip(&segment(&harmed, 2), begins[2] + 60);
    flip(&segment(&harmed, 3), begins[1] + 5);
    let (dump, exported) = exported(&harmed);
    assert_eq!(exported.damaged, 2);
    let twin = state_dir();
    import(&state(&twin), small(SEGMENT), &mut &dump[..]).expect("imports");
    let found = seen(&opened(&twin)).0;
    assert_eq!(found.len() as u64, exported.events);
    assert!(found.len() + 3 >= events.len());
    let mended = seen(&opened(&harmed));
    drop(mended);
    let reader = Reader::new(&state(&harmed)).events(&EventQuery { limit: 999, ..EventQuery::default() }).expect("reads").items;
    assert_eq!(found, reader);
}

/// The folder of an earlier version, as it was stored then.
#[test]
fn the_stored_folder_of_format_1_opens_as_it_was() {
    for checkpoints in [true, false] {
        opens_as_it_was(checkpoints);
    }
}

fn opens_as_it_was(checkpoints: bool) {
    let dir = state_dir();
    let stored = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/state-1");
    for folder in ["journal", "checkpoints"] {
        fs::create_dir_all(state(&dir).join(folder)).expect("makes");
    }
    for file in ["store.json", "journal/0000000001.seg", "checkpoints/conf", "checkpoints/db"] {
        if checkpoints || !file.starts_with("checkpoints") {
            fs::copy(stored.join(file), state(&dir).join(file)).expect("copies");
        }
    }
    let expected: serde_json::Value = serde_json::from_slice(&fs::read(stored.join("expected.json")).expect("reads")).expect("json");
    let shown = |journal: &Journal| {
        let (events, runs, unrouted, _) = seen(journal);
        let events: Vec<_> = events.iter().map(Event::to_json).collect();
        let runs: Vec<_> = runs.iter().map(Run::to_json).collect();
        (json!({"events": events, "runs": runs}), unrouted.len())
    };
    let (journal, report) = Journal::open(&state(&dir), options()).expect("opens");
    assert!(report.damage.is_empty() && report.cut == 0, "{report:?}");
    let found = shown(&journal);
    for (kind, fields) in [
        ("events", &["id", "key", "type", "source", "subject", "data", "folded", "received"][..]),
        ("runs", &["id", "rule", "event", "state"]),
    ] {
        let list = |value: &serde_json::Value| value[kind].as_array().cloned().expect("a list");
        let (found, expected) = (list(&found.0), list(&expected));
        assert_eq!(found.len(), expected.len());
        assert!(!found.is_empty());
        for (found, expected) in found.iter().zip(&expected) {
            for field in fields {
                assert_eq!(found[field], expected[field], "{field}");
            }
        }
    }
    assert_eq!(journal.gauges().losses, 0);
    journal.close();
    drop(journal);
    let journal = open(&dir);
    assert_eq!(shown(&journal), found, "and again");
}

#[test]
fn checkpoints_of_another_layout_are_rebuilt() {
    let (dir, _) = filled();
    let before = seen(&opened(&dir));
    let journal = opened(&dir);
    journal.close();
    drop(journal);
    let db = rows_of(&dir);
    let mut value = db.get(b"p").expect("reads").expect("a row").to_vec();
    value[0] = value[0].wrapping_sub(1);
    db.insert(b"p", value).expect("writes");
    db.flush().expect("flushes");
    drop(db);
    let (journal, report) = Journal::open(&state(&dir), small(SEGMENT)).expect("opens");
    assert!(report.rebuilt.is_some());
    assert_eq!(seen(&journal), before);
}
