//! A connector as its file says it: what a service is, what it offers, how its answers are read.
//!
//! Everything here is checked and compiled (`${…}` are [`Template`]s and [`Tree`]s, conditions are [`Expression`]s);
//! nothing is rendered yet. Names that expressions see: `config`, `input`, `run`, `rule`, `now`; `request` in `before`
//! and in the text that `hmac` signs; `response` `{status, headers, body}` and `body` where an answer is read; `entry` for
//! each element of a list or row of a poll; `value` in `lookup`; `cursor` in a polling trigger's `with`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Number, Value};

use super::auth::{Auth, AuthValue};
use crate::expr::{Expression, Template, Tree};
use crate::fault::Place;
use crate::retry::RetryWords;
use crate::time::Rate;

/// A service and what it offers.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Its name, unique over all files.
    pub name: Arc<str>,
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// The vendor's documentation: a URL.
    pub vendor_docs: Option<String>,
    /// Which version of the vendor's API this is made for.
    pub api_version: Option<String>,
    /// A picture: a URL or a file name, for consoles.
    pub icon: Option<String>,
    /// Where requests go: an absolute URL without a slash at its end. Only `config` may stand in it.
    pub base_url: Template,
    /// Whether credentials may go out unencrypted.
    pub allow_plaintext: bool,
    /// What a user of the connector sets, in the order of the file.
    pub config: Vec<ConfigField>,
    /// How requests are authorised.
    pub auth: Auth,
    /// Headers of every request.
    pub headers: Vec<(String, Template)>,
    /// Query parameters of every request.
    pub query: Vec<(String, Tree)>,
    /// How failed calls are tried again, as far as written; a step's own words go first.
    pub retry: RetryWords,
    /// How many calls at once, how many in a time.
    pub limits: Limits,
    /// Hooks over every request, before those of the operation.
    pub before: Vec<Before>,
    /// Hooks over every answer, before those of the operation.
    pub after: Vec<After>,
    /// What statuses mean, where an operation does not say otherwise.
    pub errors: Errors,
    /// What it offers, by name.
    pub operations: BTreeMap<Arc<str>, Arc<Operation>>,
    /// What sources may listen to, by name.
    pub triggers: BTreeMap<Arc<str>, Trigger>,
    /// Its own tests.
    pub tests: Vec<Test>,
    /// Where it stands.
    pub place: Place,
}

/// Something that a user of a connector sets.
#[derive(Clone, Debug)]
pub struct ConfigField {
    /// Its name, seen as `config.<name>`.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: FieldKind,
    /// What it is set to: by the configuration, else by `default`; `None` where neither is.
    pub value: Option<ConfigValue>,
    /// Whether there must be a value.
    pub required: bool,
    /// The only values there are; empty where any is fine.
    pub choices: Vec<Value>,
    /// Whether its value never prints.
    pub secret: bool,
    /// For people.
    pub label: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Where it is written.
    pub place: Place,
}

/// What a field of `config` is set to.
#[derive(Clone, Debug)]
pub enum ConfigValue {
    /// Written out.
    Plain(Value),
    /// Read from an environment variable, a file or a credential; never prints.
    Read(AuthValue),
}

/// How many calls at once, how many in a time. `None`: no limit of the connector's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Calls in a time.
    pub rate: Option<Rate>,
    /// Calls in flight.
    pub concurrency: Option<u32>,
}

/// One thing that a service does.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Its name.
    pub name: Arc<str>,
    /// For people.
    pub title: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Begins with `/`; each `${…}` is percent-encoded and never leaves its segment.
    pub path: Template,
    /// What a call says, checked before anything is sent; in the order of the file.
    pub input: Vec<InputField>,
    /// Query parameters; a list repeats its name, null and "" of a lone `${…}` leave it out.
    pub query: Vec<(String, Tree)>,
    /// Headers.
    pub headers: Vec<(String, Template)>,
    /// The body.
    pub body: Option<Body>,
    /// Hooks over the request, in order.
    pub before: Vec<Before>,
    /// Hooks over the answer, in order.
    pub after: Vec<After>,
    /// What of the answer is the step's value.
    pub output: Output,
    /// How further pages are asked for.
    pub paginate: Option<Paginate>,
    /// What statuses mean, beyond those of the connector.
    pub errors: Errors,
    /// How an unknown outcome is cleared up.
    pub lookup: Option<Lookup>,
    /// Whether sending it twice does it once: the method's answer unless written.
    pub idempotent: bool,
    /// The header for the key that is the same for every attempt; `None` sends none.
    pub idempotency_header: Option<String>,
    /// The longest one attempt may take, unless the step says.
    pub timeout: Option<Duration>,
    /// Where it stands.
    pub place: Place,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// A string.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A mapping.
    Object,
    /// A list.
    Array,
    /// A timestamp of RFC 3339, or a date.
    DateTime,
    /// A mapping `{name, content_type, text | base64}`: for multipart and raw bodies.
    File,
}

/// Something that a call says.
#[derive(Clone, Debug)]
pub struct InputField {
    /// Its name, seen as `input.<name>`; null where it is not said and has no default.
    pub name: Arc<str>,
    /// What it holds.
    pub kind: FieldKind,
    /// Whether a call must say it.
    pub required: bool,
    /// What it is where a call does not say it; may hold `${config.…}`.
    pub default: Option<Tree>,
    /// The only values there are (`enum`); empty where any is fine.
    pub choices: Vec<Value>,
    /// The least number.
    pub min: Option<Number>,
    /// The greatest number.
    pub max: Option<Number>,
    /// The fewest characters of a string, elements of a list.
    pub min_length: Option<u64>,
    /// The most characters of a string, elements of a list.
    pub max_length: Option<u64>,
    /// What a string must contain a match of (anchor it with `^…$`).
    pub pattern: Option<regex::Regex>,
    /// For people.
    pub label: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Whether it is one of the few that matter most, for consoles.
    pub primary: bool,
    /// Where it is written.
    pub place: Place,
}

/// The body of a request.
#[derive(Clone, Debug)]
pub enum Body {
    /// `body`: JSON.
    Json(Tree),
    /// `form`: `application/x-www-form-urlencoded`; a list repeats its name, null is left out.
    Form(Vec<(String, Tree)>),
    /// `multipart`: `multipart/form-data`.
    Multipart(Vec<(String, Part)>),
    /// `raw`: anything, as it stands.
    Raw {
        /// Its media type.
        content_type: Template,
        /// Text, or a value of kind [`FieldKind::File`].
        content: Template,
    },
}

/// A part of a multipart body.
#[derive(Clone, Debug)]
pub struct Part {
    /// Text, or a value of kind [`FieldKind::File`]; null leaves the part out, other values are sent as JSON.
    pub content: Template,
    /// In place of the file's own name.
    pub filename: Option<Template>,
    /// In place of the file's own media type.
    pub content_type: Option<Template>,
}

/// A hook over a request that was rendered. Sees `request` `{method, url, headers, query, body}`.
#[derive(Clone, Debug)]
pub struct Before {
    /// Only when this holds (`if`).
    pub condition: Option<Expression>,
    /// Nothing is sent: the call fails for good with this message.
    pub fail: Option<Template>,
    /// Headers to set.
    pub headers: Vec<(String, Template)>,
    /// Query parameters to set.
    pub query: Vec<(String, Tree)>,
    /// In place of a JSON body.
    pub body: Option<Tree>,
}

/// A hook over an answer. Sees `response` `{status, headers, body}` and `input`.
#[derive(Clone, Debug)]
pub struct After {
    /// Only when this holds (`if`).
    pub condition: Option<Expression>,
    /// The call fails for good with this message.
    pub fail: Option<Template>,
    /// The call is tried again, with this message.
    pub retry: Option<Template>,
    /// In place of the answer's body.
    pub body: Option<Tree>,
}

/// What of an answer is the value.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// Where in the body: keys and numbers of elements; empty for the whole.
    pub root: Vec<String>,
    /// The fields of the value, or of each element of a list: `entry` is the root or its element. Empty for all of it.
    pub fields: Vec<(String, Tree)>,
}

/// How further pages are asked for.
#[derive(Clone, Debug)]
pub struct Paginate {
    /// In which way.
    pub by: PageBy,
    /// The most pages of one call (`max`).
    pub max_pages: u32,
    /// After a page for which this holds (it sees `response`), there is none.
    pub until: Option<Expression>,
}

/// The ways of asking for a further page. Rows are what [`Output::root`] points at.
#[derive(Clone, Debug)]
pub enum PageBy {
    /// A number of a page in the query.
    Page {
        /// The parameter.
        param: String,
        /// The first page's number.
        start: u64,
        /// How many rows are asked for.
        size: Option<PageSize>,
    },
    /// A number of rows to skip in the query.
    Offset {
        /// The parameter.
        param: String,
        /// The first row's number.
        start: u64,
        /// How many rows are asked for.
        size: PageSize,
    },
    /// A word of the last answer in the query.
    Cursor {
        /// The parameter.
        param: String,
        /// Where the answer has it; null, missing and "" mean that there is no further page.
        from: Expression,
        /// How many rows are asked for.
        size: Option<PageSize>,
    },
    /// The answer's `Link` header, `rel="next"`.
    NextLink,
    /// A URL in the answer; null, missing and "" mean that there is no further page. It must stay on the host of `base_url`.
    NextUrl {
        /// Where the answer has it.
        from: Expression,
    },
}

/// How many rows a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageSize {
    /// The query parameter that asks for it; `None` where the service decides.
    pub param: Option<String>,
    /// How many; a page with fewer rows is the last.
    pub rows: u64,
}

/// What statuses mean. Without a word for it: 2xx is success; 408, 425, 429, 5xx are tried again; the rest is dead.
#[derive(Clone, Debug, Default)]
pub struct Errors {
    /// Tried again.
    pub retry: Vec<StatusMatch>,
    /// Dead at once.
    pub dead: Vec<StatusMatch>,
    /// As good as 2xx.
    pub accept: Vec<StatusMatch>,
    /// What the service says of its error; sees `response`. Where it cannot be rendered, the status speaks.
    pub message: Option<Template>,
}

/// A status, or a class of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusMatch {
    /// `409`.
    One(u16),
    /// `5xx`: the first digit.
    Class(u16),
}

/// How an unknown outcome is cleared up: another operation is called, twice and some time apart, before it is taken
/// for not done.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The operation that looks; one that changes nothing.
    pub operation: Arc<str>,
    /// Its input; sees the `input` of the call.
    pub with: Vec<(String, Tree)>,
    /// Whether the call was carried out; sees `value`, what the operation answered, and `input`.
    pub found: Expression,
    /// The step's value then; `value` itself where not written.
    pub value: Option<Tree>,
}

/// Something that a source may listen to.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Its name.
    pub name: Arc<str>,
    /// For people.
    pub description: Option<String>,
    /// In which way.
    pub kind: TriggerKind,
    /// Where it stands.
    pub place: Place,
}

/// The ways of listening.
#[derive(Clone, Debug)]
pub enum TriggerKind {
    /// Rows are asked for from time to time.
    Poll {
        /// The operation that lists rows; one that changes nothing.
        operation: Arc<str>,
        /// Its input; sees `cursor`, null at first.
        with: Vec<(String, Tree)>,
        /// Of a row: when it was last changed, or another value that only rises; sees `entry`, the curated row.
        cursor: Expression,
        /// Of a row: what identifies the thing.
        id: Expression,
        /// Of a row: what differs between two states of the thing; the cursor where not written.
        version: Option<Expression>,
        /// Of a row: when it was made.
        created: Option<Expression>,
    },
    /// The service calls us.
    Webhook {
        /// How deliveries are signed: `standard-webhooks`, `github`, …
        scheme: String,
        /// The event's type; sees `body` and `headers`. The scheme's own where not written.
        event_type: Option<Expression>,
        /// The service's id of the event. The scheme's own where not written.
        id: Option<Expression>,
        /// When it happened. The scheme's own where not written.
        time: Option<Expression>,
        /// How old a signed stamp may be.
        tolerance: Option<Duration>,
    },
}

/// A test of an operation, in the file itself.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// The operation (`call`).
    pub call: Arc<str>,
    /// Its input.
    pub with: Value,
    /// In place of what the configuration sets.
    pub config: Value,
    /// The answer of the service, where there is one.
    pub response: Option<TestResponse>,
    /// What must come of it: `{method, url, query, headers, body}` of the request, `{output}` or `{error}` of the answer.
    pub expect: Value,
    /// Where it stands.
    pub place: Place,
}

/// An answer as a test writes it.
#[derive(Clone, Debug)]
pub struct TestResponse {
    /// The status; 200 where not written.
    pub status: u16,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body: a string as it stands, anything else as JSON.
    pub body: Value,
}

impl StatusMatch {
    /// Whether a status is meant.
    #[must_use]
    pub fn covers(self, status: u16) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl FieldKind {
    /// As written, in the order of the documentation.
    pub const WORDS: [&str; 8] = ["string", "integer", "number", "boolean", "object", "array", "date-time", "file"];

    /// By its word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Some(match word {
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            "object" => Self::Object,
            "array" => Self::Array,
            "date-time" => Self::DateTime,
            "file" => Self::File,
            _ => return None,
        })
    }

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Object => "object",
            Self::Array => "array",
            Self::DateTime => "date-time",
            Self::File => "file",
        }
    }
}
