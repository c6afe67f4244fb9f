//! Operations on their way to the writer thread.
//!
//! A group costs the writer and the disk much the same however few are in it. So operations do not only gather while the group
//! before is synced: under load they wait a moment longer for company, see [`GATHER`] (what PostgreSQL does with `commit_delay`
//! and `commit_siblings`).
//!
//! Bounded: who hands in an operation waits for a place first. When the writer ends, for whatever reason, everything
//! that waits is dropped, and its callers learn that the journal has ended.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{Semaphore, oneshot};

use crate::journal::fold::Record;
use crate::journal::format::{FRAME_HEAD, Kind};
use crate::journal::parcel::Parcel;
use crate::journal::words::AppendError;

/// Operations that may wait at once.
pub(super) const QUEUE_OPS_MAX: usize = 16_384;

/// Operations in one group.
const GROUP_OPS_MAX: usize = 1024;

/// Bytes in one group, unless a single operation needs more.
const GROUP_BYTES_MAX: u64 = 4 << 20;

/// After a group of at least so many operations the next one waits until as many are there …
const COMPANY_FROM: usize = 8;

/// … or so many, beside which a group costs little …
const COMPANY_ENOUGH: usize = 32;

/// … or this has passed since the writer took the last one. So nobody waits for company who comes alone, nor longer than a
/// sync takes.
const GATHER: Duration = Duration::from_micros(500);

/// With more than this many to answer, the writer leaves it to the runtime of those who wait.
const ANSWERS_SENT_HERE: usize = 4;

/// The longest operation: a segment and one of these are addressed with 32 bits.
const OP_BYTES_MAX: u64 = 1 << 30;

/// Where an answer goes.
pub(super) type Answer<T> = oneshot::Sender<Result<T, AppendError>>;

/// What the writer is asked to do.
pub(super) enum Op {
    /// Keep a delivery, and values with it; it comes back with what became of it.
    Accept(Box<Parcel>, Answer<Box<Parcel>>),
    /// Keep these records, in order, in one group.
    Records(Vec<(Kind, Vec<u8>, Record)>, Answer<()>),
    /// Keep rule texts unless they are the newest.
    Rules { json: Vec<u8>, hash: [u8; 32], answer: Answer<u64> },
    /// Move all changed rows into the checkpoints now, for tests that cannot wait until nobody waits.
    #[cfg(test)]
    Drain(Answer<()>),
    /// Drop all segments that may go now, for tests that cannot wait until it is time to look.
    #[cfg(test)]
    Retire(Answer<()>),
}

impl Op {
    /// At least as many bytes as its frames take.
    pub(super) fn bytes_at_most(&self) -> u64 {
        /// Fixed parts of rule texts, generously.
        const FIXED: usize = 256;
        let bytes = match self {
            Self::Accept(parcel, _) => parcel.bytes_at_most(),
            Self::Records(records, _) => records.iter().map(|(_, payload, _)| payload.len() + FRAME_HEAD).sum(),
            Self::Rules { json, .. } => json.len() + FIXED,
            #[cfg(test)]
            Self::Drain(_) | Self::Retire(_) => 0,
        };
        bytes as u64
    }

    /// The delivery that it has kept, if that is what it asks.
    pub(super) fn parcel(&self) -> Option<&Parcel> {
        match self {
            Self::Accept(parcel, _) => Some(parcel),
            _ => None,
        }
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: AppendError) {
        // Who asked may have gone; nothing was kept, so there is nobody else to tell.
        match self {
            Self::Accept(_, answer) => drop(answer.send(Err(error))),
            Self::Records(_, answer) => drop(answer.send(Err(error))),
            Self::Rules { answer, .. } => drop(answer.send(Err(error))),
            #[cfg(test)]
            Self::Drain(answer) | Self::Retire(answer) => drop(answer.send(Err(error))),
        }
    }
}

/// An answer that is due after the sync.
pub(super) enum Reply {
    Accepted(Answer<Box<Parcel>>, Box<Parcel>),
    Recorded(Answer<()>),
    Generation(Answer<u64>, u64),
}

impl Reply {
    /// Who asked may have gone; the facts are on disk all the same.
    pub(super) fn send(self, broken: Option<&AppendError>) {
        let broken = |()| broken.cloned().map_or(Ok(()), Err);
        match self {
            Self::Accepted(answer, parcel) => drop(answer.send(broken(()).map(|()| parcel))),
            Self::Recorded(answer) => drop(answer.send(broken(()))),
            Self::Generation(answer, generation) => drop(answer.send(broken(()).map(|()| generation))),
        }
    }
}

/// The answers of one group, while it is not on disk: whoever waits for one that is dropped learns that the journal has ended.
pub(super) struct Answers(Vec<Reply>);

impl Answers {
    /// With room for so many.
    pub(super) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    /// One more.
    pub(super) fn push(&mut self, reply: Reply) {
        self.0.push(reply);
    }

    /// Tells all of them that it went wrong.
    pub(super) fn refuse(self, broken: &AppendError) {
        self.0.into_iter().for_each(|reply| reply.send(Some(broken)));
    }

    /// Sends them: the group is on disk. Where there are many, a task in `runtime` does it: whoever waits there is woken for a
    /// fraction of what it costs from outside, and the writer goes on meanwhile.
    pub(super) fn send(self, runtime: Option<Handle>) {
        let due = Due(self.0);
        match runtime {
            Some(runtime) if due.0.len() > ANSWERS_SENT_HERE => drop(runtime.spawn(async move { drop(due) })),
            _ => drop(due),
        }
    }
}

/// Answers of a group that is on disk. They are sent when this is dropped: nobody is left waiting when a runtime ends with it.
struct Due(Vec<Reply>);

impl Drop for Due {
    fn drop(&mut self) {
        self.0.drain(..).for_each(|reply| reply.send(None));
    }
}

/// How the queue stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// Nothing more comes in; what is there is still done.
    Closing,
    /// Nothing is done any more, and why.
    Ended(String),
}

struct Inner {
    ops: VecDeque<Op>,
    /// The sum of their [`Op::bytes_at_most`].
    bytes: u64,
    /// Where one of those waits who handed them in, if that is a runtime whose tasks run by themselves.
    runtime: Option<Handle>,
    gate: Gate,
    last: Last,
    /// The writer sleeps until there are so many, and nobody woke it yet: that costs a system call, which most operations need
    /// not pay. 0 while it is awake.
    sleeps_until: usize,
}

/// The group that was taken last.
struct Last {
    taken: Instant,
    ops: usize,
}

impl Last {
    /// With how many operations the next group begins, and how long fewer wait for more.
    fn company(&self, now: Instant) -> (usize, Duration) {
        let left = (self.taken + GATHER).saturating_duration_since(now);
        if self.ops < COMPANY_FROM || left.is_zero() { (1, Duration::ZERO) } else { (self.ops.min(COMPANY_ENOUGH), left) }
    }
}

impl Inner {
    /// Whether so many operations are there, or as much as a group holds.
    fn has(&self, enough: usize) -> bool {
        self.ops.len() >= enough || self.bytes >= GROUP_BYTES_MAX
    }
}

/// The queue.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
    places: Semaphore,
}

/// Operations for one group.
pub(super) struct Batch {
    pub(super) ops: VecDeque<Op>,
    /// The sum of [`Op::bytes_at_most`].
    pub(super) bytes: u64,
    /// Where one of those waits who handed them in.
    pub(super) runtime: Option<Handle>,
}

/// What the writer gets.
pub(super) enum Taken {
    /// Operations for one group.
    Ops(Batch),
    /// Nothing came in time.
    Nothing,
    /// Nothing will come any more.
    Closed,
    /// The journal was dropped without being closed.
    Ended,
}

impl Queue {
    pub(super) fn new() -> Self {
        let inner = Inner {
            ops: VecDeque::new(),
            bytes: 0,
            runtime: None,
            gate: Gate::Open,
            last: Last { taken: Instant::now(), ops: 0 },
            sleeps_until: 0,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), places: Semaphore::new(QUEUE_OPS_MAX) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic of another thread leaves a queue that is whole: each change is one push, pop or assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands in an operation; waits while there is no place.
    pub(super) async fn push(&self, op: Op) -> Result<(), AppendError> {
        let bytes = op.bytes_at_most();
        if bytes > OP_BYTES_MAX {
            return Err(AppendError::Full(format!("{bytes} bytes at once are more than the {OP_BYTES_MAX} that it takes")));
        }
        match self.places.acquire().await {
            Ok(place) => place.forget(),
            Err(_) => return Err(self.why()),
        }
        let mut inner = self.lock();
        match &inner.gate {
            Gate::Open => {
                inner.ops.push_back(op);
                inner.bytes += bytes;
                if inner.runtime.is_none() {
                    inner.runtime = Handle::try_current().ok().filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
                }
                // Who completes what it sleeps for wakes it, and nobody else until it sleeps again.
                let wake = inner.sleeps_until > 0 && inner.has(inner.sleeps_until);
                if wake {
                    inner.sleeps_until = 0;
                }
                drop(inner);
                if wake {
                    self.changed.notify_one();
                }
                Ok(())
            }
            Gate::Closing => Err(AppendError::Ended("it was closed".to_owned())),
            Gate::Ended(why) => Err(AppendError::Ended(why.clone())),
        }
    }

    /// Why nothing is taken any more.
    pub(super) fn why(&self) -> AppendError {
        AppendError::Ended(match &self.lock().gate {
            Gate::Ended(why) => why.clone(),
            Gate::Open | Gate::Closing => "it was closed".to_owned(),
        })
    }

    /// Waits for operations, as long as `wait` says, and takes what belongs into one group.
    pub(super) fn take(&self, wait: Duration) -> Taken {
        let mut inner = self.lock();
        let mut waited = false;
        loop {
            if let Gate::Ended(_) = inner.gate {
                return Taken::Ended;
            }
            let (enough, wait) = match inner.gate {
                Gate::Open if !inner.ops.is_empty() => inner.last.company(Instant::now()),
                _ => (1, wait),
            };
            if inner.has(enough) {
                break;
            }
            if inner.ops.is_empty() {
                if inner.gate == Gate::Closing {
                    return Taken::Closed;
                }
                if waited {
                    return Taken::Nothing;
                }
                waited = true;
            }
            inner.sleeps_until = enough;
            inner = self.changed.wait_timeout(inner, wait).unwrap_or_else(PoisonError::into_inner).0;
            inner.sleeps_until = 0;
        }
        // All at once, where that is one group: others hand in more meanwhile, and wait for this lock.
        let room = VecDeque::with_capacity(inner.ops.len().min(GROUP_OPS_MAX));
        let (ops, total) = if inner.ops.len() <= GROUP_OPS_MAX && inner.bytes <= GROUP_BYTES_MAX {
            (std::mem::replace(&mut inner.ops, room), inner.bytes)
        } else {
            let (count, total) = first_group(inner.ops.iter().map(Op::bytes_at_most));
            (inner.ops.drain(..count).collect(), total)
        };
        inner.bytes -= total;
        inner.last = Last { taken: Instant::now(), ops: ops.len() };
        let runtime = inner.runtime.take();
        drop(inner);
        self.places.add_permits(ops.len());
        Taken::Ops(Batch { ops, bytes: total, runtime })
    }

    /// Nothing more comes in.
    pub(super) fn close(&self) {
        let mut inner = self.lock();
        if inner.gate == Gate::Open {
            inner.gate = Gate::Closing;
        }
        drop(inner);
        self.places.close();
        self.changed.notify_all();
    }

    /// Nothing is done any more; everything that waits is told so.
    pub(super) fn end(&self, why: &str) {
        let mut inner = self.lock();
        if !matches!(inner.gate, Gate::Ended(_)) {
            inner.gate = Gate::Ended(why.to_owned());
        }
        let waiting = std::mem::take(&mut inner.ops);
        inner.bytes = 0;
        drop(inner);
        self.places.close();
        self.changed.notify_all();
        for op in waiting {
            op.refuse(AppendError::Ended(why.to_owned()));
        }
    }
}

/// How many of the operations with so many bytes each belong into one group, and their bytes: one at least.
fn first_group(each: impl Iterator<Item = u64>) -> (usize, u64) {
    let (mut count, mut total) = (0, 0);
    for bytes in each.take(GROUP_OPS_MAX) {
        if count > 0 && total + bytes > GROUP_BYTES_MAX {
            break;
        }
        (count, total) = (count + 1, total + bytes);
    }
    (count, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_its_limits_and_one_operation_at_least() {
        let group = |each: &[u64]| first_group(each.iter().copied());
        assert_eq!(group(&[1, 2, 3]), (3, 6));
        assert_eq!(group(&[2 * GROUP_BYTES_MAX, 1]), (1, 2 * GROUP_BYTES_MAX));
        assert_eq!(group(&[1, GROUP_BYTES_MAX - 1, 1]), (2, GROUP_BYTES_MAX));
        assert_eq!(group(&[1; 2 * GROUP_OPS_MAX]), (GROUP_OPS_MAX, GROUP_OPS_MAX as u64));
    }

    fn ask(bytes: usize) -> Op {
        Op::Rules { json: vec![0; bytes], hash: [0; 32], answer: oneshot::channel().0 }
    }

    fn lengths(taken: Taken) -> Option<Vec<usize>> {
        let Taken::Ops(batch) = taken else { return None };
        assert_eq!(batch.bytes, batch.ops.iter().map(Op::bytes_at_most).sum::<u64>());
        Some(batch.ops.into_iter().map(|op| if let Op::Rules { json, .. } = op { json.len() } else { 0 }).collect())
    }

    #[tokio::test]
    async fn what_is_taken_comes_in_order_and_is_counted() {
        let queue = Queue::new();
        for bytes in [1, 3 << 20, 2, 2 << 20, 3] {
            queue.push(ask(bytes)).await.expect("a place");
        }
        let taken: Vec<_> = std::iter::from_fn(|| lengths(queue.take(Duration::ZERO))).collect();
        assert_eq!(taken, [vec![1, 3 << 20, 2], vec![2 << 20, 3]]);
        let inner = queue.lock();
        assert_eq!((inner.ops.len(), inner.bytes), (0, 0));
    }

    #[test]
    fn company_is_waited_for_after_a_group_and_not_for_long() {
        let taken = Instant::now();
        let company = |ops, later| Last { taken, ops }.company(taken + later);
        let (at_once, micros) = ((1, Duration::ZERO), Duration::from_micros);
        for alone in 0..COMPANY_FROM {
            assert_eq!(company(alone, Duration::ZERO), at_once);
        }
        for (ops, wanted) in [(COMPANY_FROM, COMPANY_FROM), (20, 20), (COMPANY_ENOUGH + 1, COMPANY_ENOUGH), (GROUP_OPS_MAX, COMPANY_ENOUGH)]
        {
            assert_eq!(company(ops, Duration::ZERO), (wanted, GATHER));
            assert_eq!(company(ops, GATHER - micros(1)), (wanted, micros(1)));
            assert_eq!(company(ops, GATHER), at_once);
            assert_eq!(company(ops, Duration::from_secs(60)), at_once);
        }
    }

    /// What ends the wait for company, with the operations that are there then.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_for_company_goes_when_it_is_complete_or_large_or_nobody_comes_any_more() {
        // The large one goes with the next group.
        let cases = [(8, vec![2; 7], false, 8), (32, vec![2, GROUP_BYTES_MAX as usize], false, 2), (8, vec![2, 2], true, 3)];
        for (last, more, closes, expected) in cases {
            let queue = std::sync::Arc::new(Queue::new());
            queue.lock().last = Last { taken: Instant::now() + Duration::from_secs(600), ops: last };
            queue.push(ask(1)).await.expect("a place");
            let writer = tokio::task::spawn_blocking({
                let queue = std::sync::Arc::clone(&queue);
                move || (lengths(queue.take(Duration::ZERO)), queue.lock().last.ops)
            });
            let asleep = async {
                while queue.lock().sleeps_until != last {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), asleep).await.expect("it waits for company");
            for bytes in more {
                assert_eq!(queue.lock().sleeps_until, last, "nobody wakes it for one more");
                queue.push(ask(bytes)).await.expect("a place");
            }
            if closes {
                queue.close();
            }
            let (taken, next) = writer.await.expect("ends");
            assert_eq!((taken.expect("a group").len(), next), (expected, expected));
            assert!(matches!(queue.take(Duration::ZERO), Taken::Closed) == closes);
        }
    }

    #[tokio::test]
    async fn a_group_that_nobody_joins_goes_by_itself() {
        let queue = Queue::new();
        queue.lock().last = Last { taken: Instant::now(), ops: 64 };
        queue.push(ask(1)).await.expect("a place");
        assert_eq!(lengths(queue.take(Duration::ZERO)), Some(vec![1]));
        assert!(matches!(queue.take(Duration::ZERO), Taken::Nothing));
    }
}
