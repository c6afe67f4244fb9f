//! What the admin API reads of the journal: off the runtime's threads, and a few at once. A page may hold many megabytes, in several
//! forms on its way; without a bound, clients that ask together would decide how much memory there is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::routes::COME_AGAIN;
use crate::event::RunId;
use crate::http::server::Problem;
use crate::journal::Journal;
use crate::runs::Run;

/// Reads at once; others wait …
pub const READS_MAX: usize = 4;
/// … so long.
pub const READ_WAIT: Duration = Duration::from_secs(30);

/// The journal, and the places of those who read it.
#[derive(Clone)]
pub(super) struct Reads {
    pub(super) journal: Journal,
    pub(super) places: Arc<Semaphore>,
}

/// The journal, for one who has a place: what is written in between is read again without waiting once more.
pub(super) struct Reading {
    pub(super) journal: Journal,
    place: Arc<OwnedSemaphorePermit>,
}

impl Reads {
    /// A place, when there is one.
    ///
    /// # Errors
    /// Others read all the time.
    pub(super) async fn place(&self) -> Result<Reading, Problem> {
        self.place_within(READ_WAIT).await
    }

    async fn place_within(&self, wait: Duration) -> Result<Reading, Problem> {
        let Ok(Ok(place)) = tokio::time::timeout(wait, Arc::clone(&self.places).acquire_owned()).await else {
            let detail = format!("{READS_MAX} requests are being read for, and others wait; ask for less, or later");
            return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(COME_AGAIN));
        };
        Ok(Reading { journal: self.journal.clone(), place: Arc::new(place) })
    }

    /// Reads once, when there is a place.
    ///
    /// # Errors
    /// Nothing could be read, or others read all the time.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        self.place().await?.read(what).await
    }
}

impl Reading {
    /// Reads off the runtime's threads.
    ///
    /// # Errors
    /// Nothing could be read.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        what: impl FnOnce(&Journal) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let failed = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the store could not be read; the log says why");
        let (journal, place) = (self.journal.clone(), Arc::clone(&self.place));
        let read = move || {
            // Who does not wait any more holds its place until the reading ends.
            let _place = place;
            what(&journal)
        };
        match tokio::task::spawn_blocking(read).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::error!(%error, "the journal could not be read for the admin API");
                Err(failed())
            }
            Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Err(_) => Err(failed()),
        }
    }

    /// A whole run.
    pub(super) async fn run(&self, id: RunId) -> Result<Option<Run>, Problem> {
        self.read(move |journal| journal.run(id)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use axum::response::IntoResponse as _;
    use tokio::task::JoinSet;

    use super::*;
    use crate::clock::Clock;
    use crate::journal::Options;

    fn open(dir: &tempfile::TempDir) -> Journal {
        let options = Options { segment_bytes: 1 << 20, clock: Clock::system(), boot_id: "boot-1".to_owned() };
        Journal::open(&dir.path().join("state"), options).expect("opens").0
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_and_is_told_so_in_the_end() {
        let dir = tempfile::tempdir().expect("a folder");
        let reads = Reads { journal: open(&dir), places: Arc::new(Semaphore::new(1)) };
        let (entered, is_in) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        let mut asking = JoinSet::new();
        asking.spawn({
            let reads = reads.clone();
            async move {
                let read = move |_: &Journal| {
                    entered.send(()).expect("somebody waits");
                    may_leave.recv().expect("somebody says so");
                    Ok(1)
                };
                reads.read(read).await.map_err(drop)
            }
        });
        tokio::task::spawn_blocking(move || is_in.recv()).await.expect("no panic").expect("it has begun");
        let refused = reads.place_within(Duration::ZERO).await.err().expect("there is no place");
        assert_eq!(refused.into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
        asking.spawn(async move { reads.read(|_| Ok(3)).await.map_err(drop) });
        leave.send(()).expect("it waits for that");
        let mut answers = asking.join_all().await;
        answers.sort_unstable();
        assert_eq!(answers, [Ok(1), Ok(3)]);
    }

    #[tokio::test]
    async fn who_has_a_place_reads_again_what_it_wrote_whoever_waits() {
        let dir = tempfile::tempdir().expect("a folder");
        let reads = Reads { journal: open(&dir), places: Arc::new(Semaphore::new(1)) };
        let reading = reads.place().await.map_err(drop).expect("a place");
        assert_eq!(reading.read(|_| Ok(1)).await.map_err(drop), Ok(1));
        assert!(reads.place_within(Duration::ZERO).await.is_err(), "it keeps its place in between");
        assert_eq!(reading.read(|_| Ok(2)).await.map_err(drop), Ok(2));
        drop(reading);
        assert!(reads.place_within(Duration::ZERO).await.is_ok());
    }
}
