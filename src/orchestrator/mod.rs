//! The client of Orchestrator's API: authentication, folders, the calls that steps need, and what its answers mean.
//!
//! Promises: every call ends within its time; a failure says in its class whether the request may have been carried
//! out; no secret shows in any message. What a failure means for a run is not known here.

mod answer;
mod bodies;
mod budget;
mod bulk;
mod cache;
mod call;
mod grant;
mod items;
mod jobs;
mod json;
mod lists;
mod scans;
#[cfg(test)]
mod tests;
mod urls;
mod version;
mod webhooks;

use std::sync::Arc;

use serde_json::Value;
use tokio::time::Instant;

pub use bodies::INPUT_MAX;
pub use bulk::{Addition, BULK_MAX, BulkAdded};
pub use cache::{CACHE_FOR, CACHE_MAX};
pub use lists::{FeedFrom, ITEMS_AT_ONCE, PAGE_ROWS};
pub use scans::{Items, Jobs, QUEUES_NAMED_MAX, Rows, SCAN_ROWS, SCAN_ROWS_STANDALONE};
pub use version::PARENT_SINCE;

use crate::clock::Clock;
use crate::config::OrchestratorConfig;
pub use crate::http::client::CallTrace;

use crate::http::client::Client;
use crate::http::tokens::Tokens;
use crate::rules::FolderRef;
use crate::runs::{Class, Failure, Who};
use crate::secret::Secret;
use answer::What;
use budget::ListBudget;
use cache::Cache;
use urls::{folder_header, folder_name};
use version::Version;

/// The status of a success that has nothing to tell.
const NO_CONTENT: u16 = 204;

/// One configured orchestrator. Cheap to clone; token and look-up caches are shared.
#[derive(Clone, Debug)]
pub struct Orchestrator {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: OrchestratorConfig,
    tenant: Option<(String, String)>,
    tokens: Arc<Tokens>,
    version: Version,
    queues: Cache<QueueInfo>,
    releases: Cache<String>,
    budget: ListBudget,
    http: Client,
    clock: Clock,
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
            tokens: Arc::new(Tokens::new(Box::new(grant::Flow::of(&config)), credential)),
            version: Version::of(config.edition),
            queues: Cache::default(),
            releases: Cache::default(),
            budget: ListBudget::of(&config),
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

    /// The URL that stands for its tenant in keys of events.
    #[must_use]
    pub fn tenant_url(&self) -> Arc<str> {
        self.inner.config.canonical_url()
    }

    /// Its tokens, for others who ask the same API.
    #[must_use]
    pub fn tokens(&self) -> Arc<Tokens> {
        Arc::clone(&self.inner.tokens)
    }

    /// The folder used when a step names none.
    #[must_use]
    pub fn default_folder(&self) -> Option<&FolderRef> {
        self.inner.config.folder.as_ref()
    }

    /// The first row of a list, for a step.
    async fn first_row(
        &self,
        what: What<'_>,
        folder: Option<&FolderRef>,
        path: &str,
        query: Vec<(&str, &str)>,
        deadline: Instant,
    ) -> Called<Option<Value>> {
        let Called { trace, result } = self.list(Who::Action, what, folder, path, query, deadline).await;
        Called { trace, result: result.map(|rows| rows.into_iter().next()) }
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

/// A success that does not tell what was done: as if the answer was lost.
fn unknown(trace: &CallTrace, what: &str) -> Failure {
    Failure { class: Class::Unknown, ..invalid(trace, what) }
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

/// What the failure of a read means for the write that was to follow it: that one never left, which is certain.
fn not_left(failure: Failure) -> Failure {
    match failure.class {
        Class::Unknown | Class::Server | Class::Invalid => Failure { class: Class::Connect, ..failure },
        _ => failure,
    }
}
