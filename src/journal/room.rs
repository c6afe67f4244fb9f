//! Room for the next group: in the open segment, or in a new one; and what it means when there is none.

use std::sync::Arc;
use std::time::Instant;

use crate::journal::files::is_full;
use crate::journal::format::{GROUP_HEAD, Position};
use crate::journal::index::SegmentIndex;
use crate::journal::printfile;
use crate::journal::queue::Batch;
use crate::journal::segment::NextSegment;
use crate::journal::words::{AppendError, Health};
use crate::journal::writer::{Broken, FULL_RETRY, Writer};

impl Writer {
    /// Makes sure that a group of `bytes` can be written; `None` when there is room, else why there is none.
    pub(super) fn room(&mut self, bytes: u64) -> Result<Option<String>, Broken> {
        if let Some((until, _, why)) = &self.full
            && Instant::now() < *until
        {
            return Ok(Some(why.clone()));
        }
        if let Err(error) = self.reserve.repay(&self.files) {
            return self.no_room(&error, bytes).map(Some);
        }
        let made = if self.segment.is_full_for(bytes) { self.roll(bytes)? } else { self.segment.reserve(&self.files, bytes) };
        match made {
            Ok(()) => {
                if self.full.take().is_some() {
                    tracing::info!("there is space for the journal again");
                    self.shared.health.send_replace(Health::Good);
                }
                Ok(None)
            }
            Err(error) => self.no_room(&error, bytes).map(Some),
        }
    }

    /// Commits what lets other space go. Where there is none it may have the last there is: what stands ready in the open segment,
    /// beyond its limit too, and what is held back for opening.
    pub(super) fn commit_last(&mut self, batch: Batch) -> Result<(), Broken> {
        let bytes = batch.bytes + GROUP_HEAD as u64;
        if let Some(why) = self.room(bytes)?
            && !self.last_room(bytes)?
        {
            batch.ops.into_iter().for_each(|op| op.refuse(AppendError::Full(why.clone())));
            return Ok(());
        }
        self.write_group(batch)
    }

    fn last_room(&mut self, bytes: u64) -> Result<bool, Broken> {
        let mut made = self.segment.reserve_just(&self.files, bytes);
        if made.as_ref().is_err_and(is_full) {
            made = match self.reserve.give_up(&self.files) {
                Ok(true) => self.segment.reserve_just(&self.files, bytes),
                Ok(false) => return Ok(false),
                Err(error) => Err(error),
            };
        }
        match made {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(Broken(format!("cannot prepare space: {error}"))),
        }
    }

    /// No space is a state that may pass; everything else ends the journal.
    pub(super) fn no_room(&mut self, error: &std::io::Error, bytes: u64) -> Result<String, Broken> {
        if !is_full(error) {
            return Err(Broken(format!("cannot prepare space: {error}")));
        }
        let why = error.to_string();
        if self.full.is_none() {
            tracing::error!(why, "no space for the journal; trying again each second");
        }
        self.full = Some((Instant::now() + FULL_RETRY, bytes, why.clone()));
        self.shared.health.send_replace(Health::Full(why.clone()));
        Ok(why)
    }

    /// Goes on in a new segment. The inner error is one of preparing it: nothing has changed then.
    pub(super) fn roll(&mut self, bytes: u64) -> Result<std::io::Result<()>, Broken> {
        let journal = self.memory.journal.clone();
        let number = self.segment.head.number + 1;
        let prepared = NextSegment::prepare(&self.files, &journal, number, self.next_group + 1, self.segment_bytes, bytes);
        let next = match prepared {
            Ok(next) => next,
            Err(error) => return Ok(Err(error)),
        };
        let broken = |error: std::io::Error| Broken(format!("cannot begin segment {number}: {error}"));
        let newest = self.newest_record();
        self.segment.seal(&self.files, self.next_group, newest).map_err(broken)?;
        self.next_group += 1;
        let (sealed_end, sealed_head) = (self.segment.end as u32, self.segment.head);
        self.segment = next.take(&self.files, &journal).map_err(broken)?;
        let mut state = self.shared.write();
        let mut sealed = std::mem::replace(&mut state.open, SegmentIndex::new(number));
        sealed.summary.end = sealed_end;
        sealed.summary.last_group = self.next_group - 1;
        sealed.summary.sealed = newest.as_millis();
        state.open.summary.end = self.segment.end as u32;
        state.open_head = self.segment.head;
        state.open_file = Some(Arc::clone(&self.segment.file));
        state.keep_index(&sealed);
        state.standing.next = Position { segment: number, offset: self.segment.end as u32 };
        state.standing.group = self.next_group;
        drop(state);
        printfile::write(&self.files, &journal, sealed_head, &sealed.prints);
        Ok(Ok(()))
    }
}
