//! The tasks of the process, and who of them is still there.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

/// One of them; each is named in the log when it ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Ingress,
    Poll,
    Register,
    Watch,
    Router,
    Dispatch,
    Files,
    Telemetry,
    Watchdog,
    Admin,
}

/// Those that were started.
#[derive(Default)]
pub(super) struct Tasks {
    set: JoinSet<Result<(), String>>,
    running: HashMap<Id, Task>,
}

impl Tasks {
    /// Starts one that may fail.
    pub(super) fn spawn<E: ToString + 'static>(&mut self, task: Task, work: impl Future<Output = Result<(), E>> + Send + 'static) {
        let handle = self.set.spawn(async move { work.await.map_err(|error| error.to_string()) });
        self.running.insert(handle.id(), task);
    }

    /// Starts one that goes on until it is stopped.
    pub(super) fn spawn_endless(&mut self, task: Task, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(task, async move {
            work.await;
            Ok::<(), String>(())
        });
    }

    /// The next one that ends, in words; `None` when none is left.
    pub(super) async fn ended(&mut self) -> Option<String> {
        let ended = self.set.join_next_with_id().await?;
        let task = self.running.remove(&ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id));
        let name = task.map(|task| format!("{task:?}")).unwrap_or_default();
        Some(match ended {
            Ok((_, Ok(()))) => format!("{name} ended by itself"),
            Ok((_, Err(why))) => format!("{name} ended: {why}"),
            Err(error) => format!("{name} ended early: {error}"),
        })
    }

    /// Waits until those named have ended, whenever that was.
    pub(super) async fn wait_for(&mut self, names: &[Task], limit: Duration) {
        let all = async {
            while self.running.values().any(|task| names.contains(task))
                && let Some(what) = self.ended().await
            {
                tracing::debug!("{what}");
            }
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            let busy: Vec<_> = self.running.values().filter(|task| names.contains(task)).collect();
            tracing::warn!(?busy, "still busy when the time to stop was over");
        }
    }

    /// Ends those that are left.
    pub(super) async fn shutdown(&mut self) {
        self.set.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_ended_before_is_not_waited_for() {
        let mut tasks = Tasks::default();
        tasks.spawn(Task::Router, async { Err("the journal ended") });
        tasks.spawn_endless(Task::Dispatch, async { panic!("a fault") });
        tasks.spawn_endless(Task::Ingress, tokio::time::sleep(Duration::from_secs(1)));
        tasks.spawn_endless(Task::Admin, std::future::pending());
        let begun = tokio::time::Instant::now();
        tasks.wait_for(&[Task::Ingress], Duration::from_secs(60)).await;
        tasks.wait_for(&[Task::Router, Task::Dispatch], Duration::from_secs(60)).await;
        assert_eq!(begun.elapsed().as_secs(), 1);
        tasks.wait_for(&[Task::Admin], Duration::from_secs(2)).await;
        assert_eq!(begun.elapsed().as_secs(), 3);
    }
}
