//! Changed rows on their way into the checkpoints.
//!
//! A drain takes all rows changed so far and writes them in batches; the last batch says up to where the journal is
//! folded in. An end in the middle is harmless: rows know their last record, so folding it again changes nothing.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use crate::journal::checkpoints::{Checkpoints, Pace};
use crate::journal::rows::{RowKey, Standing};
use crate::journal::state::{RowMap, State};

/// Rows in one batch while operations come: meanwhile the writer takes none, and nobody reads a stored row.
pub(super) const SMALL_BATCH: usize = 32;
/// Rows in one batch when all of them are to be written.
pub(super) const LARGE_BATCH: usize = 256;

/// A drain under way.
pub(super) struct Drain {
    rows: Arc<RowMap>,
    checkpoints: Arc<Checkpoints>,
    /// What the rows stand for; `None` when they are ahead of it.
    standing: Option<Standing>,
    done: Option<RowKey>,
}

impl Drain {
    /// Takes the changed rows; `None` when there are none or no checkpoints to put them in.
    pub(super) fn begin(state: &mut State) -> Option<Self> {
        let standing = state.standing.clone();
        Some(Self { standing: Some(standing), ..Self::ahead(state)? })
    }

    /// As [`Drain::begin`], in the middle of a segment that is folded: what the checkpoints say they stand for stays.
    pub(super) fn ahead(state: &mut State) -> Option<Self> {
        let checkpoints = state.checkpoints.clone()?;
        if state.dirty.is_empty() {
            return None;
        }
        state.draining = Arc::new(std::mem::take(&mut state.dirty));
        state.awaits.drain();
        let rows = Arc::clone(&state.draining);
        Some(Self { rows, checkpoints, standing: None, done: None })
    }

    /// Writes the next batch, so many rows; `true` when it was the last.
    pub(super) fn step(&mut self, rows: usize, pace: &mut Pace) -> io::Result<bool> {
        let start = self.done.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let batch: Vec<_> = self.rows.range::<RowKey, _>((start, Bound::Unbounded)).take(rows).collect();
        let last = batch.len() < rows;
        self.checkpoints.apply(batch.iter().copied(), self.standing.as_ref().filter(|_| last), pace)?;
        self.done = batch.last().map(|(key, _)| (*key).clone()).or(self.done.take());
        Ok(last)
    }

    /// Writes all of it.
    pub(super) fn finish(mut self, state: &mut State, pace: &mut Pace) -> io::Result<()> {
        while !self.step(LARGE_BATCH, pace)? {}
        state.draining = Arc::default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::rows::Row;

    /// Whoever hands in an operation meanwhile waits for one batch.
    #[test]
    fn rows_move_in_small_batches_and_the_last_one_says_how_far_they_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let checkpoints = Arc::new(Checkpoints::open(dir.path()).expect("opens"));
        let mut state = State::new(dir.path().into(), Some(Arc::clone(&checkpoints)), Standing::default());
        state.dirty.extend((0..100).map(|number| (RowKey::Generation(number), Row::Bytes(vec![1]))));
        let mut drain = Drain::begin(&mut state).expect("there are rows");
        let (mut pace, mut stored) = (Pace::default(), Vec::new());
        loop {
            let over = drain.step(SMALL_BATCH, &mut pace).expect("writes");
            stored.push(checkpoints.after(b'g', None, 1_000).expect("reads").len());
            assert_eq!(checkpoints.standing().expect("reads").is_some(), over);
            if over {
                break;
            }
        }
        assert_eq!(stored, [32, 64, 96, 100]);
    }
}
