//! The time and chance of the world, for the edges: decisions get `now` and jitter as arguments.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::time::Timestamp;

/// Where an edge reads the time. Cloning is cheap and shares the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<Manual>>);

/// A clock that somebody moves, in milliseconds.
#[derive(Debug)]
struct Manual {
    wall: AtomicI64,
    steady: AtomicI64,
}

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::set`] moves it; for tests and simulations.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(Manual { wall: AtomicI64::new(start.as_millis()), steady: AtomicI64::new(0) })))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(manual) => Timestamp::from_millis(manual.wall.load(Ordering::SeqCst)),
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
            None => Timestamp::from_jiff(jiff::Timestamp::now()),
        }
    }

    /// How long it has been running, from some moment on: no setting of the wall clock changes that.
    #[must_use]
    pub fn steady(&self) -> Duration {
        static BEGIN: OnceLock<Instant> = OnceLock::new();
        match &self.0 {
            Some(manual) => Duration::from_millis(manual.steady.load(Ordering::SeqCst).unsigned_abs()),
            None => BEGIN.get_or_init(Instant::now).elapsed(),
        }
    }

    /// Moves a manual clock; a system clock stays as it is. Forwards, as much time has passed.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            let before = manual.wall.swap(to.as_millis(), Ordering::SeqCst);
            manual.steady.fetch_add(to.as_millis().saturating_sub(before).max(0), Ordering::SeqCst);
        }
    }

    /// Has a manual clock show another time, as when somebody sets the clock of the machine: no time has passed.
    pub fn jump(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.wall.store(to.as_millis(), Ordering::SeqCst);
        }
    }
}

/// A number in `0.0..1.0` from the operating system's randomness, for jitter.
#[must_use]
pub fn chance() -> f64 {
    let bits = getrandom::u64().unwrap_or(1 << 63);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
