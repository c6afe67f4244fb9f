//! The time and chance of the world, for the edges: decisions get `now` and jitter as arguments.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::time::Timestamp;

/// Where an edge reads the time. Cloning is cheap and shares the same time.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The system's wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands at `start` until [`Clock::set`] moves it; for tests and simulations.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(start.as_millis()))))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Some(manual) => Timestamp::from_millis(manual.load(Ordering::SeqCst)),
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
            None => Timestamp::from_jiff(jiff::Timestamp::now()),
        }
    }

    /// Moves a manual clock; a system clock stays as it is.
    pub fn set(&self, to: Timestamp) {
        if let Some(manual) = &self.0 {
            manual.store(to.as_millis(), Ordering::SeqCst);
        }
    }
}

/// A number in `0.0..1.0` from the operating system's randomness, for jitter.
#[must_use]
pub fn chance() -> f64 {
    let bits = getrandom::u64().unwrap_or(1 << 63);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
