//! Values under names: the last write wins, through drains, kills and rebuilds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::journal::queue::Op;

fn kept(key: &str, value: Option<&[u8]>) -> Kept {
    Kept { space: Space::Cursor, key: key.to_owned(), value: value.map(Bytes::copy_from_slice) }
}

fn all(journal: &Journal, page: usize) -> BTreeMap<String, Bytes> {
    let mut found = BTreeMap::new();
    let mut after: Option<String> = None;
    loop {
        let values = journal.kept_after(Space::Cursor, "", after.as_deref(), page).expect("reads");
        let Some((last, _)) = values.last() else { return found };
        assert!(after.as_ref().is_none_or(|after| *after < values[0].0), "in order");
        after = Some(last.clone());
        found.extend(values);
    }
}

#[test]
fn a_cursor_is_kept_with_its_events_and_found_again() {
    let dir = state_dir();
    let journal = open(&dir);
    let accepted = wait(journal.accept_keeping(delivery(vec![change(1)]), vec![kept("queues/1", Some(b"17"))])).expect("kept");
    assert_eq!(accepted.events.len(), 1);
    wait(journal.accept_keeping(delivery(Vec::new()), vec![kept("queues/2", Some(b"18"))])).expect("kept");
    wait(journal.keep(vec![Kept { space: Space::Pause, ..kept("queues/1", Some(b"other")) }])).expect("kept");
    drop(journal);
    let journal = open(&dir);
    assert_eq!(journal.kept(Space::Cursor, "queues/1").expect("reads"), Some(Bytes::from_static(b"17")));
    assert_eq!(journal.kept(Space::Pause, "queues/1").expect("reads"), Some(Bytes::from_static(b"other")));
    assert_eq!(journal.kept(Space::Ledger, "queues/1").expect("reads"), None);
    assert_eq!(journal.kept_after(Space::Cursor, "queues/", Some("queues/1"), 9).expect("reads").len(), 1);
    assert_eq!(journal.kept_after(Space::Cursor, "queues/2", None, 9).expect("reads").len(), 1);
}

#[test]
fn what_is_too_long_is_refused() {
    let dir = state_dir();
    let journal = open(&dir);
    for bad in [kept(&"k".repeat(KEPT_KEY_MAX + 1), Some(b"1")), kept("k", Some(&[b'1'; KEPT_VALUE_MAX + 1])), kept("a\0b", None)] {
        assert!(matches!(wait(journal.keep(vec![kept("good", Some(b"1")), bad])), Err(AppendError::Full(_))));
    }
    assert_eq!(journal.kept(Space::Cursor, "good").expect("reads"), None, "nothing of it was kept");
}

#[derive(Clone, Debug)]
enum Step {
    Keep(Vec<(u16, Option<usize>)>),
    Drain,
    Kill,
    Rebuild,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let length = prop_oneof![8 => 0usize..40, 1 => Just(4096usize), 1 => 4000usize..KEPT_VALUE_MAX];
    let keep = prop::collection::vec((0u16..700, prop::option::weighted(0.8, length)), 1..400);
    prop::collection::vec(
        prop_oneof![6 => keep.prop_map(Step::Keep), 3 => Just(Step::Drain), 1 => Just(Step::Kill), 1 => Just(Step::Rebuild)],
        1..8,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn kept_values_are_those_of_a_map(steps in steps()) {
        let dir = state_dir();
        let mut journal = Some(open(&dir));
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Keep(values) => {
                    let mut writes = Vec::new();
                    for (key, length) in values {
                        let name = format!("{}/{key}", if key % 3 == 0 { "a" } else { "ab" });
                        let value = length.map(|length| Bytes::from(vec![b'a' + (key % 20) as u8; length]));
                        match &value {
                            Some(value) => drop(model.insert(name.clone(), value.clone())),
                            None => drop(model.remove(&name)),
                        }
                        writes.push(Kept { space: Space::Cursor, key: name, value });
                    }
                    wait(journal.as_ref().expect("open").keep(writes)).expect("kept");
                }
                Step::Drain => wait(journal.as_ref().expect("open").ask(Op::Drain)).expect("drained"),
                Step::Kill => {
                    drop(journal.take());
                    journal = Some(open(&dir));
                }
                Step::Rebuild => {
                    drop(journal.take());
                    std::fs::remove_dir_all(state(&dir).join("checkpoints")).expect("removed");
                    journal = Some(open(&dir));
                }
            }
            let journal = journal.as_ref().expect("open");
            prop_assert_eq!(&all(journal, 1000), &model);
            prop_assert_eq!(&all(journal, 7), &model);
        }
    }
}
