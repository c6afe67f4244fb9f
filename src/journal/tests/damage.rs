//! Checkpoints that were damaged on the disk. sled opens damaged files, sometimes with rows missing and without a word.

use std::fs;

use super::*;
use crate::runs::RunState;

/// Bytes that the damage changes.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Bit,
    Garbage,
    Zeros,
    Cut,
}

fn harm(bytes: &mut Vec<u8>, harm: Harm, at: usize) {
    let end = bytes.len().min(at + 4096);
    match harm {
        Harm::Bit => bytes[at] ^= 0x10,
        Harm::Garbage => bytes[at..end].iter_mut().enumerate().for_each(|(n, byte)| *byte = (n * 31 + at) as u8),
        Harm::Zeros => bytes[at..end].fill(0),
        Harm::Cut => bytes.truncate(at),
    }
}

#[test]
fn damaged_checkpoints_never_show_anything_else() {
    let dir = state_dir();
    let (journal, _) = Journal::open(&state(&dir), small(100_000)).expect("opens");
    for n in 0..400 {
        let event = accept(&journal, delivery(vec![change(n)])).events[0];
        accept(&journal, delivery(vec![change(n / 2)]));
        let run = planned(event, if n % 7 == 0 { "other" } else { "rule" });
        let id = run.id;
        wait(journal.plan(Plan { through: event, runs: vec![run] })).expect("kept");
        if n % 3 > 0 {
            let value = json!({"Id": n, "Text": "x".repeat(n as usize * 3)});
            let done = Fact::StepDone { step: 0, id: None, kind: "http".into(), value, maybe_twice: false, at: at(5) };
            let state = if n % 3 == 1 { RunState::Succeeded } else { RunState::Dead };
            wait(journal.record(id, vec![done, Fact::Settled { state, cause: None, would: Vec::new(), at: at(6) }])).expect("kept");
        }
    }
    let before = (seen(&journal), journal.gauges().dead);
    journal.close();
    drop(journal);
    let whole = |dir: &TempDir| {
        let mut files = Vec::new();
        for entry in fs::read_dir(state(dir).join("checkpoints")).expect("lists") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                files.push((path.clone(), fs::read(&path).expect("reads")));
            }
        }
        (files, fs::read(state(dir).join("store.json")).expect("reads"))
    };
    let (files, marker) = whole(&dir);
    let mut tries = 0;
    let mut wrong = Vec::new();
    for (path, bytes) in &files {
        for kind in [Harm::Bit, Harm::Garbage, Harm::Zeros, Harm::Cut] {
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            for n in 0..TRIES.min(used) {
                let checkpoints = state(&dir).join("checkpoints");
                fs::remove_dir_all(&checkpoints).expect("removes");
                fs::create_dir(&checkpoints).expect("makes");
                for (path, bytes) in &files {
                    fs::write(path, bytes).expect("writes");
                }
                fs::write(state(&dir).join("store.json"), &marker).expect("writes");
                let mut damaged = bytes.clone();
                let place = used * n / TRIES + (n * 7) % 13;
                harm(&mut damaged, kind, place.min(used - 1));
                fs::write(path, damaged).expect("writes");
                tries += 1;
                match Journal::open(&state(&dir), small(100_000)) {
                    Ok((journal, report)) => {
                        let after = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (seen(&journal), journal.gauges().dead)));
                        if after.as_ref().ok() != Some(&before) {
                            wrong.push(format!("{:?} {kind:?} {place} of {used} {report:?} {}", path.file_name(), after.is_ok()));
                        }
                    }
                    Err(error) => wrong.push(format!("{:?} {kind:?} {place} of {used} {error}", path.file_name())),
                }
            }
        }
    }
    assert!(tries >= 8 * TRIES && wrong.is_empty(), "{} of {tries}: {wrong:#?}", wrong.len());
}

/// Places of damage in each file.
const TRIES: usize = 6;
