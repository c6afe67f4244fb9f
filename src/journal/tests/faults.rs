//! What happens when the file system does not do as it is told.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use super::*;
use crate::journal::files::FileOp;

/// What the switch makes an operation on a segment do.
const WELL: u8 = 0;
const NO_SPACE: u8 = 1;
const SYNC_FAILS: u8 = 2;
const WRITE_FAILS: u8 = 3;
const PANICS: u8 = 4;
const TOO_LARGE: u8 = 5;

fn switched() -> (Files, Arc<AtomicU8>) {
    let switch = Arc::new(AtomicU8::new(WELL));
    let asked = Arc::clone(&switch);
    let files = Files::hooked(Arc::new(move |op, path| {
        let of_segment = path.parent().is_some_and(|parent| parent.ends_with("journal"));
        match asked.load(Ordering::SeqCst) {
            NO_SPACE if of_segment && op == FileOp::Reserve => Err(io::ErrorKind::StorageFull.into()),
            TOO_LARGE if of_segment && op == FileOp::Reserve => Err(io::ErrorKind::FileTooLarge.into()),
            SYNC_FAILS if of_segment && op == FileOp::Sync => Err(io::Error::other("EIO")),
            WRITE_FAILS if of_segment && op == FileOp::Write => Err(io::Error::other("EIO")),
            PANICS if of_segment && op == FileOp::Write => panic!("a fault on purpose"),
            _ => Ok(()),
        }
    }));
    (files, switch)
}

#[test]
fn a_full_disk_refuses_and_recovers_without_a_restart() {
    for full in [NO_SPACE, TOO_LARGE] {
        let dir = state_dir();
        let (files, switch) = switched();
        let (journal, _) = Journal::open_with(&state(&dir), small(8_000), files).expect("opens");
        let mut health = journal.health();
        switch.store(full, Ordering::SeqCst);
        let mut kept = 0;
        // What was prepared is used up first; then a new segment cannot be made.
        let refused = loop {
            match wait(journal.accept(delivery(vec![change(kept)]))) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 1000, "never full");
        };
        assert!(kept > 3 && matches!(refused, AppendError::Full(_)), "{kept} {refused:?}");
        assert!(matches!(*health.borrow_and_update(), Health::Full(_)));
        assert!(matches!(wait(journal.accept(delivery(vec![change(kept)]))), Err(AppendError::Full(_))));
        assert_eq!(journal.unrouted(9999, 0).expect("reads").events.len(), kept as usize, "reading goes on");
        switch.store(WELL, Ordering::SeqCst);
        wait(health.wait_for(|health| *health == Health::Good)).expect("the writer lives");
        assert_eq!(accept(&journal, delivery(vec![change(kept)])).events.len(), 1, "what was refused was not kept");
        drop(journal);
        assert_eq!(Journal::open(&state(&dir), small(8_000)).expect("opens").1.events, u64::from(kept) + 1);
    }
}

#[test]
fn a_failed_write_or_sync_ends_the_journal_and_loses_nothing_acknowledged() {
    for fault in [SYNC_FAILS, WRITE_FAILS, PANICS] {
        let dir = state_dir();
        let (files, switch) = switched();
        let (journal, _) = Journal::open_with(&state(&dir), options(), files).expect("opens");
        let kept = accept(&journal, delivery(vec![change(1)])).events[0];
        switch.store(fault, Ordering::SeqCst);
        let mut health = journal.health();
        let answers = wait(async { tokio::join!(journal.accept(delivery(vec![change(2)])), journal.accept(delivery(vec![change(3)]))) });
        assert!(matches!(answers, (Err(AppendError::Ended(_)), Err(AppendError::Ended(_)))), "{answers:?}");
        wait(health.wait_for(|health| matches!(health, Health::Failed(_)))).expect("it says so");
        switch.store(WELL, Ordering::SeqCst);
        assert!(matches!(wait(journal.accept(delivery(vec![change(4)]))), Err(AppendError::Ended(_))), "never again");
        drop(journal);
        let journal = open(&dir);
        assert!(journal.event(kept).expect("reads").is_some());
        assert_eq!(accept(&journal, delivery(vec![change(1)])).folded, 1);
    }
}

#[test]
fn any_single_failure_while_opening_is_an_error_and_the_next_open_works() {
    let dir = state_dir();
    let journal = open(&dir);
    let kept = accept(&journal, delivery(vec![change(1)])).events[0];
    drop(journal);
    for fail in 0.. {
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let files = Files::hooked(Arc::new(move |_, path| {
            // Where there is no space to try in, what was held back is used; whether there is any is what is tried.
            if ["open.tmp", "reserve", "reserve.tmp"].iter().any(|name| path.ends_with(name)) {
                return Ok(());
            }
            if counted.fetch_add(1, Ordering::SeqCst) == fail { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }));
        let opened = Journal::open_with(&state(&dir), options(), files);
        let reached = count.load(Ordering::SeqCst) > fail;
        if let Ok((journal, _)) = &opened {
            assert!(journal.event(kept).expect("reads").is_some());
        }
        assert_eq!(opened.is_err(), reached, "operation {fail}");
        if !reached {
            break;
        }
        drop(opened);
        let journal = open(&dir);
        assert_eq!(accept(&journal, delivery(vec![change(1)])).folded, 1);
    }
}

#[test]
fn names_that_an_earlier_process_gave_are_durable_before_anything_stands_under_them() {
    let dir = state_dir();
    drop(open(&dir));
    let synced = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&synced);
    let files = Files::hooked(Arc::new(move |op, path| {
        if op == FileOp::SyncDir {
            seen.lock().expect("a list").push(path.to_owned());
        }
        Ok(())
    }));
    drop(Journal::open_with(&state(&dir), options(), files).expect("opens"));
    let synced = synced.lock().expect("a list");
    for folder in [dir.path().to_owned(), state(&dir), state(&dir).join("journal")] {
        assert!(synced.contains(&folder), "{}", folder.display());
    }
}

#[test]
fn a_journal_that_was_removed_acknowledges_nothing_more() {
    for replaced in [false, true] {
        let dir = state_dir();
        let journal = open(&dir);
        accept(&journal, delivery(vec![change(1)]));
        std::fs::rename(state(&dir), dir.path().join("elsewhere")).expect("moves");
        if replaced {
            drop(open(&dir));
        }
        let mut health = journal.health();
        assert!(matches!(wait(journal.accept(delivery(vec![change(2)]))), Err(AppendError::Ended(_))));
        wait(health.wait_for(|health| matches!(health, Health::Failed(_)))).expect("it says so");
    }
}

#[test]
fn checkpoints_that_fail_a_reader_are_given_up_at_once_and_rebuilt_at_the_next_start() {
    for no_space in [false, true] {
        let dir = state_dir();
        let full = Arc::new(AtomicU8::new(WELL));
        let asked = Arc::clone(&full);
        let files = Files::hooked(Arc::new(move |op, path| match asked.load(Ordering::SeqCst) {
            NO_SPACE if op == FileOp::Write && path.ends_with("store.tmp") => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }));
        let (journal, _) = Journal::open_with(&state(&dir), options(), files).expect("opens");
        let event = accept(&journal, delivery(vec![change(1)])).events[0];
        wait(journal.plan(Plan { through: event, runs: vec![planned(event, "rule")] })).expect("kept");
        let before = seen(&journal);
        if no_space {
            full.store(NO_SPACE, Ordering::SeqCst);
        }
        let checkpoints = || journal.0.shared.read().checkpoints.clone();
        checkpoints().expect("is there").note(&io::Error::other("no space for a reader"));
        wait(async {
            while checkpoints().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        assert_eq!(seen(&journal), before, "from memory");
        drop(journal);
        let (journal, report) = Journal::open(&state(&dir), options()).expect("opens");
        assert!(report.rebuilt.is_some(), "{report:?}");
        assert_eq!(seen(&journal), before);
    }
}
