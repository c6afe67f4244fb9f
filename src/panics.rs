//! Work that outlives a panic: what looks after a source goes on, and the others do not notice.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::metric::PANICS;

/// How long work that panicked is left alone.
pub const PAUSE: Duration = Duration::from_secs(5);

/// What `work` gives; `None` when it panicked, which is counted. It is for work that begins anew from what is kept.
pub async fn outlived<F: Future>(work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    let outcome = std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    });
    let outcome = outcome.await;
    if outcome.is_none() {
        metrics::counter!(PANICS).increment(1);
    }
    outcome
}

/// Does `work`, and after each panic does it anew, once that was `told` and [`PAUSE`] is over.
pub async fn again<F: Future>(mut work: impl FnMut() -> F, told: impl Fn()) -> F::Output {
    loop {
        if let Some(output) = outlived(work()).await {
            return output;
        }
        told();
        tokio::time::sleep(PAUSE).await;
    }
}

/// Panics that tests ask for.
#[cfg(test)]
pub mod on_purpose {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    use std::time::Instant;

    /// By the name of the work: whether it panics the second time that it comes by, and when it came.
    static WATCHED: Mutex<BTreeMap<String, (bool, Vec<Instant>)>> = Mutex::new(BTreeMap::new());

    /// Watches work of this name.
    pub fn watch(name: &str, panics: bool) {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), (panics, Vec::new()));
    }

    /// When work that is watched came by.
    pub fn seen(name: &str) -> Vec<Instant> {
        WATCHED.lock().unwrap_or_else(PoisonError::into_inner).get(name).map(|(_, seen)| seen.clone()).unwrap_or_default()
    }

    /// Work of this name comes by.
    pub fn here(name: &str) {
        let panics = WATCHED.lock().unwrap_or_else(PoisonError::into_inner).get_mut(name).is_some_and(|(panics, seen)| {
            seen.push(Instant::now());
            *panics && seen.len() == 2
        });
        assert!(!panics, "a panic on purpose");
    }
}
