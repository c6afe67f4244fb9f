//! Rules: from files to a checked set, from an event to the rules that match it, from a step to the request it asks for.
//!
//! Knows no clock, store or network. `check`, `test`, `explain` and `run` all go through these functions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::event::{Event, RuleName, RunId, SourceName};
use crate::expr::{Expression, Template};
use crate::fault::{Faults, SourceText};
use crate::time::Timestamp;

/// What rules may refer to: comes from the configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Names of orchestrators; the first is the default only when it is the only one.
    pub orchestrators: Vec<Arc<str>>,
    /// The sources.
    pub sources: Vec<KnownSource>,
    /// `vars` of the configuration.
    pub vars: Value,
}

/// A source as rules see it.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownSource {
    /// Its name.
    pub name: SourceName,
    /// Only rules that name it in `sources` see its events.
    pub unsigned: bool,
    /// Its events count as this source's too (a poll that `reconciles` a webhook).
    pub reconciles: Option<SourceName>,
    /// Its orchestrator.
    pub orchestrator: Option<Arc<str>>,
}

/// A checked rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name, unique over all files.
    pub name: RuleName,
    /// For people.
    pub description: Option<String>,
    /// What happens when it matches.
    pub mode: Mode,
    /// How failed steps are tried again, unless a step says otherwise.
    pub retry: RetryPolicy,
    /// What it does.
    pub steps: Vec<Step>,
    /// Its own tests.
    pub tests: Vec<TestCase>,
    /// The file and line it stands in, for people.
    pub place: String,
    // matching parts are private to this module: events, sources, pattern, when
}

/// What happens when a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Its steps are carried out.
    Live,
    /// The run records what it would do.
    Shadow,
    /// Nothing.
    Off,
}

/// How a failed step is tried again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// The first wait; 2 s by default.
    pub first_wait: Duration,
    /// Each wait is this much longer; 2 by default.
    pub factor: f64,
    /// The longest wait; 15 min by default.
    pub max_wait: Duration,
    /// From the step's first attempt on; 24 h by default.
    pub give_up_after: Duration,
    /// At most this many attempts, where written.
    pub attempts: Option<u32>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_secs(2),
            factor: 2.0,
            max_wait: Duration::from_secs(15 * 60),
            give_up_after: Duration::from_secs(24 * 3600),
            attempts: None,
        }
    }
}

/// One step of a rule.
#[derive(Debug)]
pub struct Step {
    /// By which later steps refer to it.
    pub id: Option<Arc<str>>,
    /// Only carried out when this holds.
    pub condition: Option<Expression>,
    /// In place of the rule's.
    pub retry: Option<RetryPolicy>,
    /// The longest one attempt may take.
    pub timeout: Option<Duration>,
    /// What it does.
    pub action: Action,
}

impl Step {
    /// Its id, or its number from 1: how runs, logs and `ParentOperationId` name it.
    #[must_use]
    pub fn label(&self, index: usize) -> String {
        self.id.as_deref().map_or_else(|| (index + 1).to_string(), str::to_owned)
    }

    /// The step's kind as written: `enqueue`, `start_job`, `get_item`, `http`, `emit`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        todo!()
    }
}

/// What a step does, as written: templates not yet rendered. Its shape is this module's own business; the rest of the
/// program sees [`Request`].
#[derive(Debug)]
pub struct Action {
    // the rules module fills this in (an enum over the step kinds with their templates)
    #[expect(dead_code, reason = "filled in by the rules module")]
    template: Template,
}

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
    /// Make an event of our own.
    Emit(Emit),
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
    /// In the words of the rule file: `{"enqueue": {…}}`; what tests compare with and runs show.
    #[must_use]
    pub fn to_json(&self) -> Value {
        todo!()
    }

    /// Whether sending it twice may do it twice: such a request needs a durable intent first.
    #[must_use]
    pub fn is_idempotent(&self) -> bool {
        match self {
            Self::GetItem(_) | Self::Emit(_) => true,
            Self::Http(call) => matches!(call.method.as_str(), "GET" | "HEAD" | "OPTIONS"),
            Self::Enqueue(_) | Self::StartJob(_) => false,
        }
    }
}

/// What steps are rendered from.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The event.
    pub event: &'a Event,
    /// Values of finished steps by id.
    pub steps: &'a Value,
    /// `vars`.
    pub vars: &'a Value,
    /// The run; `None` in tests and `explain`.
    pub run: Option<RunId>,
    /// The moment the run was created: stands still over attempts.
    pub now: Timestamp,
}

/// A step, rendered.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// Its `if` does not hold.
    Skip {
        /// Why: the expression, or the path that is missing.
        because: String,
    },
    /// To be carried out.
    Request(Request),
}

/// An expression that failed where it must not: the run is dead with cause `expression`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ExpressionFault {
    /// Where in the rule: `when`, `steps[0].enqueue.content.Amount`.
    pub place: String,
    /// What happened, with a hint.
    pub message: String,
}

impl Rule {
    /// Renders the step with this index.
    ///
    /// # Errors
    /// A type error, a missing field, a limit, or a value that Orchestrator would refuse.
    pub fn render(&self, step: usize, input: &RenderInput<'_>) -> Result<Rendered, ExpressionFault> {
        let _ = (step, input);
        todo!()
    }
}

/// A rule that an event met.
#[derive(Clone, Debug)]
pub struct Met {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Set when its `when` failed with a type error: the run is dead at once.
    pub fault: Option<ExpressionFault>,
}

/// Why a rule did not match, or that it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule's name.
    pub rule: RuleName,
    /// Whether it matched.
    pub matched: bool,
    /// The first condition that failed; `None` when it matched.
    pub because: Option<Because>,
}

/// The first condition that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Because {
    /// Path of the condition: `match.QueueItem.ProcessingException.Type`, `when`, `events`, `sources`, `queues`, `mode`.
    pub path: String,
    /// What the rule asks for.
    pub expected: Value,
    /// What the event has; null where it has nothing.
    pub found: Value,
    /// A named trap that fits, if one does.
    pub hint: Option<String>,
}

/// A test inside a rule file.
#[derive(Debug)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    // event, replies, expect: private to this module
}

/// What a test gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The rule.
    pub rule: RuleName,
    /// The test.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not: a structural difference, one line per path.
    pub why: Option<String>,
}

/// A checked set of rules, ready to match. Cheap to share.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
}

impl RuleSet {
    /// Reads rule files (already loaded; `files` in the order of their names). With any error there is no set.
    /// `read_sample` loads `event: {file: …}` of tests, relative to the rule's file.
    pub fn load(
        files: &[Arc<SourceText>],
        known: &Known,
        read_sample: &dyn Fn(&std::path::Path) -> Result<String, String>,
    ) -> (Option<Self>, Faults) {
        let _ = (files, known, read_sample);
        todo!()
    }

    /// All rules, in file order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// A rule by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        let _ = name;
        todo!()
    }

    /// The rules an event meets, in file order then order in the file; modes `live` and `shadow`.
    #[must_use]
    pub fn matching(&self, event: &Event, now: Timestamp) -> Vec<Met> {
        let _ = (event, now);
        todo!()
    }

    /// For each rule whether it matched, or the first condition that failed.
    #[must_use]
    pub fn explain(&self, event: &Event, now: Timestamp) -> Vec<Explanation> {
        let _ = (event, now);
        todo!()
    }

    /// Runs the tests of the rules whose name is in `only` (all when empty).
    #[must_use]
    pub fn test(&self, only: &[String], vars: &Value, now: Timestamp) -> Vec<TestReport> {
        let _ = (only, vars, now);
        todo!()
    }
}
