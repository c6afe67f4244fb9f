//! What is due next, read out of the checkpoints and what lies over them, before the timers run out of it.

use std::io;
use std::ops::Bound;

use crate::event::RunId;
use crate::journal::awaits::Awaits;
use crate::journal::codec::Undecodable;
use crate::journal::rows::{Row, RowKey, due_of};
use crate::journal::state::State;
use crate::journal::tally::{self, Due, due_key, due_of_key};
use crate::journal::timers::Timers;

/// Due times that are asked of sled at once.
const DUE_PAGE: usize = 4_096;

impl State {
    /// Fills the timers from the sums and due times of the checkpoints, and counts what is awaited; nothing lies over those yet.
    pub(super) fn load_timers(&mut self) -> io::Result<()> {
        let Some(checkpoints) = self.checkpoints.clone() else { return Ok(()) };
        self.timers = Timers::beside_checkpoints();
        self.awaits = Awaits::load(&checkpoints)?;
        tally::sums_each(&checkpoints, &mut |sum, count| self.timers.add(sum, i64::try_from(count).unwrap_or(i64::MAX)))?;
        self.read_on()
    }

    fn read_on(&mut self) -> io::Result<()> {
        while let Some(behind) = self.timers.runs_low() {
            let (found, through) = self.due_behind(behind)?;
            self.timers.read_on(found, through);
        }
        Ok(())
    }

    /// Due times behind one, and up to where these are all there are; `None`: there are no more.
    pub(super) fn due_behind(&self, behind: Due) -> io::Result<(Vec<Due>, Option<Due>)> {
        let (mut found, mut through) = (Vec::new(), None);
        if let Some(checkpoints) = self.rows_on_disk()? {
            let keys = checkpoints.keys(Bound::Excluded(due_key(&behind)), vec![tally::DUE + 1], DUE_PAGE)?;
            let stored = keys.iter().map(|key| due_of_key(key).ok_or(Undecodable)).collect::<Result<Vec<_>, _>>()?;
            through = stored.last().copied().filter(|_| stored.len() == DUE_PAGE);
            // What lies over the stored row of a run knows better when it is due.
            found.extend(stored.into_iter().filter(|(_, id)| self.overlay(&RowKey::Run(RunId::from_bytes(id))).is_none()));
        }
        let all = || RowKey::Run(RunId::from_bytes(&[0; 26]))..=RowKey::Run(RunId::from_bytes(&[u8::MAX; 26]));
        let below = self.draining.range(all()).filter(|(key, _)| !self.dirty.contains_key(*key));
        for (key, row) in self.dirty.range(all()).chain(below) {
            if let (RowKey::Run(id), Row::Run(row)) = (key, row)
                && let Some(due) = due_of(&row.run)
            {
                let due = (due, id.to_bytes());
                found.extend(Some(due).filter(|due| *due > behind && through.is_none_or(|through| *due <= through)));
            }
        }
        Ok((found, through))
    }
}
