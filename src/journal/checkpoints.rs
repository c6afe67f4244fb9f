//! The checkpoints folder: rows in sled, written in batches, never the truth.
//!
//! sled is used as it bears best: one tree, no transactions, no background flush, small values, paced batches. Whatever it
//! answers with an error or a panic becomes an [`io::Error`]; the caller then goes on without it and rebuilds at the next open.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::event::RunId;
use crate::journal::backward;
use crate::journal::files::open_plain;
use crate::journal::format::Position;
use crate::journal::rows::{PARTS_MAX, POSITION_KEY, Row, RowKey, RunHead, Standing, VALUE_MAX, run_head};
use crate::journal::tally::{self, Beside};

/// Bytes that sled may keep in memory (it counts them on disk).
const CACHE_BYTES: u64 = 4 << 20;

/// sled is flushed after this many rows, so that it does not outrun its own log …
const FLUSH_ROWS: usize = 4096;
/// … or after this many batches …
const FLUSH_BATCHES: usize = 256;
/// … or when they stand for this much more of the journal: what was not flushed is folded again after SIGKILL.
const FLUSH_BYTES: u32 = 32 << 20;

/// What sled says while its files are held. Its threads give them free a moment after they were dropped.
const HELD: &str = "could not acquire lock";
/// That is waited for so long …
const HELD_MAX: Duration = Duration::from_secs(2);
/// … and looked for each time after this.
const HELD_AGAIN: Duration = Duration::from_millis(5);

/// The rows on disk.
pub(super) struct Checkpoints {
    db: sled::Db,
    /// What went wrong first. After that sled answers nothing any more, to readers neither.
    failed: OnceLock<String>,
}

/// What was written since the last flush.
#[derive(Debug, Default)]
pub(super) struct Pace {
    rows: usize,
    batches: usize,
    /// Up to where they stood for the journal then.
    at: Position,
}

impl Pace {
    fn is_over(&self, standing: Option<&Standing>) -> bool {
        let far = |next: Position| next.segment != self.at.segment || next.offset.abs_diff(self.at.offset) >= FLUSH_BYTES;
        self.rows >= FLUSH_ROWS || self.batches >= FLUSH_BATCHES || standing.is_some_and(|standing| far(standing.next))
    }
}

/// Runs a sled operation; a panic is an error.
fn guarded<T>(operation: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(io::Error::other(format!("checkpoints: {error}"))),
        Err(_) => Err(io::Error::other("checkpoints: sled panicked")),
    }
}

impl Checkpoints {
    /// Opens or makes the folder.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        only_plain(dir)?;
        let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let begun = Instant::now();
        loop {
            match guarded(|| config.open()) {
                Ok(db) => return Ok(Self { db, failed: OnceLock::new() }),
                // Who holds the state folder holds this one; only what this process had open itself may not be free yet.
                Err(error) if error.to_string().contains(HELD) && begun.elapsed() < HELD_MAX => std::thread::sleep(HELD_AGAIN),
                Err(error) => return Err(error),
            }
        }
    }

    fn guarded<T>(&self, operation: impl FnOnce() -> sled::Result<T>) -> io::Result<T> {
        guarded(operation).inspect_err(|error| self.note(error))
    }

    /// Keeps the first failure for the writer: a reader may be the first to meet it.
    pub(super) fn note(&self, error: &io::Error) {
        // Only the first one counts.
        drop(self.failed.set(error.to_string()));
    }

    /// The first failure of any operation.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// How far they are; `None` when they are new.
    pub(super) fn standing(&self) -> io::Result<Option<Standing>> {
        let value = self.guarded(|| self.db.get(POSITION_KEY))?;
        Ok(value.map(|value| Standing::from_bytes(&value)).transpose()?)
    }

    /// The value of a row, put together from its parts.
    pub(super) fn get(&self, key: &RowKey) -> io::Result<Option<Vec<u8>>> {
        let mut stored = key.bytes();
        let Some(first) = self.guarded(|| self.db.get(&stored))? else { return Ok(None) };
        let mut value = first.to_vec();
        let mut length = first.len();
        while key.has_parts()
            && length == VALUE_MAX
            && let Some(last) = stored.last_mut().filter(|part| usize::from(**part) < PARTS_MAX - 1)
        {
            *last += 1;
            let Some(part) = self.guarded(|| self.db.get(&stored))? else { break };
            length = part.len();
            value.extend_from_slice(&part);
        }
        Ok(Some(value))
    }

    /// What the stored row of a run says at its beginning.
    pub(super) fn run_head(&self, id: RunId) -> io::Result<Option<RunHead>> {
        let value = self.guarded(|| self.db.get(RowKey::Run(id).bytes()))?;
        Ok(value.map(|value| run_head(&value)).transpose()?.map(|(_, head)| head))
    }

    /// A sum; 0 when it is not stored.
    pub(super) fn sum(&self, key: &[u8]) -> io::Result<u64> {
        let value = self.guarded(|| self.db.get(key))?;
        Ok(value.map_or(Ok(0), |value| tally::count(&value))?)
    }

    /// Whether there is a stored key.
    pub(super) fn holds(&self, key: &[u8]) -> io::Result<bool> {
        self.guarded(|| self.db.contains_key(key))
    }

    /// Changes a stored value behind everybody's back.
    #[cfg(test)]
    pub(super) fn tamper(&self, key: &[u8], value: Option<&[u8]>) {
        match value {
            Some(value) => drop(self.db.insert(key, value).expect("writes")),
            None => drop(self.db.remove(key).expect("writes")),
        }
    }

    /// The first part of a row's value.
    pub(super) fn first_part(&self, key: &RowKey) -> io::Result<Option<Vec<u8>>> {
        Ok(self.guarded(|| self.db.get(key.bytes()))?.map(|value| value.to_vec()))
    }

    /// Rows whose key begins with `prefix`, from `after` on (exclusive) or from the beginning: at most `max` stored parts.
    pub(super) fn after(&self, prefix: u8, after: Option<&[u8]>, max: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Included(vec![prefix]), |key| Bound::Excluded(key.to_vec()));
        let range = (start, Bound::Excluded(vec![prefix + 1]));
        self.guarded(|| self.db.range(range).take(max).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec()))).collect())
    }

    /// Hands every stored key to `visit`.
    pub(super) fn keys_each(&self, visit: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        self.guarded(|| {
            for row in &*self.db {
                visit(&row?.0);
            }
            Ok(())
        })
    }

    /// Stored keys from `start` up to `end` (exclusive), each part with its own, at most `max`.
    pub(super) fn keys(&self, start: std::ops::Bound<Vec<u8>>, end: Vec<u8>, max: usize) -> io::Result<Vec<Vec<u8>>> {
        let range = (start, std::ops::Bound::Excluded(end));
        self.guarded(|| self.db.range(range).take(max).map(|row| row.map(|(key, _)| key.to_vec())).collect())
    }

    /// Rows whose key begins with `prefix` and is smaller than `before`, largest first: at most `max` stored parts.
    pub(super) fn before(&self, prefix: u8, before: Option<&[u8]>, max: usize) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.guarded(|| backward::largest(&self.db, prefix, before, max))
    }

    /// Writes rows in one batch, with what stands beside those of runs; `standing` with them says that everything up to
    /// there is in.
    pub(super) fn apply<'a>(
        &self,
        rows: impl Iterator<Item = (&'a RowKey, &'a Row)>,
        standing: Option<&Standing>,
        pace: &mut Pace,
    ) -> io::Result<()> {
        let mut batch = sled::Batch::default();
        let mut beside = Beside::default();
        for (key, row) in rows {
            pace.rows += 1;
            if let RowKey::Run(id) = key {
                beside.run(self, &mut batch, *id, row)?;
            }
            match row {
                Row::Gone => self.remove(&mut batch, key)?,
                row => put(&mut batch, key, &row.to_bytes()?)?,
            }
        }
        beside.finish(self, &mut batch)?;
        if let Some(standing) = standing {
            batch.insert(POSITION_KEY, standing.to_bytes());
        }
        self.guarded(|| self.db.apply_batch(batch))?;
        pace.batches += 1;
        if pace.is_over(standing) {
            *pace = Pace { at: standing.map_or(pace.at, |standing| standing.next), ..Pace::default() };
            self.flush()?;
        }
        Ok(())
    }

    /// Removes a row with all parts that it has or once had: they follow each other.
    fn remove(&self, batch: &mut sled::Batch, key: &RowKey) -> io::Result<()> {
        let mut stored = key.bytes();
        batch.remove(stored.as_slice());
        if key.has_parts() {
            for part in 1..=(PARTS_MAX - 1) as u8 {
                if let Some(number) = stored.last_mut() {
                    *number = part;
                }
                if !self.guarded(|| self.db.contains_key(&stored))? {
                    break;
                }
                batch.remove(stored.as_slice());
            }
        }
        Ok(())
    }

    /// Writes out what sled holds. Not durable by itself: see the marker.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.guarded(|| self.db.flush()).map(|_| ())
    }
}

/// Cuts a value into parts; a full last part is followed by an empty one, so that a shorter value never runs into the
/// parts of a longer one before it.
fn put(batch: &mut sled::Batch, key: &RowKey, value: &[u8]) -> io::Result<()> {
    let mut stored = key.bytes();
    if !key.has_parts() {
        batch.insert(stored, value);
        return Ok(());
    }
    let mut rest = value;
    loop {
        let (part, more) = rest.split_at(rest.len().min(VALUE_MAX));
        batch.insert(stored.as_slice(), part);
        if part.len() < VALUE_MAX {
            return Ok(());
        }
        rest = more;
        match stored.last_mut() {
            Some(number) if usize::from(*number) < PARTS_MAX - 1 => *number += 1,
            _ => return Err(io::Error::other(format!("checkpoints: a row of {} bytes is too long", value.len()))),
        }
    }
}

/// Gives them free. sled syncs once more then, and panics where it cannot.
pub(super) fn close(checkpoints: Arc<Checkpoints>) {
    if catch_unwind(AssertUnwindSafe(|| drop(checkpoints))).is_err() {
        tracing::warn!("the checkpoints did not close well; the next start reads what they miss");
    }
}

/// Makes everything in the folder durable: sled's flush alone is not.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_folder(&path)?;
        } else {
            open_plain(&path)?.sync_all()?;
        }
    }
    std::fs::File::open(dir)?.sync_all()
}

/// Refuses a folder with anything but files and folders in it: sled would wait for a pipe.
fn only_plain(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if !path.is_dir() {
            open_plain(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, Folded, FoldedFrom, Via};
    use crate::journal::fold::FoldRow;
    use crate::journal::rows::fold_row;
    use crate::time::Timestamp;

    #[test]
    fn what_few_rows_stand_for_is_there_after_a_kill() {
        let dir = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::open(&dir.path().join("a")).expect("opens");
        let mut pace = Pace::default();
        let mut copies = 0;
        // What a killed process leaves: the files as they are.
        let mut left = |what: &str| {
            copies += 1;
            let to = dir.path().join(copies.to_string());
            std::fs::create_dir(&to).expect("made");
            for file in ["conf", "db"] {
                std::fs::copy(dir.path().join("a").join(file), to.join(file)).expect(what);
            }
            Checkpoints::open(&to).expect("opens").standing().expect("reads").unwrap_or_default().next
        };
        let row = Row::Bytes(vec![1]);
        let mut apply = |next: Position| {
            let standing = Standing { next, ..Standing::default() };
            checkpoints.apply([(&RowKey::Generation(1), &row)].into_iter(), Some(&standing), &mut pace).expect("writes");
        };
        let at = |segment, offset| Position { segment, offset };
        apply(at(3, 900));
        assert_eq!(left("the first one"), at(3, 900), "what an open folded");
        apply(at(3, 1_000));
        assert!(left("a little more") <= at(3, 1_000));
        apply(at(3, 1_000 + FLUSH_BYTES));
        assert_eq!(left("much more"), at(3, 1_000 + FLUSH_BYTES));
        apply(at(4, 40));
        assert_eq!(left("another segment"), at(4, 40));
    }

    #[test]
    fn long_rows_are_cut_into_parts_and_shrink_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let checkpoints = Checkpoints::open(dir.path()).expect("opens");
        let key = RowKey::Folded(EventId(7));
        let row = |places: usize| {
            let from = |n: usize| FoldedFrom {
                source: "s".repeat(64).into(),
                via: Via::Poll,
                folder: Some(n as i64),
                count: 1,
                last: Timestamp::EPOCH,
            };
            let folded = Folded { count: 3, from: (0..places).map(from).collect() };
            FoldRow { folded, at: Position { segment: 1, offset: places as u32 } }
        };
        let mut pace = Pace::default();
        for places in [1, 100, 2, 50, 0] {
            let written = Row::Folded(row(places));
            checkpoints.apply([(&key, &written)].into_iter(), None, &mut pace).expect("writes");
            let value = checkpoints.get(&key).expect("reads").expect("is there");
            assert_eq!(fold_row(&value), Ok(row(places)));
            let parts = checkpoints.after(b'f', None, 999).expect("reads");
            assert!(parts.iter().all(|(_, part)| part.len() <= VALUE_MAX));
        }
        // Values that end exactly with a part are followed by an empty one.
        for length in [VALUE_MAX - 1, VALUE_MAX, VALUE_MAX + 1, 3 * VALUE_MAX] {
            let value = vec![7; length];
            let mut batch = sled::Batch::default();
            put(&mut batch, &key, &value).expect("fits");
            checkpoints.db.apply_batch(batch).expect("writes");
            assert_eq!(checkpoints.get(&key).expect("reads"), Some(value));
        }
        let mut batch = sled::Batch::default();
        assert!(put(&mut batch, &key, &vec![0; VALUE_MAX * PARTS_MAX]).is_err(), "a row that is too long is said to be");
    }
}
