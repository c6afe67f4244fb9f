//! Verifying a state folder: every record of every segment, and the checkpoints against a fold of the records.
//!
//! Changes nothing of what is kept. The checkpoints can be compared only while nobody else has the folder open.

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use crate::journal::awaits::AWAITS;
use crate::journal::checkpoints::{Checkpoints, sync_folder};
use crate::journal::files::Files;
use crate::journal::format::{HeadError, Position};
use crate::journal::lock::{self, failed};
use crate::journal::marker::{self, Found, Marker};
use crate::journal::open::newer_format;
use crate::journal::rebuild::{ReplayError, missing_first, replay};
use crate::journal::repair;
use crate::journal::rows::{self, POSITION_KEY, Row, RowKey, Standing};
use crate::journal::scan::{is_damage, journal_dir, read_head, segment_numbers, segment_path};
use crate::journal::state::State;
use crate::journal::tally;
use crate::journal::words::{Damage, OpenError, Space};
use crate::journal::{LOSSES_MAX, kept};

/// Missing segments that are named.
const MISSING_NAMED_MAX: usize = 20;

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// How many segments were read.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Records, as many as a dump has.
    pub records: u64,
    /// Events in the journal.
    pub events: u64,
    /// Runs that are not settled.
    pub open_runs: u64,
    /// Bytes at the end that were never acknowledged; the next start cuts them.
    pub torn: u64,
    /// What does not verify.
    pub damage: Vec<Damage>,
    /// Places where records were lost before and the journal went on, as JSON.
    pub losses: Vec<String>,
    /// How the checkpoints are.
    pub checkpoints: Compared,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.damage.is_empty() && !matches!(self.checkpoints, Compared::Different { .. })
    }
}

/// The checkpoints beside a fold of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// All rows are the same.
    Same {
        /// How many.
        rows: u64,
    },
    /// They say something else.
    Different {
        /// How many rows.
        rows: u64,
        /// Which, as far as few can be named.
        which: String,
    },
    /// The next start makes them anew, for this reason.
    Rebuilt(String),
    /// They were not looked at, for this reason.
    Not(String),
}

/// Verifies the state folder `dir`. `progress` is told bytes done and bytes in all. Blocking; reads the whole journal.
///
/// # Errors
/// No journal there, of a newer version, or unreadable.
pub fn check(dir: &Path, boot_id: &str, progress: &dyn Fn(u64, u64)) -> Result<Checked, OpenError> {
    let files = Files::default();
    let journal = journal_dir(dir);
    there_is_a_journal(dir).map_err(|error| OpenError::Io(error.to_string()))?;
    let marker = marker::read(dir).map_err(|error| failed("read", dir, &error))?;
    if let Found::Newer(version) = marker {
        return Err(newer_format(&dir.join("store.json"), version));
    }
    let lock = lock::take(&files, dir);
    if let Ok(lock) = &lock {
        lock::sign(lock).map_err(|error| failed("write", &dir.join("lock"), &error))?;
    }
    let mut folded = State::new(journal, None, Standing::default());
    let mut checked = fold_all(&mut folded, progress)?;
    checked.checkpoints = match &lock {
        Err(error) => Compared::Not(error.to_string()),
        Ok(_) if !checked.damage.is_empty() => Compared::Not("the journal is damaged".to_owned()),
        Ok(_) => match marker::distrust(&marker, boot_id) {
            Some(why) => Compared::Rebuilt(why),
            None => compare(&files, dir, &marker, boot_id, &folded).unwrap_or_else(|error| Compared::Rebuilt(error.to_string())),
        },
    };
    drop(lock);
    Ok(checked)
}

/// Whether there is something to read in a state folder; who may not look is told so.
pub(super) fn there_is_a_journal(dir: &Path) -> io::Result<()> {
    let journal = journal_dir(dir);
    match std::fs::metadata(&journal) {
        Ok(found) if found.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(io::Error::new(error.kind(), format!("cannot read `{}`: {error}", journal.display())))
        }
        _ => Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no journal in `{}`", dir.display()))),
    }
}

/// Reads every segment and folds it.
fn fold_all(folded: &mut State, progress: &dyn Fn(u64, u64)) -> Result<Checked, OpenError> {
    let journal = folded.journal.clone();
    let numbers = segment_numbers(&journal).map_err(|error| failed("read", &journal, &error))?;
    let size = |number: &u32| std::fs::metadata(segment_path(&journal, *number)).map_or(0, |file| file.len());
    let total: u64 = numbers.iter().map(size).sum();
    let mut checked = Checked {
        segments: numbers.len(),
        bytes: total,
        records: 0,
        events: 0,
        open_runs: 0,
        torn: 0,
        damage: Vec::new(),
        losses: Vec::new(),
        checkpoints: Compared::Not(String::new()),
    };
    let mut done = 0;
    let mut before: Option<(u32, u64)> = None;
    for number in &numbers {
        let path = segment_path(&journal, *number);
        if before.is_some_and(|(before, _)| before + 1 != *number) {
            checked.damage.push(Damage::missing(&segment_path(&journal, before.map_or(1, |(before, _)| before + 1))));
        }
        if let Ok(Err(HeadError::Newer(version))) = read_head(&path) {
            return Err(newer_format(&path, version));
        }
        let last = numbers.last() == Some(number);
        match replay(folded, &path, *number, Position::default(), &mut |_| Ok(())) {
            Ok(replayed) => {
                let end = &replayed.end;
                checked.damage.extend(end.gaps.iter().map(|gap| repair::damage(&path, gap)));
                if before.is_some_and(|(before, group)| before + 1 == *number && group != replayed.head.first_group) {
                    checked.damage.push(Damage::at(&path, 0, "its groups do not follow those of the segment before it"));
                }
                checked.records += replayed.frames;
                if end.sealed {
                    folded.keep_index(&replayed.index);
                } else if last {
                    checked.torn = end.tail;
                } else {
                    checked.damage.push(Damage::cut_short(&path, end.end, end.tail));
                }
                before = Some((*number, end.next_group));
            }
            Err(ReplayError::Head) => {
                checked.damage.push(Damage::all_of(&path));
                before = None;
            }
            Err(ReplayError::Io(error)) if is_damage(&error) => checked.damage.push(Damage::all_of(&path)),
            Err(ReplayError::Io(error)) => return Err(failed("read", &path, &error)),
        }
        done += size(number);
        progress(done, total);
    }
    if let Some(needed) = missing_first(folded, &numbers).map_err(|error| failed("read", &journal, &error))? {
        let first = numbers.first().copied().unwrap_or(needed + 1);
        let missing = (needed..first).map(|number| Damage::missing(&segment_path(&journal, number)));
        checked.damage.splice(0..0, missing.take(MISSING_NAMED_MAX));
    }
    checked.events = folded.standing.heads.events;
    checked.open_runs = folded.timers.open;
    let losses = kept::after(folded, Space::Loss, "", None, LOSSES_MAX).map_err(|error| failed("read", &journal, &error))?;
    checked.losses = losses.into_iter().map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect();
    Ok(checked)
}

/// Opens the checkpoints, applies to them what they miss as a start would, and compares them row by row. Nothing of that
/// is written; sled may tidy up its files, so the marker says "open" meanwhile.
fn compare(files: &Files, dir: &Path, marker: &Found, boot_id: &str, folded: &State) -> io::Result<Compared> {
    let folder = dir.join("checkpoints");
    if !folder.is_dir() {
        return Ok(Compared::Rebuilt("they are missing".to_owned()));
    }
    marker::write(files, dir, &Marker::now(boot_id, false))?;
    let compared = catch_unwind(AssertUnwindSafe(|| -> io::Result<Compared> {
        let checkpoints = Arc::new(Checkpoints::open(&folder)?);
        let compared = compare_rows(&checkpoints, folded)?;
        checkpoints.flush()?;
        Ok(compared)
    }))
    .unwrap_or_else(|_| Err(io::Error::other("sled panicked")))?;
    if let Found::Marker(marker) = marker {
        sync_folder(&folder)?;
        marker::write(files, dir, marker)?;
    }
    Ok(compared)
}

fn compare_rows(checkpoints: &Arc<Checkpoints>, folded: &State) -> io::Result<Compared> {
    let Some(standing) = checkpoints.standing()? else { return Ok(Compared::Rebuilt("they are empty".to_owned())) };
    let from = standing.next;
    let mut stored = State::new(folded.journal.clone(), Some(Arc::clone(checkpoints)), standing);
    let ahead = |what: &str| Compared::Different { rows: 0, which: format!("they know acknowledged records {what}") };
    let numbers = segment_numbers(&folded.journal)?;
    if numbers.last().is_none_or(|last| *last < from.segment) {
        return Ok(ahead("of segments that are missing"));
    }
    for number in numbers.into_iter().filter(|number| *number >= from.segment) {
        let path = segment_path(&folded.journal, number);
        let replayed =
            replay(&mut stored, &path, number, from, &mut |_| Ok(())).map_err(|_| io::Error::other("a segment cannot be read again"))?;
        if number == from.segment && from.offset > replayed.end.end {
            return Ok(ahead(&format!("behind the end of `{}`, at {}", path.display(), replayed.end.end)));
        }
        if replayed.end.sealed {
            stored.keep_index(&replayed.index);
        }
    }
    let mut wrong: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut rows = 0;
    let mut known = BTreeSet::new();
    for (key, row) in &folded.dirty {
        let expected = if *row == Row::Gone { None } else { Some(row.to_bytes()?) };
        let found = match stored.dirty.get(key) {
            Some(Row::Gone) => None,
            Some(row) => Some(row.to_bytes()?),
            None => checkpoints.get(key)?,
        };
        rows += u64::from(expected.is_some());
        if expected != found {
            wrong.insert(key.bytes());
        }
        known.insert(key.bytes());
    }
    known.extend(stored.dirty.keys().map(RowKey::bytes));
    checkpoints.keys_each(&mut |key| {
        let beside = matches!(key.first(), Some(&tally::DUE | &tally::SUM | &AWAITS));
        if key != POSITION_KEY && !beside && !known.contains(&RowKey::first_part(key)) {
            wrong.insert(RowKey::first_part(key));
        }
    })?;
    // What stands beside runs is held against the stored rows: those are compared above.
    wrong.extend(tally::wrong(checkpoints)?);
    if stored.standing.heads != folded.standing.heads {
        wrong.insert(POSITION_KEY.to_vec());
    }
    Ok(match wrong.first() {
        None => Compared::Same { rows },
        Some(_) => {
            /// Rows that are named.
            const NAMED_MAX: usize = 5;
            // Runs first: people know them.
            let (runs, others): (Vec<_>, Vec<_>) = wrong.iter().partition(|key| key.first() == Some(&b'r'));
            let named: Vec<_> = runs.into_iter().chain(others).take(NAMED_MAX).map(|key| named(key)).collect();
            Compared::Different { rows: wrong.len() as u64, which: named.join(", ") }
        }
    })
}

/// A row, for people.
fn named(key: &[u8]) -> String {
    let number = |key: &[u8]| key.get(1..5).and_then(|number| number.try_into().ok()).map_or(0, u32::from_be_bytes);
    match (key.first(), RowKey::parse(key)) {
        (_, Some(RowKey::Folded(event))) => format!("copies of event {event}"),
        (_, Some(RowKey::Carried(event))) => format!("event {event}, written again"),
        (_, Some(RowKey::Generation(generation))) => format!("rules of generation {generation}"),
        (Some(b'p'), _) => "the position".to_owned(),
        (Some(b'r'), _) => rows::run_of_key(key).map_or_else(|| "a run".to_owned(), |(run, _)| format!("run {run}")),
        (Some(b's'), _) => format!("segment {}", number(key)),
        (Some(b'i'), _) => format!("index of segment {}", number(key)),
        (Some(b'n'), _) => format!("kept value `{}`", rows::kept_of_key(key).unwrap_or_default().escape_debug()),
        (Some(b't'), _) => "turn of an ordering key".to_owned(),
        (Some(b'd'), _) => "due time of a run".to_owned(),
        (Some(b'w'), _) => "what a run awaits".to_owned(),
        (Some(b'o'), _) => "count of runs".to_owned(),
        _ => format!("row {}", key.escape_ascii()),
    }
}
