//! The time and chance of the world, for the edges: decisions get `now` and jitter as arguments.

mod steady;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use steady::{Off, Steady};

use crate::time::Timestamp;

/// Where an edge reads the time. Cloning is cheap and shares the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Manual>>);

/// A clock that somebody moves, in milliseconds.
#[derive(Debug)]
struct Manual {
    now: AtomicI64,
    steady: AtomicI64,
}

/// The time of this process, and the beginning of its monotonic time.
struct OfProcess {
    begun: Instant,
    steady: Mutex<Steady>,
}

impl OfProcess {
    fn get() -> &'static Self {
        static OF_PROCESS: OnceLock<OfProcess> = OnceLock::new();
        OF_PROCESS.get_or_init(|| Self { begun: Instant::now(), steady: Mutex::new(Steady::new(wall(), Duration::ZERO)) })
    }

    fn now(&self) -> Timestamp {
        let mut steady = self.steady.lock().unwrap_or_else(PoisonError::into_inner);
        let before = steady.off;
        let wall = wall();
        let now = steady.read(wall, self.begun.elapsed());
        let after = steady.off;
        drop(steady);
        if before != after {
            say(after, wall, now);
        }
        now
    }
}

/// The system's wall clock, as it is.
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
fn wall() -> Timestamp {
    Timestamp::from_jiff(jiff::Timestamp::now())
}

fn say(off: Off, wall: Timestamp, now: Timestamp) {
    match off {
        Off::No => tracing::info!(%wall, "the system's clock is followed again"),
        Off::CatchesUp => tracing::warn!(%wall, %now, "the system's clock was set: our time goes on from where it was and catches up"),
        Off::TooFar => tracing::error!(
            %wall, %now,
            "the system's clock jumped by more than 30 days and is not followed; set it right, or restart if it is right now"
        ),
    }
}

impl Clock {
    /// The system's wall clock without its jumps: when somebody sets it, this time goes on and catches up at double or half
    /// speed. It never goes back, and is the same in the whole process.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// The wall clock as it is now, jumps and all: only for stamps of others, which are made with their wall clocks.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            None => wall(),
            Some(_) => self.now(),
        }
    }

    /// A clock that stands at `start` until [`Clock::set`] moves it; for tests and simulations.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(Manual { now: AtomicI64::new(start.as_millis()), steady: AtomicI64::new(0) })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(manual) => Timestamp::from_millis(manual.now.load(Ordering::SeqCst)),
            None => OfProcess::get().now(),
        }
    }

    /// Has a system clock go on from `last`, a time that was given out before a restart, where the wall clock was set back
    /// since.
    pub fn not_before(&self, last: Timestamp) {
        if self.0.is_none() {
            OfProcess::get().steady.lock().unwrap_or_else(PoisonError::into_inner).not_before(last);
        }
    }

    /// What the machine's clock shows, with its jumps: for telling whether it is to be believed.
    #[must_use]
    pub fn shown(&self) -> Timestamp {
        if self.0.is_some() { self.now() } else { wall() }
    }

    /// How long it has been running, from some moment on: no setting of the machine's clock changes that.
    #[must_use]
    pub fn steady(&self) -> Duration {
        match &self.0 {
            Some(manual) => Duration::from_millis(manual.steady.load(Ordering::SeqCst).unsigned_abs()),
            None => OfProcess::get().begun.elapsed(),
        }
    }

    /// Moves a manual clock; a system clock stays as it is. Forwards, as much time has passed.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            let before = manual.now.swap(to.as_millis(), Ordering::SeqCst);
            manual.steady.fetch_add(to.as_millis().saturating_sub(before).max(0), Ordering::SeqCst);
        }
    }

    /// Has a manual clock show another time, as when somebody sets the clock of the machine: no time has passed.
    pub fn jump(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.now.store(to.as_millis(), Ordering::SeqCst);
        }
    }
}

/// A number in `0.0..1.0` from the operating system's randomness, for jitter.
#[must_use]
pub fn chance() -> f64 {
    let bits = getrandom::u64().unwrap_or(1 << 63);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
