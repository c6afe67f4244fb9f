//! What is remembered of things that are over is forgotten after a while, a slice at a time.

use serde::Deserialize;
use serde_json::Value;

use super::place::{FolderError, Place};
use crate::journal::{Kept, Space};
use crate::time::Timestamp;

/// A final state is remembered for so long after it was seen last: what comes to such a thing later (a review, a retry by
/// hand) is told by its row.
const FINAL_FOR_MS: i64 = 24 * 3_600_000;

/// States that are looked at in one pass.
const SLICE: usize = 256;

/// How long to rest after all were looked at.
const REST_MS: i64 = 600_000;

/// What all remembered states have.
#[derive(Deserialize)]
struct AnyState {
    s: Value,
    t: i64,
}

/// Where it stands.
#[derive(Default)]
pub(super) struct Prune {
    after: Option<String>,
    rest_until: Option<Timestamp>,
}

impl Prune {
    /// Looks at some states and forgets the old ones among them.
    pub(super) async fn slice(&mut self, place: &Place<'_>) -> Result<(), FolderError> {
        let now = place.now();
        if self.rest_until.is_some_and(|until| now < until && until.as_millis() - now.as_millis() <= REST_MS) {
            return Ok(());
        }
        self.rest_until = None;
        let prefix = format!("{}/", place.source.config.name);
        let states = place.poll.journal.kept_after(Space::Item, &prefix, self.after.as_deref(), SLICE)?;
        if states.len() < SLICE {
            (self.after, self.rest_until) = (None, Some(Timestamp::from_millis(now.as_millis() + REST_MS)));
        } else {
            self.after = states.last().map(|(name, _)| name.clone());
        }
        let old: Vec<Kept> = states
            .into_iter()
            .filter(|(_, value)| serde_json::from_slice::<AnyState>(value).is_ok_and(|state| is_over(&state, now)))
            .map(|(key, _)| Kept { space: Space::Item, key, value: None })
            .collect();
        if !old.is_empty() {
            place.poll.journal.keep(old).await?;
        }
        Ok(())
    }
}

fn is_over(state: &AnyState, now: Timestamp) -> bool {
    const OPEN: [&str; 8] = ["New", "InProgress", "Pending", "Running", "Stopping", "Terminating", "Suspended", "Resumed"];
    state.s.as_str().is_some_and(|status| !OPEN.contains(&status)) && now.as_millis() - state.t > FINAL_FOR_MS
}
