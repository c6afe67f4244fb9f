//! The end: what was still out when the grace period was over is recorded as cut off.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Owner, Phase};
use crate::dispatch::attempt::record;
use crate::journal::AppendError;
use crate::runs::{Attempt, Class, Failure, Outcome, settle, wrap};

/// After the grace period, for recording what was cut off.
const LAST_WORDS: Duration = Duration::from_secs(2);

impl Owner {
    /// The grace period is over, or everything ended: what is still out is recorded as cut off and left due.
    pub(super) async fn last_words(mut self) -> Result<(), AppendError> {
        let now = self.world.clock.now();
        let mut cut = Vec::new();
        for (id, active) in &self.active {
            let (Phase::Sending { step, number, since, look_up: false, line, .. }, Some(context)) = (&active.phase, &active.context) else {
                continue;
            };
            let failure = Failure {
                class: Class::Unknown,
                status: None,
                message: "cut off: the daemon was stopped before the answer came".to_owned(),
                retry_after: None,
            };
            let attempt = Attempt {
                number: *number,
                started: *since,
                ended: now,
                request: line.clone(),
                status: None,
                class: Some(failure.class),
                error: Some(failure.message.clone()),
                bytes: 0,
                recorded: None,
            };
            let facts = settle(&active.run, &context.rule, *step, &attempt, &Outcome::Failed(failure), None, now, 0.0);
            cut.push(match &active.lane {
                Some(lane) => (lane.run, wrap(&active.run, &context.rule, lane.shape.as_ref(), facts)),
                None => (*id, facts),
            });
        }
        if !cut.is_empty() {
            tracing::warn!(
                attempts = cut.len(),
                "attempts were cut off at the end of the grace period; their runs go on at the next start"
            );
        }
        self.tasks.shutdown().await;
        let mut last = JoinSet::new();
        for (id, facts) in cut {
            let world = self.world.clone();
            last.spawn(async move { record(&world.journal, id, facts).await });
        }
        // Nothing depends on these words: without them the open intents say the same.
        drop(tokio::time::timeout(LAST_WORDS, last.join_all()).await);
        Ok(())
    }
}
