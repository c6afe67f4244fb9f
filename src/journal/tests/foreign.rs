//! What is no file stands where one should be: nobody waits for it, and it is named or passed over.

use std::fs;
use std::path::Path;
use std::sync::mpsc;

use rustix::fs::{CWD, FileType, Mode as Bits, mknodat};

use super::mend::{copy_of, filled, numbers, segment};
use super::*;

const SEGMENT: u64 = 6_000;

/// Puts a pipe, a socket, a link to a device or a folder there, in place of what is there.
fn put(path: &Path, what: &str) {
    drop(fs::remove_file(path));
    match what {
        "named pipe" => mknodat(CWD, path, FileType::Fifo, Bits::RWXU, 0).expect("a pipe"),
        "socket" => drop(std::os::unix::net::UnixListener::bind(path).expect("a socket")),
        "device" => std::os::unix::fs::symlink("/dev/zero", path).expect("a link"),
        _ => fs::create_dir(path).expect("a folder"),
    }
}

/// What `does` answers, when it does not wait for ever.
fn soon<T: Send + 'static>(what: &str, does: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    let what = what.to_owned();
    std::thread::spawn(move || drop(tell.send(does())));
    told.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| panic!("{what}: waits"))
}

const KINDS: [&str; 4] = ["named pipe", "socket", "device", "folder"];

#[test]
fn what_is_no_file_is_refused_by_name_where_the_journal_needs_a_file() {
    let (dir, _) = filled();
    let next = *numbers(&dir).last().expect("segments") + 1;
    for kind in KINDS {
        for place in [segment(&dir, 2), segment(&dir, next), state(&dir).join("store.json"), state(&dir).join("lock")] {
            let harmed = copy_of(&dir, true);
            let place = state(&harmed).join(place.strip_prefix(state(&dir)).expect("in the state folder"));
            put(&place, kind);
            let name = place.file_name().expect("a name").to_string_lossy().into_owned();
            let what = format!("{kind} as {name}");
            let says = |text: &str| assert!(text.contains(&format!("`{name}` is a {kind} ")), "{what}: {text}");
            let folder = state(&harmed);
            says(&soon(&what, move || Journal::open(&folder, small(SEGMENT)).expect_err("refused").to_string()));
            let folder = state(&harmed);
            match soon(&what, move || check(&folder, "boot-1", &|_, _| ())) {
                Err(error) => says(&error.to_string()),
                Ok(Checked { checkpoints: Compared::Not(why), .. }) if name == "lock" => says(&why),
                Ok(found) => panic!("{what}: {found:?}"),
            }
            let folder = state(&harmed);
            says(&soon(&what, move || rebuild(&folder, small(SEGMENT), true).expect_err("refused").to_string()));
            let folder = state(&harmed);
            let read = soon(&what, move || Reader::new(&folder).events(&EventQuery { limit: 9, ..EventQuery::default() }));
            assert_eq!(read.is_err(), name.ends_with(".seg"), "{what}");
        }
    }
}

#[test]
fn what_is_no_file_is_passed_over_where_the_journal_can_do_without() {
    let (dir, events) = filled();
    for kind in KINDS {
        for place in ["prints/0000000001", "checkpoints/conf", "checkpoints/db", "checkpoints/snap.0000000000000001", "journal/next.tmp"] {
            if (kind, place) == ("folder", "journal/next.tmp") {
                continue;
            }
            let harmed = copy_of(&dir, true);
            put(&state(&harmed).join(place), kind);
            let (what, folder, first) = (format!("{kind} as {place}"), state(&harmed), events[0]);
            soon(&what, move || {
                let (journal, _) = Journal::open(&folder, small(SEGMENT)).expect("opens");
                assert!(journal.event(first).expect("reads").is_some());
                (0..40).for_each(|n| drop(accept(&journal, delivery(vec![change(50_000 + n)]))));
                journal.close();
                drop(journal);
                assert!(check(&folder, "boot-1", &|_, _| ()).expect("checks").is_good());
            });
        }
    }
}
