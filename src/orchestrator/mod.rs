//! The client of Orchestrator's API: authentication, folders, the calls that steps need, and what its answers mean.
//!
//! Promises: every call ends within its time; a failure says in its class whether the request may have been carried
//! out; no secret shows in any message. What a failure means for a run is not known here.

mod answer;
mod bodies;
mod cache;
mod call;
mod grant;
mod json;
#[cfg(test)]
mod tests;
mod tokens;
mod urls;
mod version;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

pub use bodies::INPUT_MAX;
pub use cache::{CACHE_FOR, CACHE_MAX};
pub use tokens::TOKEN_TIMEOUT;
pub use version::PARENT_SINCE;

use crate::clock::Clock;
use crate::config::OrchestratorConfig;
use crate::http::client::Client;
use crate::rules::{Enqueue, FolderRef, StartJob};
use crate::runs::{Class, Failure};
use crate::secret::Secret;
use answer::{Meaning, What};
use cache::Cache;
use call::Ask;
use tokens::Tokens;
use urls::{folder_header, folder_name, quoted};
use version::Version;

/// One configured orchestrator. Cheap to clone; token and look-up caches are shared.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: OrchestratorConfig,
    tenant: Option<(String, String)>,
    tokens: Tokens,
    version: Version,
    queues: Cache<QueueInfo>,
    releases: Cache<String>,
    http: Client,
    clock: Clock,
}

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
    /// The trace: of the token request where that failed, of a look-up before where that did, else of the call itself.
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
        let inner = Inner {
            tenant: urls::tenant_header(&config),
            tokens: Tokens::new(grant::Flow::of(&config), credential),
            version: Version::of(config.edition),
            queues: Cache::default(),
            releases: Cache::default(),
            config,
            http,
            clock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.inner.config.name
    }

    /// The folder used when a step names none.
    #[must_use]
    pub fn default_folder(&self) -> Option<&FolderRef> {
        self.inner.config.folder.as_ref()
    }

    /// Adds one queue item (`POST /odata/Queues/UiPathODataSvc.AddQueueItem`). `parent` goes into ParentOperationId where the
    /// API version has it. The item of a 409/1016 is looked up so that its Id is known.
    ///
    /// A success without a body is looked up too; where that finds nothing, the value is `{Reference}`.
    pub async fn add_queue_item(&self, folder: Option<&FolderRef>, item: &Enqueue, parent: &str, timeout: Duration) -> Called<Added> {
        let deadline = Instant::now() + timeout;
        let folder = folder.or(self.default_folder());
        let (mut trace, mut said) = (CallTrace::default(), Ok(Meaning::Empty));
        let mut sent_parent = None;
        // Once more without the field, when an older API has just shown that it does not know it: a 400 did nothing.
        for _ in 0..2 {
            sent_parent = self.inner.version.parent(parent);
            let ask = Ask {
                what: What::AddItem { queue: &item.queue },
                folder,
                path: "Queues/UiPathODataSvc.AddQueueItem".to_owned(),
                query: Vec::new(),
                body: Some(bodies::add_queue_item(item, sent_parent)),
            };
            (trace, said) = self.inner.call(ask, deadline).await;
            if !self.refused_for_parent(&trace, sent_parent.is_some()) {
                break;
            }
        }
        let result = match said {
            Ok(Meaning::Body(body)) if json::field(&body, "Id").is_some() => Ok(Added::New(body)),
            Ok(Meaning::Body(_) | Meaning::Empty | Meaning::Missing) => {
                let found = self.find_item(folder, &item.queue, &item.reference, deadline).await;
                Ok(Added::New(found.unwrap_or_else(|| json!({ "Reference": item.reference }))))
            }
            Ok(Meaning::Duplicate) => {
                let found = self.find_item(folder, &item.queue, &item.reference, deadline).await;
                let ours = found.as_ref().zip(sent_parent).map(|(found, parent)| bodies::is_ours(found, parent));
                Ok(Added::AlreadyThere { item: found, ours })
            }
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// An item by Id (`GET /odata/QueueItems({id})`).
    pub async fn item(&self, folder: Option<&FolderRef>, id: i64, timeout: Duration) -> Called<Option<Value>> {
        let ask = Ask {
            what: What::ReadItem,
            folder: folder.or(self.default_folder()),
            path: format!("QueueItems({id})"),
            query: Vec::new(),
            body: None,
        };
        let (trace, said) = self.inner.call(ask, Instant::now() + timeout).await;
        let result = match said {
            Ok(Meaning::Body(body)) if body.is_object() => Ok(Some(body)),
            Ok(Meaning::Missing) => Ok(None),
            Ok(_) => Err(invalid(&trace, "no item in the answer")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// The newest item of a queue with a reference. A queue that is not there is a failure, not an absent item.
    pub async fn item_by_reference(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        reference: &str,
        timeout: Duration,
    ) -> Called<Option<Value>> {
        self.item_by_reference_until(folder, queue, reference, Instant::now() + timeout).await
    }

    async fn item_by_reference_until(
        &self,
        folder: Option<&FolderRef>,
        queue: &str,
        reference: &str,
        deadline: Instant,
    ) -> Called<Option<Value>> {
        let folder = folder.or(self.default_folder());
        let known = self.queue_until(folder, queue, deadline).await;
        let id = match known.result {
            Ok(Some(info)) => info.id,
            Ok(None) => return Called { result: Err(not_there(&known.trace, "queue", queue, folder)), trace: known.trace },
            Err(failure) => return Called { trace: known.trace, result: Err(failure) },
        };
        let filter = format!("QueueDefinitionId eq {id} and Reference eq {}", quoted(reference));
        let query = vec![("$filter", filter.as_str()), ("$orderby", "Id desc"), ("$top", "1")];
        self.first_row(What::ReadItems, folder, "QueueItems", query, deadline).await
    }

    /// A queue by name; cached for some minutes.
    pub async fn queue(&self, folder: Option<&FolderRef>, name: &str, timeout: Duration) -> Called<Option<QueueInfo>> {
        self.queue_until(folder.or(self.default_folder()), name, Instant::now() + timeout).await
    }

    async fn queue_until(&self, folder: Option<&FolderRef>, name: &str, deadline: Instant) -> Called<Option<QueueInfo>> {
        let key = folder_key(folder);
        if let Some(info) = self.inner.queues.get(&key, name, self.inner.clock.now()) {
            return Called { trace: CallTrace::default(), result: Ok(Some(info)) };
        }
        let filter = format!("Name eq {}", quoted(name));
        let query = vec![("$filter", filter.as_str()), ("$top", "1")];
        let Called { trace, result } = self.first_row(What::ReadQueue, folder, "QueueDefinitions", query, deadline).await;
        let result = result.and_then(|row| match row.as_ref().map(bodies::queue_info) {
            None => Ok(None),
            Some(Some(info)) => {
                self.inner.queues.put(&key, name, info.clone(), self.inner.clock.now());
                Ok(Some(info))
            }
            Some(None) => Err(invalid(&trace, "no Id and Name in the queue")),
        });
        Called { trace, result }
    }

    /// Starts jobs (`StartJobs`), the release looked up by name. The value is the first job.
    pub async fn start_job(&self, folder: Option<&FolderRef>, job: &StartJob, parent: &str, timeout: Duration) -> Called<Value> {
        let deadline = Instant::now() + timeout;
        let folder = folder.or(self.default_folder());
        if let Err(message) = bodies::input_arguments(job) {
            let failure = Failure { class: Class::Refused, status: None, message, retry_after: None };
            return Called { trace: CallTrace::default(), result: Err(failure) };
        }
        let release = self.release(folder, &job.process, deadline).await;
        let release_key = match release.result {
            Ok(key) => key,
            Err(failure) => return Called { trace: release.trace, result: Err(failure) },
        };
        let (mut trace, mut said) = (CallTrace::default(), Ok(Meaning::Empty));
        for _ in 0..2 {
            let sent_parent = self.inner.version.parent(parent);
            let body = match bodies::start_jobs(job, &release_key, sent_parent) {
                Ok(body) => body,
                Err(message) => {
                    return Called { trace, result: Err(Failure { class: Class::Refused, status: None, message, retry_after: None }) };
                }
            };
            let ask = Ask {
                what: What::StartJob { process: &job.process },
                folder,
                path: "Jobs/UiPath.Server.Configuration.OData.StartJobs".to_owned(),
                query: Vec::new(),
                body: Some(body),
            };
            (trace, said) = self.inner.call(ask, deadline).await;
            if !self.refused_for_parent(&trace, sent_parent.is_some()) {
                break;
            }
        }
        if matches!(trace.status, Some(400 | 404)) {
            // The process may have been made anew under its name, with another key.
            self.inner.releases.forget(&folder_key(folder), &job.process);
        }
        let unknown = |what: &str| Failure { class: Class::Unknown, ..invalid(&trace, what) };
        let result = match said {
            Ok(Meaning::Body(body)) => match bodies::rows(&body).and_then(<[Value]>::first) {
                Some(first) => Ok(first.clone()),
                None => Err(unknown("no job in the answer")),
            },
            Ok(_) => {
                let found = self.job_by_reference_until(folder, &job.reference, deadline).await;
                found.result.ok().flatten().ok_or_else(|| unknown("no job in the answer"))
            }
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// The newest job with a reference.
    pub async fn job_by_reference(&self, folder: Option<&FolderRef>, reference: &str, timeout: Duration) -> Called<Option<Value>> {
        self.job_by_reference_until(folder.or(self.default_folder()), reference, Instant::now() + timeout).await
    }

    async fn job_by_reference_until(&self, folder: Option<&FolderRef>, reference: &str, deadline: Instant) -> Called<Option<Value>> {
        let filter = format!("Reference eq {}", quoted(reference));
        let query = vec![("$filter", filter.as_str()), ("$orderby", "Id desc"), ("$top", "1")];
        self.first_row(What::ReadJobs, folder, "Jobs", query, deadline).await
    }

    /// A process's release key by its name.
    async fn release(&self, folder: Option<&FolderRef>, process: &str, deadline: Instant) -> Called<String> {
        let key = folder_key(folder);
        if let Some(found) = self.inner.releases.get(&key, process, self.inner.clock.now()) {
            return Called { trace: CallTrace::default(), result: Ok(found) };
        }
        let filter = format!("Name eq {}", quoted(process));
        let query = vec![("$filter", filter.as_str()), ("$top", "1")];
        let Called { trace, result } = self.first_row(What::ReadRelease, folder, "Releases", query, deadline).await;
        let result = result.and_then(|row| match row.as_ref().map(|row| json::text(row, "Key")) {
            None => Err(not_there(&trace, "process", process, folder)),
            Some(None) => Err(invalid(&trace, "no Key in the release")),
            Some(Some(release)) => {
                self.inner.releases.put(&key, process, release.to_owned(), self.inner.clock.now());
                Ok(release.to_owned())
            }
        });
        Called { trace, result }
    }

    /// The item of an add that told no Id. That it cannot be read changes nothing about the add.
    async fn find_item(&self, folder: Option<&FolderRef>, queue: &str, reference: &str, deadline: Instant) -> Option<Value> {
        self.item_by_reference_until(folder, queue, reference, deadline).await.result.ok().flatten()
    }

    /// The first row of a list; an answer that is no list is invalid, never "nothing there".
    async fn first_row(
        &self,
        what: What<'_>,
        folder: Option<&FolderRef>,
        path: &str,
        query: Vec<(&str, &str)>,
        deadline: Instant,
    ) -> Called<Option<Value>> {
        let (trace, said) = self.inner.call(Ask { what, folder, path: path.to_owned(), query, body: None }, deadline).await;
        let result = match said {
            Ok(Meaning::Body(body)) => match bodies::rows(&body) {
                Some(rows) => Ok(rows.first().cloned()),
                None => Err(invalid(&trace, "no list in the answer")),
            },
            Ok(_) => Err(invalid(&trace, "an empty answer where a list is due")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// Whether a write was refused only for a field that this API has just turned out not to know.
    fn refused_for_parent(&self, trace: &CallTrace, sent_parent: bool) -> bool {
        sent_parent && trace.status == Some(400) && !self.inner.version.has_parent()
    }
}

/// A folder as a key of caches.
fn folder_key(folder: Option<&FolderRef>) -> String {
    folder.and_then(|f| folder_header(f).ok()).map(|(name, value)| format!("{name}:{value}")).unwrap_or_default()
}

fn invalid(trace: &CallTrace, what: &str) -> Failure {
    Failure { class: Class::Invalid, status: trace.status, message: format!("{what} to `{}`", trace.request), retry_after: None }
}

fn not_there(trace: &CallTrace, kind: &str, name: &str, folder: Option<&FolderRef>) -> Failure {
    Failure {
        class: Class::Configuration,
        status: trace.status,
        message: format!(
            "the {kind} `{name}` is not in {}; check both names and that the application is assigned to the folder",
            folder_name(folder)
        ),
        retry_after: None,
    }
}
