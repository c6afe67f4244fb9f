//! The client of Orchestrator's API: authentication, folders, the calls that steps need, and what its answers mean.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::clock::Clock;
use crate::config::OrchestratorConfig;
use crate::http::client::Client;
use crate::rules::{Enqueue, FolderRef, StartJob};
use crate::runs::Failure;
use crate::secret::Secret;

/// One configured orchestrator. Cheap to clone; token and look-up caches are shared.
#[derive(Clone, Debug)]
pub struct Orchestrator {}

/// What a call said, for the record of the attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTrace {
    /// `POST https://host/path`.
    pub request: String,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub bytes: u64,
}

/// What a call gave, with its trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Called<T> {
    /// The trace.
    pub trace: CallTrace,
    /// The value, or why not.
    pub result: Result<T, Failure>,
}

/// What adding an item gave.
#[derive(Clone, Debug, PartialEq)]
pub enum Added {
    /// A new item: the answer's body.
    New(Value),
    /// 409/1016: an item with this reference is there. The item where it could be read (by reference), with whether it is
    /// ours by its `ParentOperationId` (`None`: cannot be told).
    AlreadyThere {
        /// The item, where found.
        item: Option<Value>,
        /// Ours or somebody else's.
        ours: Option<bool>,
    },
}

/// What is known of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its Id.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// Whether it enforces unique references.
    pub unique: bool,
}

impl Orchestrator {
    /// A client for one orchestrator.
    #[must_use]
    pub fn new(config: OrchestratorConfig, credential: Secret, http: Client, clock: Clock) -> Self {
        let _ = (config, credential, http, clock);
        todo!()
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        todo!()
    }

    /// The folder used when a step names none.
    #[must_use]
    pub fn default_folder(&self) -> Option<&FolderRef> {
        todo!()
    }

    /// Adds one queue item (`POST /odata/Queues/UiPathODataSvc.AddQueueItem`). `parent` goes into ParentOperationId where the
    /// API version has it. The item of a 409/1016 is looked up so that its Id is known.
    pub async fn add_queue_item(&self, folder: Option<&FolderRef>, item: &Enqueue, parent: &str, timeout: Duration) -> Called<Added> {
        let _ = (folder, item, parent, timeout);
        todo!()
    }

    /// An item by Id (`GET /odata/QueueItems({id})`).
    pub async fn item(&self, folder: Option<&FolderRef>, id: i64, timeout: Duration) -> Called<Option<Value>> {
        let _ = (folder, id, timeout);
        todo!()
    }

    /// The newest item of a queue with a reference.
    pub async fn item_by_reference(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        reference: &str,
        timeout: Duration,
    ) -> Called<Option<Value>> {
        let _ = (folder, queue, reference, timeout);
        todo!()
    }

    /// A queue by name; cached for some minutes.
    pub async fn queue(&self, folder: Option<&FolderRef>, name: &str, timeout: Duration) -> Called<Option<QueueInfo>> {
        let _ = (folder, name, timeout);
        todo!()
    }

    /// Starts jobs (`StartJobs`), the release looked up by name. The value is the first job.
    pub async fn start_job(&self, folder: Option<&FolderRef>, job: &StartJob, parent: &str, timeout: Duration) -> Called<Value> {
        let _ = (folder, job, parent, timeout);
        todo!()
    }

    /// The newest job with a reference.
    pub async fn job_by_reference(&self, folder: Option<&FolderRef>, reference: &str, timeout: Duration) -> Called<Option<Value>> {
        let _ = (folder, reference, timeout);
        todo!()
    }
}
