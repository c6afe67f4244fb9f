//! The writer thread: the only one that changes the journal, its state and its checkpoints.
//!
//! It takes what is waiting (the queue says what belongs into one group), forms one group, writes it, syncs once, lets
//! readers see it, answers all. While nobody waits it moves changed rows into the checkpoints. After a failed write or sync
//! it never writes again; when there is no space it refuses and tries again each second.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::journal::checkpoints::{Pace, sync_folder};
use crate::journal::drain::{Drain, LARGE_BATCH, SMALL_BATCH};
use crate::journal::files::{Files, is_full};
use crate::journal::fold::{Record, fold};
use crate::journal::format::{GROUP_HEAD, Position};
use crate::journal::group::{Formed, Group, Memory};
use crate::journal::marker::{self, Marker};
use crate::journal::queue::{Answers, Batch, Op, Reply, Taken};
use crate::journal::rebuild::forget_checkpoints;
use crate::journal::reserve::Reserve;
use crate::journal::retire::Retire;
use crate::journal::segment::OpenSegment;
use crate::journal::shared::{Farewell, Shared};
use crate::journal::state::State;
use crate::journal::words::{AppendError, Health};
use crate::metric::{JOURNAL_BATCH, JOURNAL_COMMIT};

/// Without space, this is how long it takes until the next try.
pub(super) const FULL_RETRY: Duration = Duration::from_secs(1);

/// Few changed rows wait this long for company before they are written to the checkpoints.
const DRAIN_DELAY: Duration = Duration::from_millis(500);

/// When nothing is asked for, this often is looked whether the segment is in its place and the checkpoints answer.
const IDLE_CHECK: Duration = Duration::from_secs(1);

/// This many changed rows are written as soon as nobody waits …
const DRAIN_ROWS: usize = 256;

/// … or after this long, a small batch at a time, when somebody always waits: an open after a crash has that much less to fold …
const BUSY_DRAIN: Duration = Duration::from_millis(30);

/// … and this many are written before anything else is taken.
const OVERLAY_ROWS_MAX: usize = 16_384;

/// The writer.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) files: Files,
    pub(super) clock: Clock,
    pub(super) dir: PathBuf,
    pub(super) boot_id: String,
    pub(super) segment: OpenSegment,
    pub(super) segment_bytes: u64,
    pub(super) next_group: u64,
    pub(super) memory: Memory,
    pub(super) drain: Option<Drain>,
    pub(super) pace: Pace,
    /// When rows were last moved into the checkpoints.
    pub(super) drained: Instant,
    pub(super) meters: Meters,
    /// The memory of the last group, for the next one.
    pub(super) spare: Formed,
    pub(super) retire: Retire,
    pub(super) reserve: Reserve,
    /// When to try again, and for how many bytes.
    pub(super) full: Option<(Instant, u64, String)>,
    /// When preparing space ahead failed last.
    pub(super) ahead_failed: Option<Instant>,
    /// The checkpoints failed: the next open rebuilds them.
    pub(super) distrusted: bool,
    /// Held for the life of the journal.
    pub(super) _lock: std::fs::File,
}

/// Handles of the writer's metrics.
pub(super) struct Meters {
    commit: metrics::Histogram,
    batch: metrics::Histogram,
}

impl Meters {
    /// The recorder must be installed before.
    pub(super) fn new() -> Self {
        Self { commit: metrics::histogram!(JOURNAL_COMMIT), batch: metrics::histogram!(JOURNAL_BATCH) }
    }
}

/// The journal cannot be written any more.
pub(super) struct Broken(pub(super) String);

impl Writer {
    /// Runs until the journal is closed, dropped or broken.
    pub(super) fn run(mut self) {
        let farewell = Farewell(Arc::clone(&self.shared));
        if let Err(Broken(why)) = self.serve() {
            tracing::error!(why, "the journal cannot be written; the process must end");
            farewell.0.queue.end(&why);
            farewell.0.health.send_replace(Health::Failed(why));
        }
    }

    fn serve(&mut self) -> Result<(), Broken> {
        loop {
            let (changed, failure) = {
                let state = self.shared.read();
                let failure = state.checkpoints.as_ref().and_then(|checkpoints| checkpoints.failure().map(str::to_owned));
                (state.dirty.len(), failure)
            };
            if let Some(failure) = failure.filter(|_| !self.distrusted) {
                self.lose_checkpoints(&std::io::Error::other(failure));
                continue;
            }
            if let Err(error) = self.look_ahead() {
                self.lose_checkpoints(&error);
                continue;
            }
            if changed > OVERLAY_ROWS_MAX && !self.distrusted {
                self.drain_all();
            } else if (self.drain.is_some() || changed >= DRAIN_ROWS) && self.drained.elapsed() >= BUSY_DRAIN {
                self.drain_step(SMALL_BATCH);
            }
            let limits = *self.shared.retention();
            if self.retire.presses(limits) {
                self.retire_step()?;
            }
            let wait = if self.full.is_some() {
                if self.retire.has_work() { Duration::ZERO } else { FULL_RETRY }
            } else if self.distrusted {
                IDLE_CHECK
            } else if self.drain.is_some() || changed >= DRAIN_ROWS || self.may_reserve_ahead() || self.retire.has_work() {
                Duration::ZERO
            } else if changed > 0 {
                DRAIN_DELAY
            } else {
                IDLE_CHECK
            };
            match self.shared.queue.take(wait) {
                Taken::Ops(batch) => self.commit(batch)?,
                Taken::Nothing => self.idle()?,
                Taken::Closed => return self.close(),
                Taken::Ended => return Ok(()),
            }
        }
    }

    /// Has the timers know what is due next, before they run out of it.
    fn look_ahead(&self) -> std::io::Result<()> {
        loop {
            let (found, through) = {
                let state = self.shared.read();
                let Some(behind) = state.timers.runs_low() else { return Ok(()) };
                state.due_behind(behind)?
            };
            self.shared.write().timers.read_on(found, through);
        }
    }

    fn may_reserve_ahead(&self) -> bool {
        self.segment.is_low() && self.ahead_failed.is_none_or(|failed| failed.elapsed() > FULL_RETRY)
    }

    /// Something that nobody waits for.
    fn idle(&mut self) -> Result<(), Broken> {
        self.segment.in_place().map_err(|error| Broken(error.to_string()))?;
        if let Some((_, bytes, _)) = self.full
            && self.room(bytes)?.is_some()
        {
            // What retention lets go is space.
            return if self.retire.has_work() { self.retire_step() } else { Ok(()) };
        }
        if self.may_reserve_ahead()
            && let Err(error) = self.segment.zero_ahead(&self.files)
        {
            if !is_full(&error) {
                return Err(Broken(format!("cannot prepare space: {error}")));
            }
            // What is prepared may do for a while; whoever needs more asks again.
            self.ahead_failed = Some(Instant::now());
        }
        self.drain_step(SMALL_BATCH);
        self.reserve.make_at_leisure(&self.files);
        if self.retire.has_work() {
            self.retire_step()?;
        }
        Ok(())
    }

    /// Forms, writes and syncs one group, shows it, answers.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Broken> {
        let refusal = match self.room(batch.bytes + GROUP_HEAD as u64) {
            Ok(None) => None,
            Ok(Some(why)) => Some((AppendError::Full(why), Ok(()))),
            Err(Broken(why)) => Some((AppendError::Ended(why.clone()), Err(Broken(why)))),
        };
        if let Some((refusal, end)) = refusal {
            batch.ops.into_iter().for_each(|op| op.refuse(refusal.clone()));
            return end;
        }
        self.write_group(batch)
    }

    /// The same where there is room.
    pub(super) fn write_group(&mut self, batch: Batch) -> Result<(), Broken> {
        let Batch { ops, runtime, .. } = batch;
        let spare = std::mem::take(&mut self.spare);
        let file = Arc::clone(&self.segment.file);
        let now = self.clock.now();
        let mut group = Group::begin(&mut self.memory, self.segment.head, file, self.segment.end, now, spare);
        group.fetch(ops.iter().filter_map(Op::parcel));
        let mut answers = Answers::with_capacity(ops.len());
        #[cfg(test)]
        let (mut drains, mut retires) = (Vec::new(), Vec::new());
        for op in ops {
            answers.push(match op {
                Op::Accept(mut parcel, answer) => {
                    group.accept(&mut parcel);
                    std::mem::take(&mut parcel.kept).into_iter().for_each(|kept| group.keep(kept));
                    Reply::Accepted(answer, parcel)
                }
                Op::Records(records, answer) => {
                    for (kind, payload, record) in records {
                        group.record(kind, &payload, record);
                    }
                    Reply::Recorded(answer)
                }
                Op::Rules { json, hash, answer } => Reply::Generation(answer, group.rules(&json, hash)),
                #[cfg(test)]
                Op::Drain(answer) => {
                    drains.push(answer);
                    continue;
                }
                #[cfg(test)]
                Op::Retire(answer) => {
                    retires.push(answer);
                    continue;
                }
            });
        }
        match group.finish(self.next_group) {
            Ok(formed) => {
                let started = Instant::now();
                // Never an answer for what went into a file that no later start finds.
                let written = self.segment.append(&self.files, &mut formed.frames.slices()).and_then(|()| self.segment.in_place());
                if let Err(error) = written {
                    let broken = format!("cannot write segment {}: {error}", self.segment.head.number);
                    answers.refuse(&AppendError::Ended(broken.clone()));
                    return Err(Broken(broken));
                }
                self.meters.commit.record(started.elapsed().as_secs_f64());
                self.next_group += 1;
                self.retire.last_group = Some(now);
                self.publish(formed);
            }
            Err(empty) => self.spare = empty,
        }
        answers.send(runtime);
        #[cfg(test)]
        for answer in drains {
            self.drain_all();
            drop(answer.send(Ok(())));
        }
        #[cfg(test)]
        for answer in retires {
            self.retire_all()?;
            drop(answer.send(Ok(())));
        }
        Ok(())
    }

    /// Lets readers see a group that is on disk.
    fn publish(&mut self, formed: Formed) {
        let mut newest = None;
        let mut due = false;
        let mut state = self.shared.write();
        let State { open, backlog, recent, .. } = &mut *state;
        formed.index(open);
        formed.events_to(self.segment.head.number, backlog, recent);
        open.summary.end = self.segment.end as u32;
        let events = formed.events();
        let mut failed = None;
        for (at, record) in &formed.records {
            match record {
                Record::Event { id, .. } => newest = Some(*id),
                Record::Plan(plan) => {
                    state.backlog.routed(plan.through);
                    due |= !plan.runs.is_empty();
                }
                Record::Fact { .. } => due = true,
                _ => {}
            }
            self.retire.saw(record);
            if let Err(error) = fold(&mut *state, *at, record) {
                failed = Some(error);
                break;
            }
        }
        let beside = std::mem::take(&mut state.beside);
        state.standing.next = Position { segment: self.segment.head.number, offset: self.segment.end as u32 };
        state.standing.group = self.next_group;
        state.dedup_since = self.memory.prints.since();
        drop(state);
        due |= !beside.is_empty();
        beside.iter().for_each(|run| self.retire.saw_beside(*run));
        self.spare = formed.emptied();
        if let Some(error) = failed {
            self.lose_checkpoints(&error);
        }
        if let Some(newest) = newest {
            self.meters.batch.record(events as f64);
            self.shared.newest.send_replace(newest);
        }
        if !beside.is_empty() {
            self.shared.woken.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        if due {
            self.shared.due.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
    }

    /// Writes one batch of changed rows to the checkpoints.
    pub(super) fn drain_step(&mut self, rows: usize) {
        if self.distrusted {
            return;
        }
        self.drained = Instant::now();
        let drain = match &mut self.drain {
            Some(drain) => drain,
            none => match Drain::begin(&mut self.shared.write()) {
                Some(drain) => none.insert(drain),
                None => return,
            },
        };
        match drain.step(rows, &mut self.pace) {
            Ok(false) => {}
            Ok(true) => {
                self.shared.write().draining = Arc::default();
                self.drain = None;
            }
            Err(error) => self.lose_checkpoints(&error),
        }
    }

    fn drain_all(&mut self) {
        while !self.distrusted && (self.drain.is_some() || !self.shared.read().dirty.is_empty()) {
            self.drain_step(LARGE_BATCH);
        }
    }

    /// The checkpoints failed: goes on with everything in memory, and has the next open rebuild them.
    fn lose_checkpoints(&mut self, error: &std::io::Error) {
        tracing::error!(%error, "the checkpoints failed; they are rebuilt at the next start");
        self.distrusted = true;
        self.drain = None;
        self.mark_distrusted();
        if let Err(error) = forget_checkpoints(&mut self.shared.write()) {
            tracing::error!(%error, "cannot fold the journal into memory; what is shown of runs may be old");
        }
    }

    /// Has the next open rebuild the checkpoints. What made them fail, a full disk first of all, may keep the marker from
    /// being written as well; to remove it needs no space and says the same.
    fn mark_distrusted(&self) {
        let marker = Marker { rebuild: true, ..Marker::now(&self.boot_id, false) };
        let marked = marker::write(&self.files, &self.dir, &marker).or_else(|_| marker::remove(&self.files, &self.dir));
        if let Err(error) = marked {
            tracing::error!(%error, "cannot mark the checkpoints for rebuilding");
        }
    }

    /// Everything is in; the checkpoints get the rest and the marker says so.
    fn close(&mut self) -> Result<(), Broken> {
        self.drain_all();
        if self.distrusted {
            return Ok(());
        }
        let checkpoints = self.shared.read().checkpoints.clone();
        let closed = checkpoints.map_or(Ok(()), |checkpoints| checkpoints.flush()).and_then(|()| {
            sync_folder(&self.dir.join("checkpoints"))?;
            marker::write(&self.files, &self.dir, &Marker::now(&self.boot_id, true))
        });
        if let Err(error) = closed {
            tracing::warn!(%error, "the journal is whole, but could not be marked as closed");
        }
        Ok(())
    }
}
