//! One folder of a source: under which names its values are kept, and how its events are handed to the journal.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::pass::Pass;
use super::{Poll, Polled};
use crate::event::{Change, Folder, Verified, Via};
use crate::journal::{AppendError, Delivery, Kept, Space};
use crate::metric::POLL_REQUESTS;
use crate::orchestrator::Called;
use crate::rules::FolderRef;
use crate::runs::Failure;
use crate::time::Timestamp;

/// Why a folder was not read to its end.
#[derive(Debug)]
pub(super) enum FolderError {
    /// Orchestrator.
    Service(Failure),
    /// The journal: true when it has ended for good.
    Journal(bool),
}

impl From<Failure> for FolderError {
    fn from(failure: Failure) -> Self {
        Self::Service(failure)
    }
}

impl From<AppendError> for FolderError {
    fn from(error: AppendError) -> Self {
        Self::Journal(matches!(error, AppendError::Ended(_)))
    }
}

impl From<std::io::Error> for FolderError {
    fn from(error: std::io::Error) -> Self {
        tracing::error!(%error, "cannot read what is kept of a source");
        Self::Journal(false)
    }
}

/// Which way events are brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bring {
    /// As they happen.
    Live,
    /// From the past, because somebody asked; true when rules see them.
    Past(bool),
}

/// A folder of a source.
pub(super) struct Place<'p> {
    pub(super) poll: &'p Poll,
    pub(super) source: &'p Polled,
    /// The folder's name in kept values and lists.
    pub(super) name: String,
    pub(super) folder: FolderRef,
    pub(super) about: Folder,
}

impl Place<'_> {
    pub(super) fn now(&self) -> Timestamp {
        self.poll.clock.now()
    }

    /// The name of a value of the whole folder.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.source.config.name, self.name)
    }

    /// The name of a second value of the whole folder.
    pub(super) fn key_of(&self, what: &str) -> String {
        // No source's name has a colon.
        format!("{}:{what}/{}", self.source.config.name, self.name)
    }

    /// The name of a value of one thing. Ids are unique in a tenant, and shared queues show one thing in several folders.
    pub(super) fn thing_key(&self, thing: i64) -> String {
        format!("{}/{thing}", self.source.config.name)
    }

    /// A value that is kept; what cannot be read is none.
    pub(super) fn load<T: DeserializeOwned>(&self, space: Space, key: &str) -> Option<T> {
        match self.poll.journal.kept(space, key) {
            Ok(value) => value.and_then(|value| serde_json::from_slice(&value).ok()),
            Err(error) => {
                tracing::error!(%error, source = &*self.source.config.name, "cannot read what is kept of a source");
                None
            }
        }
    }

    /// What is remembered of one thing.
    pub(super) fn thing<T: DeserializeOwned>(&self, thing: i64) -> Result<Option<T>, FolderError> {
        let kept = self.poll.journal.kept(Space::Item, &self.thing_key(thing))?;
        Ok(kept.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    /// Remembers something of one thing.
    pub(super) fn remember(&self, thing: i64, value: &impl Serialize) -> Result<Kept, FolderError> {
        let value = serde_json::to_vec(value).map_err(std::io::Error::from)?;
        Ok(Kept { space: Space::Item, key: self.thing_key(thing), value: Some(Bytes::from(value)) })
    }

    /// A value under a name.
    pub(super) fn kept(space: Space, key: String, value: &Value) -> Kept {
        Kept { space, key, value: Some(Bytes::from(value.to_string())) }
    }

    /// Counts a request and takes its result.
    pub(super) async fn ask<T>(&self, endpoint: &'static str, call: impl Future<Output = Called<T>>) -> Result<T, Failure> {
        self.count(endpoint);
        call.await.result
    }

    /// Counts a request.
    pub(super) fn count(&self, endpoint: &'static str) {
        metrics::counter!(POLL_REQUESTS, "source" => self.source.config.name.to_string(), "endpoint" => endpoint).increment(1);
    }

    /// Keeps events and values in one group: a cursor is never ahead of its events.
    pub(super) async fn bring(&self, changes: Vec<Change>, kept: Vec<Kept>, how: Bring, pass: &mut Pass) -> Result<(), FolderError> {
        if changes.is_empty() && kept.is_empty() {
            return Ok(());
        }
        let delivery = Delivery {
            source: self.source.config.name.clone(),
            via: if how == Bring::Live { Via::Poll } else { Via::Backfill },
            orchestrator: Some(self.source.config.orchestrator.clone()),
            verified: Verified::Yes,
            received: self.now(),
            body: Bytes::new(),
            delivery_id: None,
            changes,
        };
        let journal = &self.poll.journal;
        let accepted = match how {
            Bring::Live | Bring::Past(true) => journal.accept_keeping(delivery, kept).await?,
            Bring::Past(false) => journal.accept_late(delivery, kept).await?,
        };
        if how == Bring::Live {
            self.source.brought(&accepted.events, self.now());
        }
        pass.brought += accepted.events.len() as u64;
        pass.confirmed += accepted.folded as u64;
        Ok(())
    }
}
