//! The memory of all bodies that are being received or kept, `limits.in_flight`.
//!
//! It is taken as bytes arrive, never for what a head merely declares: a stranger who announces much and sends nothing
//! holds nothing. One half is for bodies that arrive in pieces. They may all be half there when it is used up; then one at
//! a time may go over it to its end, the one that waited longest. The other half is for bodies that came whole, as nearly
//! all deliveries do: they wait for the journal only, never for a slow sender. All is bounded by `in_flight` plus one body.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::refusal::Refusal;

/// Bytes in the unit of the permits, rounded up; at least one.
fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX >> 3).clamp(1, u32::MAX >> 3)
}

/// The memory there is.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    /// Of each half.
    size: u32,
    whole: Arc<Semaphore>,
    pieces: Arc<Semaphore>,
    /// Who has it may go over.
    over: Arc<Semaphore>,
}

/// What one body has of it; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    permit: Option<OwnedSemaphorePermit>,
    over: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// Whether it goes over the memory there is: everybody else waits for it.
    pub(super) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    fn add(&mut self, more: Self) {
        match (&mut self.permit, more.permit) {
            (Some(permit), Some(more)) => permit.merge(more),
            (permit, more) => *permit = permit.take().or(more),
        }
        self.over = self.over.take().or(more.over);
    }

    fn kib(&self) -> u32 {
        self.permit.as_ref().map_or(0, |permit| u32::try_from(permit.num_permits()).unwrap_or(u32::MAX))
    }
}

impl Memory {
    /// Of `bytes`.
    pub(super) fn of(bytes: u64) -> Self {
        let size = kib(bytes / 2);
        let half = || Arc::new(Semaphore::new(size as usize));
        Self { size, whole: half(), pieces: half(), over: Arc::new(Semaphore::new(1)) }
    }

    /// This memory where it is of `bytes`, a new one otherwise.
    pub(super) fn resized(&self, bytes: u64) -> Self {
        if kib(bytes / 2) == self.size { self.clone() } else { Self::of(bytes) }
    }

    /// For a body of `bytes` that is there; waits for it until `give_up`, first come, first served.
    pub(super) async fn whole(&self, bytes: u64, give_up: Instant) -> Result<Held, Refusal> {
        let all = kib(bytes).min(self.size);
        let permit = match at_once(&self.whole, all)? {
            Some(permit) => permit,
            None => {
                let waiting = Box::pin(timeout_at(give_up, Arc::clone(&self.whole).acquire_many_owned(all)));
                waiting.await.map_err(|_| Refusal::Busy)?.map_err(ended)?
            }
        };
        Ok(Held { permit: Some(permit), over: None })
    }

    /// Has a body that arrives in pieces hold at least `bytes`; waits for it likewise.
    pub(super) async fn grow(&self, held: &mut Held, bytes: u64, give_up: Instant) -> Result<(), Refusal> {
        let more = kib(bytes).saturating_sub(held.kib());
        if more == 0 || held.is_over() {
            return Ok(());
        }
        let got = match at_once(&self.pieces, more)? {
            Some(permit) => Held { permit: Some(permit), over: None },
            None => Box::pin(self.piece(more, give_up)).await?,
        };
        held.add(got);
        Ok(())
    }

    /// Waits for so much more of what bodies in pieces have, or for going over it.
    async fn piece(&self, kib: u32, give_up: Instant) -> Result<Held, Refusal> {
        tokio::select! {
            biased;
            permit = Arc::clone(&self.pieces).acquire_many_owned(kib) => Ok(Held { permit: Some(permit.map_err(ended)?), over: None }),
            over = Arc::clone(&self.over).acquire_owned() => Ok(Held { permit: None, over: Some(over.map_err(ended)?) }),
            () = sleep_until(give_up) => Err(Refusal::Busy),
        }
    }
}

/// So much of a half, if it is there. Waits are seldom, and in boxes of their own: nobody else keeps room for them.
fn at_once(half: &Arc<Semaphore>, kib: u32) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    match Arc::clone(half).try_acquire_many_owned(kib) {
        Ok(permit) => Ok(Some(permit)),
        Err(TryAcquireError::NoPermits) => Ok(None),
        Err(TryAcquireError::Closed) => Err(Refusal::Ended),
    }
}

fn ended(_: AcquireError) -> Refusal {
    Refusal::Ended
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(50)
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_that_are_all_half_there_come_to_their_end_one_after_the_other() {
        let memory = Memory::of(8 << 10);
        let mut bodies: Vec<Held> = Vec::new();
        for _ in 0..4 {
            let mut held = Held::default();
            memory.grow(&mut held, 1024, soon()).await.expect("there is memory");
            bodies.push(held);
        }
        // All four want twice as much: nothing is left, and yet each gets there.
        let mut first = bodies.remove(0);
        memory.grow(&mut first, 2048, soon()).await.expect("goes over");
        assert!(first.is_over());
        memory.grow(&mut first, 1 << 20, soon()).await.expect("to its end");
        let mut second = bodies.remove(0);
        let waiting = memory.grow(&mut second, 2048, Instant::now() + Duration::from_secs(1)).await;
        assert!(matches!(waiting, Err(Refusal::Busy)), "only one at a time goes over");
        drop(memory.whole(2048, soon()).await.expect("bodies that came whole do not wait for those"));
        drop(first);
        memory.grow(&mut second, 2048, soon()).await.expect("there is memory again");
        assert!(!second.is_over(), "it needs nothing over what there is");
    }

    #[tokio::test]
    async fn what_is_dropped_is_given_back() {
        let memory = Memory::of(4 << 10);
        for _ in 0..5 {
            let mut held = Held::default();
            for bytes in [1, 1024, 1025, 2048] {
                memory.grow(&mut held, bytes, soon()).await.expect("there is memory");
            }
            assert_eq!((held.kib(), memory.pieces.available_permits()), (2, 0));
        }
        assert_eq!(memory.pieces.available_permits(), 2);
    }
}
