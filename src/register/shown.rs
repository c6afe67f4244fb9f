//! What is shown of webhooks in the list of sources.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::Hook;
use crate::event::SourceName;
use crate::hooks::Blind;
use crate::time::Timestamp;

/// Shared by the tasks that watch over webhooks and those that show.
#[derive(Clone, Debug, Default)]
pub struct Shown(Arc<Mutex<BTreeMap<SourceName, (Value, Standing)>>>);

/// How a webhook stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// When Orchestrator was last asked about it.
    pub(super) looked: Option<Timestamp>,
    /// Its Id there.
    pub(super) id: Option<i64>,
    /// Whether it delivers, as Orchestrator says.
    pub(super) enabled: Option<bool>,
    /// What differs there from the configuration.
    pub(super) differences: Vec<&'static str>,
    /// When it was last registered or changed by us.
    pub(super) changed: Option<Timestamp>,
    /// When it was last pinged, being blind.
    pub(super) pinged: Option<Timestamp>,
    /// Why Orchestrator could not be asked.
    pub(super) failure: Option<String>,
    /// Changes that only polling brought.
    pub(super) missed: u64,
    /// While it is blind.
    pub(super) blind: Option<Blind>,
}

impl Shown {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SourceName, (Value, Standing)>> {
        // What is in it is for show only.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets sources that are no more.
    pub(super) fn keep_only(&self, hooks: &[Arc<Hook>]) {
        self.lock().retain(|name, _| hooks.iter().any(|hook| hook.source == *name));
    }

    pub(super) fn set(&self, hook: &Hook, standing: Standing) {
        let about = json!({
            "source": hook.source, "kind": "webhook", "orchestrator": hook.orchestrator, "register": hook.register,
            "url": hook.ours.as_ref().map(|ours| &ours.url),
        });
        self.lock().insert(Arc::clone(&hook.source), (about, standing));
    }

    /// For `GET /api/v1/sources`.
    #[must_use]
    pub fn rows(&self) -> Vec<Value> {
        let row = |(about, standing): &(Value, Standing)| {
            let mut row = about.clone();
            row["registered"] = match (standing.looked, standing.id) {
                (Some(looked), Some(id)) => json!({
                    "id": id, "enabled": standing.enabled, "differences": standing.differences, "looked": looked,
                    "changed": standing.changed, "pinged": standing.pinged,
                }),
                _ => Value::Null,
            };
            row["failure"] = json!(standing.failure);
            row["missed"] = json!(standing.missed);
            row["blind"] = json!(standing.blind);
            row
        };
        self.lock().values().map(row).collect()
    }
}
