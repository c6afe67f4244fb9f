//! What is kept: the append-only journal (the truth) and the checkpoints folded from it (sled).
//!
//! ```text
//! <state>/store.json            marker: format, boot, closed or not      (marker.rs)
//! <state>/lock                  held by the process that has it open     (lock.rs)
//! <state>/journal/0000000001.seg …   segments                            (format.rs, codec.rs)
//! <state>/reserve               space for opening on a full disk        (reserve.rs)
//! <state>/checkpoints/          sled: where everything stands            (rows.rs)
//! <state>/prints/               fingerprints of sealed segments          (printfile.rs)
//! <state>/quarantine/           damaged bytes, kept aside                (repair.rs)
//! ```
//!
//! One thread writes (`writer.rs`): operations queue, a group is formed, written and synced, then readers see it and the
//! callers are answered. State is a fold of the records (`fold.rs`): changed rows lie in memory over the checkpoints and
//! are moved into them when nobody waits. Losing the checkpoints loses nothing.
//!
//! Knows nothing of HTTP, rules or Orchestrator: a rule generation is texts, a run is the fold of its facts.

mod ahead;
mod awaits;
mod backward;
mod carried;
mod carry;
mod checkpoints;
mod codec;
mod copies;
mod delivered;
mod drain;
mod dump;
#[cfg(test)]
mod dying;
mod events;
mod files;
mod fold;
mod format;
mod frames;
#[cfg(test)]
mod fuzz;
mod group;
mod hole;
mod hot;
mod index;
mod kept;
mod lock;
mod loss;
mod marker;
mod open;
mod order;
mod parcel;
mod printfile;
mod prints;
mod queue;
mod read;
mod rebuild;
mod recorded;
mod repair;
mod replayed;
mod reserve;
mod retention;
mod retire;
mod room;
mod routing;
mod rows;
mod runs;
mod scan;
mod segment;
mod shared;
mod sieve;
mod state;
mod stored;
mod sweep;
mod tally;
mod tellings;
#[cfg(test)]
mod tests;
mod texts;
mod timers;
mod told;
mod turns;
mod values;
mod verify;
mod words;
mod writer;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use crate::config::Retention;
use crate::event::{Event, EventId, RuleHash, RunId};
use crate::journal::codec::fact_bytes;
use crate::journal::events::Segments as _;
use crate::journal::files::Files;
use crate::journal::fold::Record;
use crate::journal::format::Kind;
use crate::journal::parcel::Parcel;
use crate::journal::queue::{Answer, Op};
use crate::journal::shared::Shared;
use crate::journal::told::Told;
use crate::runs::{Fact, Run};
use crate::time::Timestamp;

pub use dump::{Exported, export, import};
#[cfg(test)]
pub use dying::Dies;
pub(crate) use files::read_plain;
pub use hole::Loss;
pub use loss::rebuild;
pub use read::Reader;
pub use replayed::Replayed;
pub use routing::{Held, MetBy, ROUTINGS_MAX, Routing, Routings};
pub use verify::{Checked, Compared, check};
pub use words::{
    Accepted, AppendError, Damage, Delivery, EventQuery, Gauges, Health, KEPT_KEY_MAX, KEPT_VALUE_MAX, Kept, OpenError, OpenReport,
    Options, PAGE_BYTES_MAX, Page, Plan, RuleTexts, RunQuery, Space, Unrouted,
};

/// Places of losses are counted up to this many.
const LOSSES_MAX: usize = 10_000;

/// The journal, open. Cheap to clone; all verbs go to one writer thread.
///
/// When the last clone is dropped without [`Journal::close`], the writer ends without marking a clean end: the next open
/// replays what the checkpoints miss.
#[derive(Clone, Debug)]
pub struct Journal(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    told: Told,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Journal")
    }
}

impl Handle {
    fn join(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the journal's writer panicked");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.end("it was dropped");
        self.join();
    }
}

impl Journal {
    /// Opens or makes the store in `dir` (0700). Blocking: may take seconds after a crash.
    ///
    /// # Errors
    /// Locked, of another format, damaged, or refused by the file system.
    pub fn open(dir: &Path, options: Options) -> Result<(Self, OpenReport), OpenError> {
        Self::open_with(dir, options, Files::default())
    }

    fn open_with(dir: &Path, options: Options, files: Files) -> Result<(Self, OpenReport), OpenError> {
        let (shared, writer, report) = open::open(dir, options, files)?;
        let losses = kept::after(&shared.read(), Space::Loss, "", None, LOSSES_MAX);
        shared.write().losses = losses.map_or(0, |losses| losses.len() as u64);
        let thread = std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| OpenError::Io(format!("cannot start the journal's writer: {error}")))?;
        Ok((Self(Arc::new(Handle { shared, told: Told::default(), thread: Mutex::new(Some(thread)) })), report))
    }

    // ---- verbs that append; each returns after its fdatasync ----

    async fn ask<T>(&self, op: impl FnOnce(Answer<T>) -> Op) -> Result<T, AppendError> {
        let (answer, answered) = oneshot::channel();
        self.0.shared.queue.push(op(answer)).await?;
        // An answer that was dropped means that the writer ended with it in its hands.
        answered.await.unwrap_or_else(|_| Err(self.0.shared.queue.why()))
    }

    /// Keeps a delivery: decides what is a copy, gives ids, appends, syncs.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub fn accept(&self, delivery: Delivery) -> impl Future<Output = Result<Accepted, AppendError>> + Send {
        self.accept_unmet(delivery, 0)
    }

    /// As [`Journal::accept`], with the rule generation none of whose rules can meet any of the delivery's events: while that
    /// one is in force, the router need not read them. It is encoded at once, so that who waits holds little.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub fn accept_unmet(&self, delivery: Delivery, generation: u64) -> impl Future<Output = Result<Accepted, AppendError>> + Send {
        self.accept_parcel(Box::new(Parcel::of(delivery, generation, Vec::new())))
    }

    async fn accept_parcel(&self, parcel: Box<Parcel>) -> Result<Accepted, AppendError> {
        let mut parcel = self.ask(|answer| Op::Accept(parcel, answer)).await?;
        self.0.told.count(&parcel);
        Ok(std::mem::take(&mut parcel.accepted))
    }

    /// Keeps a delivery and values with it, in one group: a cursor is never ahead of its events. The delivery may have no
    /// changes.
    ///
    /// # Errors
    /// Full (also for a value over its limits), or ended; nothing was kept then.
    pub async fn accept_keeping(&self, delivery: Delivery, kept: Vec<Kept>) -> Result<Accepted, AppendError> {
        kept.iter().try_for_each(Kept::check)?;
        self.accept_parcel(Box::new(Parcel::of(delivery, 0, kept))).await
    }

    /// As [`Journal::accept_keeping`], with events that no rule is to run for.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub async fn accept_late(&self, delivery: Delivery, kept: Vec<Kept>) -> Result<Accepted, AppendError> {
        kept.iter().try_for_each(Kept::check)?;
        self.accept_parcel(Box::new(Parcel { late: true, ..Parcel::of(delivery, 0, kept) })).await
    }

    /// Records facts of a run in order, in one group.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn record(&self, run: RunId, facts: Vec<Fact>) -> Result<(), AppendError> {
        self.record_keeping(run, facts, Vec::new()).await
    }

    /// As [`Journal::record`], with values that are kept in the same group.
    ///
    /// # Errors
    /// Full (also for a value over its limits), or ended; nothing was kept then.
    pub async fn record_keeping(&self, run: RunId, facts: Vec<Fact>, kept: Vec<Kept>) -> Result<(), AppendError> {
        kept.iter().try_for_each(Kept::check)?;
        let with_bytes = |fact: Fact| Ok((Kind::Fact, fact_bytes(run, &fact).map_err(no_form)?, Record::Fact { run, fact }));
        let mut records = facts.into_iter().map(with_bytes).collect::<Result<Vec<_>, AppendError>>()?;
        records.extend(kept.into_iter().map(kept::kept_record));
        self.ask(|answer| Op::Records(records, answer)).await
    }

    /// Records facts of many runs, in order, in one group.
    ///
    /// # Errors
    /// Full, or ended; nothing was kept then.
    pub async fn record_all(&self, runs: Vec<(RunId, Vec<Fact>)>) -> Result<(), AppendError> {
        let facts = runs.into_iter().flat_map(|(run, facts)| facts.into_iter().map(move |fact| (run, fact)));
        let with_bytes =
            |(run, fact): (RunId, Fact)| Ok((Kind::Fact, fact_bytes(run, &fact).map_err(no_form)?, Record::Fact { run, fact }));
        let records = facts.map(with_bytes).collect::<Result<_, AppendError>>()?;
        self.ask(|answer| Op::Records(records, answer)).await
    }

    /// Records the texts of a new rule generation and gives its number; the same texts as the newest one give that
    /// one's number again.
    ///
    /// # Errors
    /// Full, or ended.
    pub async fn rules_loaded(&self, texts: RuleTexts) -> Result<u64, AppendError> {
        let (json, hash) = texts::to_json(&texts).map_err(no_form)?;
        {
            // Nothing needs to be written, so a full disk does not matter.
            let state = self.0.shared.read();
            let heads = &state.standing.heads;
            if heads.generation > 0 && heads.rules_hash == hash {
                return Ok(heads.generation);
            }
        }
        self.ask(|answer| Op::Rules { json, hash, answer }).await
    }

    /// What is kept how long, from now on; before it is called everything is kept. To call it again also says that the clock of
    /// the machine is right.
    pub fn retain(&self, limits: Retention) {
        let mut given = self.0.shared.retention();
        let times = given.map_or(0, |(_, times)| times);
        *given = Some((limits, times + 1));
    }

    // ---- wake-ups; they carry nothing that must not be lost ----

    /// Changes whenever new events are durable: the newest id.
    #[must_use]
    pub fn newest(&self) -> watch::Receiver<EventId> {
        self.0.shared.newest.subscribe()
    }

    /// Changes whenever runs were planned or a due time may have changed.
    #[must_use]
    pub fn due_changed(&self) -> watch::Receiver<u64> {
        self.0.shared.due.subscribe()
    }

    /// Changes whenever an event made a run due that awaits what it tells of.
    #[must_use]
    pub fn woken(&self) -> watch::Receiver<u64> {
        self.0.shared.woken.subscribe()
    }

    /// How it is.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Health> {
        self.0.shared.health.subscribe()
    }

    // ---- reading; blocking but short unless said otherwise ----

    /// The oldest events that the router has not seen and that rules of `generation` may meet, in order, at most `max`. Those
    /// that were accepted with this generation as one that cannot meet them are passed over; 0 passes none over.
    pub fn unrouted(&self, max: usize, generation: u64) -> io::Result<Unrouted> {
        let state = self.0.shared.read();
        let (through, ids) = state.backlog.first(max, generation);
        let mut files: Vec<events::OpenFile> = Vec::new();
        let mut recent = Vec::with_capacity(ids.len());
        for at in ids.iter().rev().map_while(|id| state.recent.get(*id)) {
            if files.last().is_none_or(|open| open.number != at.segment) {
                files.push(state.open(at.segment)?);
            }
            recent.push((files.len() - 1, at.offset));
        }
        drop(state);
        let cold = &ids[..ids.len() - recent.len()];
        let mut events: Vec<_> = events::by_ids(&self.segments(), cold)?.into_iter().map(Arc::new).collect();
        recent.reverse();
        for of_file in recent.chunk_by(|one: &(usize, u32), next| one.0 == next.0) {
            let offsets: Vec<u32> = of_file.iter().map(|(_, offset)| *offset).collect();
            // An event that is damaged holds up nothing behind it.
            delivered::read_each(&files[of_file[0].0], &offsets, |event| events.push(Arc::new(event)))?;
        }
        let mut hot = self.0.shared.hot();
        events.iter().for_each(|event| hot.push(Arc::clone(event)));
        Ok(Unrouted { through, events })
    }

    /// The segments for reading; the state is locked for each question only.
    fn segments(&self) -> impl events::Segments {
        events::Unlocked(|| self.0.shared.read())
    }

    /// Open runs whose time has come at `now`, earliest first, at most `max`, without those that `busy` names; and when
    /// the next one after them is due.
    pub fn due(&self, now: Timestamp, max: usize, busy: &dyn Fn(RunId) -> bool) -> io::Result<(Vec<Run>, Option<Timestamp>)> {
        runs::due(&self.0.shared.read(), now, max, busy)
    }

    /// An event with its fold counts.
    pub fn event(&self, id: EventId) -> io::Result<Option<Arc<Event>>> {
        if let Some(event) = self.0.shared.hot().get(id) {
            let folded = self.0.shared.read().folded(id)?;
            return Ok(Some(if event.folded == folded { event } else { Arc::new(Event { folded, ..Event::clone(&event) }) }));
        }
        let recent = {
            let state = self.0.shared.read();
            // What is not there any more is looked for elsewhere.
            let open = state.recent.get(id).and_then(|at| Some((state.open(at.segment).ok()?, at.offset)));
            open.map(|open| Ok::<_, io::Error>((open, state.folded(id)?))).transpose()?
        };
        match recent {
            Some(((open, offset), folded)) => Ok(Some(Arc::new(Event { folded, ..events::read_at(&open, offset)? }))),
            None => Ok(events::by_id(&self.segments(), id)?.map(Arc::new)),
        }
    }

    /// A run with the values of its steps, and what its attempts recorded.
    pub fn run(&self, id: RunId) -> io::Result<Option<Run>> {
        let state = self.0.shared.read();
        state.run_row(id)?.map(|row| recorded::whole(row, &|at| state.record(at))).transpose()
    }

    /// Events, newest last. May read many segments: call it off the runtime's threads.
    pub fn events(&self, query: &EventQuery) -> io::Result<Page<Event, EventId>> {
        events::list(&self.segments(), query, events::weighed)
    }

    /// As [`Self::events`], each as `tell` has it: of all but one only that is in memory.
    pub fn event_texts(&self, query: &EventQuery, mut tell: impl FnMut(&Event) -> String) -> io::Result<Page<String, EventId>> {
        events::list(&self.segments(), query, |event| words::measured(tell(&event)))
    }

    /// Runs, newest last. Call it off the runtime's threads.
    pub fn runs(&self, query: &RunQuery) -> io::Result<Page<Run, RunId>> {
        self.runs_as(query, |run| (run, 0))
    }

    /// As [`Self::runs`], each as `tell` has it: of all but one only that is in memory.
    pub fn run_texts(&self, query: &RunQuery, mut tell: impl FnMut(&Run) -> String) -> io::Result<Page<String, RunId>> {
        self.runs_as(query, |run| words::measured(tell(&run)))
    }

    fn runs_as<T>(&self, query: &RunQuery, tell: impl FnMut(Run) -> (T, usize)) -> io::Result<Page<T, RunId>> {
        if query.state.is_some_and(|state| self.0.shared.read().timers.has_none(state)) {
            // Else all rows would be read, and kept in memory by the store, to find that.
            return Ok(Page { items: Vec::new(), next: None });
        }
        // Runs of one event stand together: the search begins behind them and ends before them.
        let behind = query.event.map(|event| RunId { event: EventId(event.0.saturating_add(1)), rule: RuleHash(0), replay: 0 });
        let mut before = match (query.before, behind) {
            (Some(before), Some(behind)) => Some(before.min(behind)),
            (before, behind) => before.or(behind),
        };
        let mut page = Vec::<(RunId, rows::RunHead)>::new().into_iter();
        let mut more = true;
        let newest_first = std::iter::from_fn(|| {
            loop {
                if let Some((id, head)) = page.next() {
                    return query.event.is_none_or(|event| id.event >= event).then_some(Ok((id, head)));
                }
                if !more {
                    return None;
                }
                match self.0.shared.read().run_heads(before) {
                    Ok((heads, further)) => {
                        more = further.is_some();
                        before = further;
                        page = heads.into_iter();
                    }
                    Err(error) => {
                        more = false;
                        return Some(Err(error));
                    }
                }
            }
        });
        let row = |id| self.0.shared.read().run_row(id);
        runs::list(query, newest_first, row, &|at| self.0.shared.read().record(at), tell)
    }

    /// The texts of a rule generation.
    pub fn rule_texts(&self, generation: u64) -> io::Result<Option<RuleTexts>> {
        let state = self.0.shared.read();
        let Some(at) = state.generation_at(generation)? else { return Ok(None) };
        let (kind, payload) = state.record(at)?;
        texts::of_record(kind, &payload)
    }

    /// Numbers for metrics, kept up to date by the writer: never reads the store.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let state = self.0.shared.read();
        Gauges {
            oldest_open_run: state.timers.oldest(),
            dead: state.timers.dead(),
            dedup_since: state.dedup_since,
            unrouted: state.backlog.len(),
            bytes: state.bytes(),
            losses: state.losses,
            unreadable: runs::unreadable(&state).len() as u64,
            carried: state.summaries().map(|summary| summary.carried).sum(),
            oldest_event: state.summaries().find(|s| s.events > 0).map(|s| Timestamp::from_millis(s.received.0)),
            retention_halted: state.halted,
        }
    }

    /// Whether the writer answers: it went once around without failing. No space is an answer too.
    pub async fn ping(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        if self.0.shared.queue.push(Op::Records(Vec::new(), answer)).await.is_err() {
            return false;
        }
        matches!(answered.await, Ok(Ok(()) | Err(AppendError::Full(_))))
    }

    /// Stops taking operations, finishes those it has, applies and marks a clean end.
    pub fn close(&self) {
        self.0.shared.queue.close();
        self.0.join();
    }
}

/// Plans, facts and texts are made of types that always have a JSON form; if one has none, nothing was kept.
fn no_form(error: serde_json::Error) -> AppendError {
    AppendError::Ended(format!("a record has no form: {error}"))
}
