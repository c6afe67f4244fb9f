//! What a step asks for, rendered: plain values, and their form in the words of the rule file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::connectors::{Connector, Operation};
use crate::time::{Timestamp, format_duration};

/// A folder as people name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderRef {
    /// Fully qualified name.
    Path(String),
    /// `OrganizationUnitId`.
    Id(i64),
    /// GUID.
    Key(String),
}

/// What a step asks for, rendered: plain values, ready to be sent. The same for every attempt of the step.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Add a queue item.
    Enqueue(Enqueue),
    /// Start a job.
    StartJob(StartJob),
    /// Read a queue item.
    GetItem(GetItem),
    /// Call any HTTP endpoint.
    Http(HttpCall),
    /// Call an operation of a connector.
    Call(OperationCall),
    /// Make an event of our own.
    Emit(Emit),
    /// Go on when a queue item has come to its end.
    AwaitItem(GetItem),
    /// Go on when a job has come to its end.
    AwaitJob(AwaitJob),
    /// Go on later. Nothing is sent.
    Wait(Wait),
}

/// For how long a step waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// From its beginning on.
    For(Duration),
    /// Until a moment.
    Until(Timestamp),
}

/// Which job is awaited.
#[derive(Clone, Debug, PartialEq)]
pub struct AwaitJob {
    /// Where.
    pub target: Target,
    /// By Id or by Key.
    pub by: JobLookup,
}

/// How a job is found.
#[derive(Clone, Debug, PartialEq)]
pub enum JobLookup {
    /// By Id.
    Id(i64),
    /// By its Key, a GUID.
    Key(String),
}

/// Where a step of Orchestrator goes. `None` means: the event's, or the only one there is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    /// The orchestrator's name in the configuration.
    pub orchestrator: Option<Arc<str>>,
    /// The folder.
    pub folder: Option<FolderRef>,
}

/// AddQueueItem.
#[derive(Clone, Debug, PartialEq)]
pub struct Enqueue {
    /// Where.
    pub target: Target,
    /// The queue's name.
    pub queue: String,
    /// `High`, `Normal`, `Low`; Orchestrator's default otherwise.
    pub priority: Option<String>,
    /// At most 128 characters; derived from rule, step and event key unless written.
    pub reference: String,
    /// DeferDate.
    pub defer: Option<Timestamp>,
    /// DueDate.
    pub due: Option<Timestamp>,
    /// RiskSlaDate.
    pub risk_sla: Option<Timestamp>,
    /// SpecificContent: flat.
    pub content: Map<String, Value>,
    /// What a 409 on somebody else's item means: true = accept (default), false = fail.
    pub accept_duplicate: bool,
}

/// StartJobs.
#[derive(Clone, Debug, PartialEq)]
pub struct StartJob {
    /// Where.
    pub target: Target,
    /// The process (release) name.
    pub process: String,
    /// Input arguments; sent as a JSON string.
    pub input: Map<String, Value>,
    /// `High`, `Normal`, `Low`.
    pub priority: Option<String>,
    /// How many jobs, 1 by default.
    pub count: u32,
    /// `Unattended`, `Serverless`, …
    pub runtime: Option<String>,
    /// Derived like an item's reference unless written; at most 128 characters.
    pub reference: String,
    /// Whether its end is awaited.
    pub wait: bool,
}

/// Read one queue item.
#[derive(Clone, Debug, PartialEq)]
pub struct GetItem {
    /// Where.
    pub target: Target,
    /// By id, or by reference in a queue.
    pub by: ItemLookup,
}

/// How an item is found.
#[derive(Clone, Debug, PartialEq)]
pub enum ItemLookup {
    /// By Id.
    Id(i64),
    /// By reference in a queue.
    Reference {
        /// The queue's name.
        queue: String,
        /// The reference.
        reference: String,
    },
}

/// Any HTTP request.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpCall {
    /// `GET`, `POST`, …
    pub method: String,
    /// The URL rendered; values inside it were percent-encoded as segments.
    pub url: String,
    /// Whether scheme and authority stand in the rule file without `${`.
    pub written_out: bool,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// A JSON body; a string is sent as text when the rule sets another Content-Type.
    pub body: Option<Value>,
}

/// A call of an operation of a connector.
#[derive(Clone, Debug)]
pub struct OperationCall {
    /// The connector.
    pub connector: Arc<Connector>,
    /// The operation.
    pub operation: Arc<Operation>,
    /// What it is called with, checked; without defaults.
    pub input: Map<String, Value>,
    /// Whether all pages are read.
    pub all: bool,
}

impl PartialEq for OperationCall {
    /// Whether both call the same with the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.connector.name, &self.operation.name, &self.input, self.all)
            == (&other.connector.name, &other.operation.name, &other.input, other.all)
    }
}

/// An event of our own.
#[derive(Clone, Debug, PartialEq)]
pub struct Emit {
    /// Its type.
    pub event_type: String,
    /// Its data.
    pub data: Value,
    /// Its subject.
    pub subject: Option<String>,
}

impl Request {
    /// In the words of the rule file: `{"enqueue": {…}}`; what tests compare with and runs show. Values of headers
    /// that authorise are masked.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(name.to_owned(), value);
            }
        };
        let kind = match self {
            Self::Enqueue(item) => {
                target(&item.target, &mut put);
                put("queue", Some(json!(item.queue)));
                put("priority", item.priority.as_ref().map(|p| json!(p)));
                put("reference", Some(json!(item.reference)));
                put("defer", item.defer.map(|t| json!(t)));
                put("due", item.due.map(|t| json!(t)));
                put("risk_sla", item.risk_sla.map(|t| json!(t)));
                put("content", Some(Value::Object(item.content.clone())));
                put("on_duplicate", (!item.accept_duplicate).then(|| json!("fail")));
                "enqueue"
            }
            Self::StartJob(job) => {
                target(&job.target, &mut put);
                put("process", Some(json!(job.process)));
                put("input", Some(Value::Object(job.input.clone())));
                put("priority", job.priority.as_ref().map(|p| json!(p)));
                put("count", Some(json!(job.count)));
                put("runtime", job.runtime.as_ref().map(|r| json!(r)));
                put("reference", Some(json!(job.reference)));
                put("wait", job.wait.then(|| json!(true)));
                "start_job"
            }
            Self::GetItem(item) | Self::AwaitItem(item) => {
                target(&item.target, &mut put);
                match &item.by {
                    ItemLookup::Id(id) => put("id", Some(json!(id))),
                    ItemLookup::Reference { queue, reference } => {
                        put("queue", Some(json!(queue)));
                        put("reference", Some(json!(reference)));
                    }
                }
                if matches!(self, Self::GetItem(_)) { "get_item" } else { "await_item" }
            }
            Self::Http(call) => {
                put("method", Some(json!(call.method)));
                put("url", Some(json!(call.url)));
                put("headers", (!call.headers.is_empty()).then(|| shown_headers(&call.headers)));
                put("body", call.body.clone());
                "http"
            }
            Self::Call(call) => {
                put("connector", Some(json!(call.connector.name)));
                put("operation", Some(json!(call.operation.name)));
                put("with", (!call.input.is_empty()).then(|| Value::Object(call.input.clone())));
                put("all", call.all.then_some(Value::Bool(true)));
                "call"
            }
            Self::Emit(event) => {
                put("type", Some(json!(event.event_type)));
                put("data", Some(event.data.clone()));
                put("subject", event.subject.as_ref().map(|s| json!(s)));
                "emit"
            }
            Self::AwaitJob(job) => {
                target(&job.target, &mut put);
                match &job.by {
                    JobLookup::Id(id) => put("id", Some(json!(id))),
                    JobLookup::Key(key) => put("key", Some(json!(key))),
                }
                "await_job"
            }
            Self::Wait(Wait::For(duration)) => return json!({ "wait": format_duration(*duration) }),
            Self::Wait(Wait::Until(stamp)) => return json!({ "wait": stamp }),
        };
        json!({ kind: map })
    }

    /// Whether sending it twice may do it twice: such a request needs a durable intent first.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::GetItem(_) | Self::Emit(_) | Self::AwaitItem(_) | Self::AwaitJob(_) | Self::Wait(_) => true,
            Self::Http(call) => matches!(call.method.as_str(), "GET" | "HEAD" | "OPTIONS"),
            Self::Call(call) => call.operation.idempotent,
            Self::Enqueue(_) | Self::StartJob(_) => false,
        }
    }
}

fn target(target: &Target, put: &mut impl FnMut(&str, Option<Value>)) {
    put("orchestrator", target.orchestrator.as_ref().map(|name| json!(name)));
    put(
        "folder",
        target.folder.as_ref().map(|folder| match folder {
            FolderRef::Path(path) => json!(path),
            FolderRef::Id(id) => json!({ "id": id }),
            FolderRef::Key(key) => json!({ "key": key }),
        }),
    );
}

fn shown_headers(headers: &BTreeMap<String, String>) -> Value {
    const SECRET: &[&str] = &["authorization", "cookie", "token", "secret", "api-key", "apikey", "password"];
    let shown = headers.iter().map(|(name, value)| {
        let lower = name.to_ascii_lowercase();
        let hidden = SECRET.iter().any(|word| lower.contains(word));
        (name.clone(), json!(if hidden { "***" } else { value }))
    });
    Value::Object(shown.collect())
}
