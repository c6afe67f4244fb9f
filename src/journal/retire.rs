//! Dropping old segments, in slices between groups: what is still needed of the oldest one is written again, a record says that
//! it is not needed any more, its rows leave the checkpoints, its file goes.
//!
//! Every step may be cut off and is done again after the next open. The record comes after all that is carried, so what a
//! journal is folded to does not depend on whether the file is still there; the file goes only when checkpoints that were
//! flushed know of the record.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::ops::Bound;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::config::Retention;
use crate::event::{EventId, RunId};
use crate::journal::carried::Dropped;
use crate::journal::carry::{Carry, Records};
use crate::journal::drain::SMALL_BATCH;
use crate::journal::files::is_full;
use crate::journal::fold::Record;
use crate::journal::format::Kind;
use crate::journal::printfile;
use crate::journal::queue::{Batch, Op};
use crate::journal::retention::{self, ClockWatch, Doubt, Held};
use crate::journal::rows::RowKey;
use crate::journal::scan::{segment_numbers, segment_path};
use crate::journal::words::AppendError;
use crate::journal::writer::{Broken, Writer};
use crate::time::{Timestamp, format_duration};

/// How often is looked whether something may go.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// While others wait, so much time lies between two slices.
const GAP: Duration = Duration::from_millis(5);
/// How long one slice may take, as far as it can be told before.
const SLICE: Duration = Duration::from_millis(2);
/// After a failure, so much time until it is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(30);

/// Where retention stands.
#[derive(Default)]
pub(super) struct Retire {
    /// The limits in force and how often they were given; `None` keeps everything.
    limits: Option<(Retention, u64)>,
    watch: Option<ClockWatch>,
    doubt: Option<Doubt>,
    /// The size of segments unless `size` asks for smaller ones.
    usual_bytes: Option<u64>,
    phase: Phase,
    /// A segment went, and the next one may have to go as well: it is looked again at once.
    again: bool,
    /// Runs that changed while their segment is on its way out: looked at once more before it goes.
    touched: BTreeSet<RunId>,
    last_slice: Option<Instant>,
    /// When the last group was written.
    pub(super) last_group: Option<Timestamp>,
    /// Not before this.
    pause: Option<Instant>,
}

#[derive(Default)]
enum Phase {
    #[default]
    Rest,
    Carry(Carry),
    Sweep(Sweep),
    /// So many drains until the checkpoints know that the rows are gone.
    Settle(u8),
    Remove,
}

/// Which rows are swept next.
enum Sweep {
    Runs(Option<RunId>),
    Names(Names, Bound<RowKey>),
    Segments,
}

#[derive(Clone, Copy)]
enum Names {
    Copies,
    Carried,
    Generations,
}

impl Retire {
    /// Whether there is something to do at once, when nobody waits.
    pub(super) fn has_work(&self) -> bool {
        !self.rests() && self.pause.is_none_or(|until| until <= Instant::now())
    }

    /// Whether a slice is due although others wait: also as soon as other limits are `given`.
    pub(super) fn presses(&self, given: Option<(Retention, u64)>) -> bool {
        // Tests say when it is looked.
        if cfg!(test) && self.rests() {
            return false;
        }
        let gap = match self.rests() {
            true if given != self.limits => Duration::ZERO,
            true => LOOK_EVERY,
            false => GAP,
        };
        self.pause.is_none_or(|until| until <= Instant::now()) && self.last_slice.is_none_or(|last| last.elapsed() >= gap)
    }

    fn rests(&self) -> bool {
        matches!(self.phase, Phase::Rest) && !self.again
    }

    /// A record was written: its runs may need another look.
    pub(super) fn saw(&mut self, record: &Record) {
        let Phase::Carry(carry) = &self.phase else { return };
        match record {
            Record::Plan(plan) => self.touched.extend(plan.runs.iter().map(|run| run.id).filter(|id| id.event < carry.bound)),
            Record::Fact { run, .. } if run.event < carry.bound => drop(self.touched.insert(*run)),
            _ => {}
        }
    }

    /// The row of a run changed by a record of another one.
    pub(super) fn saw_beside(&mut self, run: RunId) {
        if let Phase::Carry(carry) = &self.phase
            && run.event < carry.bound
        {
            self.touched.insert(run);
        }
    }
}

impl Writer {
    /// One slice of work: steps that write nothing follow each other for a moment.
    pub(super) fn retire_step(&mut self) -> Result<(), Broken> {
        let begun = Instant::now();
        let group = self.next_group;
        loop {
            self.one_step()?;
            self.retire.last_slice = Some(Instant::now());
            if !self.retire.has_work() || self.next_group != group || begun.elapsed() >= SLICE {
                return Ok(());
            }
        }
    }

    fn one_step(&mut self) -> Result<(), Broken> {
        let done = match mem::take(&mut self.retire.phase) {
            Phase::Rest => self.look(),
            Phase::Carry(carry) => self.carry(carry),
            Phase::Sweep(sweep) => self.sweep(sweep).map(Ok),
            Phase::Settle(drains) => self.settle(drains).map(Ok),
            Phase::Remove => self.remove().map(|()| {
                self.retire.again = true;
                Ok(Phase::Rest)
            }),
        };
        match done {
            Ok(phase) => self.retire.phase = phase?,
            Err(error) => {
                tracing::error!(%error, "retention cannot go on; it is tried again");
                // Without space others wait for what it lets go.
                let pause = if self.full.is_some() { LOOK_EVERY } else { AFTER_FAILURE };
                self.retire.pause = Some(Instant::now() + pause);
            }
        }
        Ok(())
    }

    /// When the newest record of the open segment was written; after a start without one since, when its newest event was received.
    pub(super) fn newest_record(&self) -> Timestamp {
        let event = self.shared.read().open.summary.received.1;
        let event = (event > 0).then(|| Timestamp::from_millis(event));
        self.retire.last_group.max(event).unwrap_or_else(|| self.clock.now())
    }

    /// Looks whether something may go.
    fn look(&mut self) -> io::Result<Result<Phase, Broken>> {
        self.retire.again = false;
        let (now, shown, steady) = (self.clock.now(), self.clock.shown(), self.clock.steady());
        let (given, newest, leftover, oldest, held, routed, open_since) = {
            let state = self.shared.read();
            let given = *self.shared.retention();
            let first = state.standing.heads.first;
            let oldest = state.sealed.first().copied();
            let newest = state.sealed.iter().map(|s| s.received.1.max(s.sealed)).max().unwrap_or(i64::MIN);
            let carried = state.summaries().map(|s| s.carried).sum();
            let waits = state.backlog.oldest();
            let routed = oldest.and_then(|s| s.ids).is_none_or(|(_, last)| waits.is_none_or(|waits| waits > last));
            let open = state.open.summary;
            (given, newest.max(open.received.1), first, oldest, Held { bytes: state.bytes(), carried }, routed, open.received.0)
        };
        let newest = (newest > 0).then(|| Timestamp::from_millis(newest));
        let watch = self.retire.watch.get_or_insert_with(|| ClockWatch::begin(shown, steady, newest));
        let Some((limits, times)) = given else { return Ok(Ok(Phase::Rest)) };
        if self.retire.limits.is_some_and(|(_, known)| known != times) {
            // Whoever reloads after the alarm says that the time is right.
            watch.believe(shown, steady);
        }
        self.retire.limits = Some((limits, times));
        let doubt = watch.look(shown, steady);
        self.tell_doubt(doubt);
        let usual = *self.retire.usual_bytes.get_or_insert(self.segment_bytes);
        self.segment_bytes = retention::segment_bytes(&limits, usual);
        self.segment.limit_to(self.segment_bytes);
        if segment_numbers(&self.memory.journal)?.first().is_some_and(|number| *number < leftover) {
            return Ok(Ok(Phase::Sweep(Sweep::Runs(None))));
        }
        let believed = doubt.is_none().then_some(now);
        let is_old = believed.is_some_and(|now| open_since < now.minus(retention::seal_after(&limits)).as_millis());
        // Nothing of it could go before the next record otherwise.
        if is_old || self.segment.is_full_for(0) {
            match self.roll(0) {
                Ok(Ok(())) => {}
                // Without space it waits: nothing needs the new segment now.
                Ok(Err(error)) if is_full(&error) => {}
                Ok(Err(error)) => return Ok(Err(Broken(format!("cannot prepare a segment: {error}")))),
                Err(broken) => return Ok(Err(broken)),
            }
        }
        let goes = oldest.filter(|oldest| routed && retention::may_go(&limits, oldest, held, believed));
        Ok(Ok(goes.map_or(Phase::Rest, |oldest| {
            let bound = self.shared.read();
            let bound = bound.first_behind(oldest.number).unwrap_or(EventId(bound.standing.heads.newest.0.saturating_add(1)));
            self.retire.touched.clear();
            Phase::Carry(Carry::new(oldest.number, bound, retention::dead_before(&limits, believed)))
        })))
    }

    /// Says once when the clock is in doubt, and when it is not any more.
    fn tell_doubt(&mut self, doubt: Option<Doubt>) {
        let before = mem::replace(&mut self.retire.doubt, doubt);
        self.shared.write().halted = doubt.is_some();
        match (before, doubt) {
            (Some(Doubt::Jumped(_)), Some(Doubt::Jumped(_))) | (Some(Doubt::Settling(_)), Some(Doubt::Settling(_))) | (None, None) => {}
            (_, Some(Doubt::Jumped(millis))) => {
                let by = format_duration(Duration::from_secs(millis.unsigned_abs() / 1000));
                let way = if millis > 0 { "forward" } else { "back" };
                tracing::error!(
                    "the clock of the machine jumped {way} by {by}: nothing is removed by age until it is set right; if it is right now, reload"
                );
            }
            (_, Some(Doubt::Settling(old))) => tracing::warn!(
                "the newest record is {} old: nothing is removed by age for an hour, in case the clock is wrong; if it is right, reload",
                format_duration(Duration::from_secs(old.as_secs()))
            ),
            (Some(_), None) => tracing::info!("the clock is believed again"),
        }
    }

    /// Writes a slice of what is needed again; after the last one, that the segment is not needed any more.
    fn carry(&mut self, mut carry: Carry) -> io::Result<Result<Phase, Broken>> {
        let records = carry.slice(&self.shared.read(), &mut self.retire.touched)?;
        if !records.is_empty() {
            return Ok(self.write_again(records).map(|written| if written { Phase::Carry(carry) } else { Phase::Carry(carry.anew()) }));
        }
        if !carry.is_done() {
            return Ok(Ok(Phase::Carry(carry)));
        }
        let dropped = {
            let state = self.shared.read();
            let oldest = state.first_behind(carry.through).unwrap_or(EventId(0));
            let heads = &state.standing.heads;
            let (newest, routed) = (heads.newest, heads.routed);
            Dropped { through: carry.through, oldest, newest, routed, events: state.events_behind(carry.through) }
        };
        let record = (Kind::Dropped, dropped.to_bytes(), Record::Dropped(dropped.clone()));
        Ok(self.write_again(vec![record]).map(|written| {
            if !written {
                return Phase::Carry(carry);
            }
            self.let_go(&dropped);
            tracing::info!(segment = dropped.through, carried = carry.carried, "a segment is not needed any more");
            metrics::counter!(crate::metric::SEGMENTS_DROPPED).increment(1);
            Phase::Sweep(Sweep::Runs(None))
        }))
    }

    /// Writes records in a group of their own; `false` when there is no space now.
    fn write_again(&mut self, records: Records) -> Result<bool, Broken> {
        let (answer, mut answered) = oneshot::channel();
        let op = Op::Records(records, answer);
        let bytes = op.bytes_at_most();
        self.commit_last(Batch { ops: [op].into(), bytes, runtime: None })?;
        match answered.try_recv() {
            Ok(Ok(())) => Ok(true),
            Ok(Err(AppendError::Full(_))) => {
                self.retire.pause = Some(Instant::now() + LOOK_EVERY);
                Ok(false)
            }
            Ok(Err(AppendError::Ended(why))) => Err(Broken(why)),
            Err(_) => Err(Broken("a group was not answered".to_owned())),
        }
    }

    /// A segment is gone for everybody: what the writer holds of it leaves.
    fn let_go(&mut self, dropped: &Dropped) {
        let mut state = self.shared.write();
        let since = state.summaries().find(|summary| summary.events > 0).map(|summary| summary.received.0);
        self.memory.prints.forget(dropped.through, since.map(Timestamp::from_millis));
        state.dedup_since = self.memory.prints.since();
        drop(state);
        if self.memory.last_read.as_ref().is_some_and(|(number, ..)| *number <= dropped.through) {
            self.memory.last_read = None;
        }
        self.shared.hot().forget_before(if dropped.oldest == EventId(0) { EventId(u128::MAX) } else { dropped.oldest });
    }

    /// Sweeps a page of rows that are not needed any more.
    fn sweep(&mut self, sweep: Sweep) -> io::Result<Phase> {
        let mut guard = self.shared.write();
        let state = &mut *guard;
        let heads = &state.standing.heads;
        let bound = if heads.oldest == EventId(0) { EventId(heads.newest.0.saturating_add(1)) } else { heads.oldest };
        let first = heads.first;
        Ok(match sweep {
            Sweep::Runs(after) => {
                let (runs, next) = state.runs_before(after, bound)?;
                for (id, base, head) in runs {
                    if !state.is_needed(base) {
                        state.changed(id, Some(&head), None);
                        state.forget(RowKey::Run(id));
                    }
                }
                match next {
                    Some(next) => Phase::Sweep(Sweep::Runs(Some(next))),
                    None => Phase::Sweep(Sweep::Names(Names::Copies, Bound::Included(RowKey::Folded(EventId(0))))),
                }
            }
            Sweep::Names(kind, after) => {
                let end = match kind {
                    Names::Copies => RowKey::Folded(bound),
                    Names::Carried => RowKey::Carried(EventId(u128::MAX)),
                    Names::Generations => RowKey::Generation(u64::MAX),
                };
                let (names, next) = state.names_between(after, &end)?;
                for name in names {
                    let needed = match &name {
                        RowKey::Folded(id) | RowKey::Carried(id) => state.carried_at(*id)?.is_some(),
                        RowKey::Generation(generation) => state.generation_at(*generation)?.is_some(),
                        _ => true,
                    };
                    if !needed {
                        state.forget(name);
                    }
                }
                Phase::Sweep(match (next, kind) {
                    (Some(next), _) => Sweep::Names(kind, Bound::Excluded(next)),
                    (None, Names::Copies) => Sweep::Names(Names::Carried, Bound::Included(RowKey::Carried(EventId(0)))),
                    (None, Names::Carried) => Sweep::Names(Names::Generations, Bound::Included(RowKey::Generation(0))),
                    (None, Names::Generations) => Sweep::Segments,
                })
            }
            Sweep::Segments => {
                for number in segment_numbers(&state.journal)?.into_iter().take_while(|number| *number < first) {
                    for n in 0..=u16::MAX {
                        if state.bytes_row(&RowKey::Index(number, n))?.is_none() {
                            break;
                        }
                        state.forget(RowKey::Index(number, n));
                    }
                    state.forget(RowKey::Segment(number));
                }
                // A drain that is under way does not have all of it.
                Phase::Settle(if self.drain.is_some() { 2 } else { 1 })
            }
        })
    }

    /// Waits until the checkpoints have it, and have it on disk.
    fn settle(&mut self, drains: u8) -> io::Result<Phase> {
        if !self.distrusted {
            let busy = self.drain.is_some() || !self.shared.read().dirty.is_empty();
            if drains > 0 && busy {
                self.drain_step(SMALL_BATCH);
                let ended = self.drain.is_none();
                return Ok(Phase::Settle(if ended { drains - 1 } else { drains }));
            }
            let checkpoints = self.shared.read().checkpoints.clone();
            if let Some(checkpoints) = checkpoints {
                checkpoints.flush()?;
            }
        }
        Ok(Phase::Remove)
    }

    /// Removes the files of segments that are not needed any more.
    fn remove(&mut self) -> io::Result<()> {
        let first = self.shared.read().standing.heads.first;
        let journal = self.memory.journal.clone();
        for number in segment_numbers(&journal)?.into_iter().take_while(|number| *number < first) {
            printfile::remove(&self.files, &journal, number)?;
            self.files.remove(&segment_path(&journal, number))?;
        }
        self.files.sync_dir(&journal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Writer {
        /// Until nothing may go any more.
        pub(in crate::journal) fn retire_all(&mut self) -> Result<(), Broken> {
            loop {
                self.retire.pause = None;
                self.retire_step()?;
                if matches!(self.retire.phase, Phase::Rest) {
                    // One more look: the first segment that is left may go as well.
                    self.retire_step()?;
                    if matches!(self.retire.phase, Phase::Rest) {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Otherwise at most one segment a second goes, however much comes in.
    #[test]
    fn it_is_looked_again_at_once_when_a_segment_went() {
        let mut retire = Retire { last_slice: Some(Instant::now()), ..Retire::default() };
        assert!(!retire.has_work());
        retire.again = true;
        assert!(retire.has_work());
        retire.pause = Some(Instant::now() + AFTER_FAILURE);
        assert!(!retire.has_work() && !retire.presses(None));
    }
}
