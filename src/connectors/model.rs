//! A connector as its file says it: what a service is, what it offers, how its answers are read.
//!
//! Everything here is checked and compiled (`${…}` are [`Template`]s and [`Tree`]s, conditions are [`Expression`]s);
//! nothing is rendered yet. Names that expressions see: `config`, `input`, `run`, `rule`, `now`; `request` in `before`
//! and in the text that `hmac` signs; `response` `{status, headers, body}` and `body` where an answer is read; `entry` for
//! each element of a list or row of a poll; `value` in `lookup`; `cursor` in a polling trigger's `with`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::auth::{Auth, AuthValue};
use super::deliveries::Deliveries;
use super::operation::{After, Before, Errors, FieldKind, Operation};
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
    Webhook(Deliveries),
}

/// A test of an operation or a trigger, in the file itself.
#[derive(Clone, Debug)]
pub struct Test {
    /// What it shows.
    pub name: String,
    /// What is tested.
    pub what: Tested,
    /// In place of what the configuration sets.
    pub config: Value,
    /// The answer of the service, where there is one.
    pub response: Option<TestResponse>,
    /// What must come of it: `{method, url, query, headers, body}` of the request, `{output}` or `{error}` of the answer.
    pub expect: Value,
    /// Where it stands.
    pub place: Place,
}

/// What a test is of.
#[derive(Clone, Debug)]
pub enum Tested {
    /// An operation (`call`), with its input.
    Call(Arc<str>, Value),
    /// A polling trigger, and up to where everything is known.
    Poll(Arc<str>, Value),
    /// The webhook of a trigger, and what is delivered.
    Delivery(Arc<str>, Delivered),
}

/// A delivery as a test writes it.
#[derive(Clone, Debug, Default)]
pub struct Delivered {
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body: a string as it stands, anything else as JSON.
    pub body: Value,
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
