//! What the writer thread shares with those who ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::config::Retention;
use crate::event::EventId;
use crate::journal::hot::Hot;
use crate::journal::queue::Queue;
use crate::journal::state::State;
use crate::journal::words::Health;

/// State, queue and wake-ups.
pub(super) struct Shared {
    pub(super) queue: Queue,
    pub(super) state: RwLock<State>,
    /// What is kept how long, and how often that was said; `None` keeps everything.
    pub(super) retention: Mutex<Option<(Retention, u64)>>,
    pub(super) hot: Mutex<Hot>,
    pub(super) newest: watch::Sender<EventId>,
    pub(super) due: watch::Sender<u64>,
    pub(super) woken: watch::Sender<u64>,
    pub(super) health: watch::Sender<Health>,
}

impl Shared {
    /// The state, for reading. A panic of the writer leaves rows that are not trusted any more, and nobody is answered
    /// after it; what readers see until the process ends is what was there.
    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept how long.
    pub(super) fn retention(&self) -> MutexGuard<'_, Option<(Retention, u64)>> {
        self.retention.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that were read lately.
    pub(super) fn hot(&self) -> MutexGuard<'_, Hot> {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells everybody when the thread ends, by whatever way, and gives the checkpoints free.
pub(super) struct Farewell(pub(super) Arc<Shared>);

impl Drop for Farewell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "its writer panicked".to_owned();
            self.0.queue.end(&why);
            self.0.health.send_replace(Health::Failed(why));
        } else {
            self.0.queue.end("it was closed");
        }
        self.0.write().close();
    }
}
