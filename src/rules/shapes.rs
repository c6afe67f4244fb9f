//! The keys of rule files, in one place: rules are read by these tables, and the JSON Schema for editors is made of them.

use serde_json::Value;

use super::limits::{CONCURRENCY_MAX, JOBS_MAX, PARALLEL_MAX};
use super::pattern;
use crate::event::EVENT_FIELDS;
use crate::normalize::known_types;
use crate::retry::RETRY;
use crate::yaml::shape::{Form, Key, Shape, key, schema};

/// The JSON Schema of rule files: of each document in them.
#[must_use]
pub fn rule_schema() -> Value {
    schema(&RULE, "Tripline rule")
}

const NAMES: Form = Form::OneOrMore(&Form::Text);
const VALUES: Form = Form::AnyOf(&[Form::Map(&Form::Any), Form::Text]);
const PRIORITY: Form = Form::Suggested(|| ["Low", "Normal", "High"].map(str::to_owned).into());

/// A rule.
pub(super) static RULE: Shape = Shape {
    name: "rule",
    about: "When such an event comes, these steps are carried out.",
    keys: &[
        key("rule", Form::Text, "The rule's name, unique over all files.").required(),
        key("description", Form::Text, "What it is for, for people."),
        key("events", Form::OneOrMore(&EVENT_TYPE), "Event types: one or a list; `queueItem.*` and `*` are allowed.").required(),
        key("queues", NAMES, "Only events of these queues."),
        key("processes", NAMES, "Only events of these processes (release names)."),
        key("folders", Form::OneOrMore(&FOLDER_FILTER), "Only events of these folders: by id, {key: GUID} or path."),
        key("sources", NAMES, "Only events of these sources; an unsigned source has to be named."),
        key(
            "match",
            Form::Made("pattern", pattern::schema),
            "An event pattern over the event's data: a list of alternatives for each field.",
        ),
        key("when", Form::Expression, "A condition in CEL, asked where `match` holds."),
        key("retry", Form::Object(&RETRY), "How failed steps are tried again."),
        key(
            "mode",
            Form::AnyOf(&[Form::Words(&["live", "shadow", "off"]), Form::Bool]),
            "live (the default), shadow (records what it would do), or off.",
        ),
        key("dedupe", Form::Object(&DEDUPE), "Of events with the same key, only the first one runs in a while."),
        key("expires", Form::Duration, "Events that happened longer ago do not run."),
        key("ordered_by", Form::Scalar, "Runs with the same key, such as ${item.Reference}, go one after another as their events came in."),
        key("skip_if_newer", Form::Bool, "Beside `ordered_by`: an event older than one that was handled for the key is dropped."),
        key("limits", Form::Object(&LIMITS), "How many requests the rule sends."),
        key("record", Form::Bool, "Headers and bodies of its requests are kept with the attempts, secrets masked."),
        key("steps", Form::List(&Form::Object(&STEP)), "What is done, one after the other.").required(),
        key("on_give_up", Form::List(&Form::Object(&STEP)), "What is done when a run ends dead; `error` says why."),
        key("tests", Form::List(&Form::Object(&TEST)), "Tests of the rule: `tripline test` runs them; nothing is called."),
    ],
    later: &["enabled", "priority"],
    // Not one of ours, but what people try first.
    answered: &["on"],
    ..Shape::EMPTY
};

const EVENT_TYPE: Form = Form::Suggested(|| {
    let types = known_types().iter().map(|name| (*name).to_owned());
    let mut families: Vec<String> = known_types().iter().filter_map(|name| Some(format!("{}.*", name.split_once('.')?.0))).collect();
    families.retain(|family| family != "tripline.*");
    families.dedup();
    types.chain(families).chain(["*".to_owned()]).collect()
});

const FOLDER_FILTER: Form = Form::AnyOf(&[Form::Text, Form::Integer(0..=u64::MAX >> 1), Form::Object(&FOLDER_OF_EVENT)]);

/// A folder that events are of.
pub(super) static FOLDER_OF_EVENT: Shape = Shape {
    name: "folder-of-event",
    about: "A folder, by one of these.",
    keys: &[
        key("path", Form::Text, "Its path."),
        key("id", Form::Integer(1..=u64::MAX >> 1), "Its id."),
        key("key", Form::Text, "Its key, a GUID."),
    ],
    ..Shape::EMPTY
};

/// `dedupe`.
pub(super) static DEDUPE: Shape = Shape {
    name: "dedupe",
    about: "Of events with the same key, only the first one runs in a while.",
    keys: &[
        key("key", Form::Scalar, "What makes events the same, such as ${item.Reference}.").required(),
        key("window", Form::Duration, "From the event that ran on; 1s to 90d.").required(),
    ],
    ..Shape::EMPTY
};

/// How many requests a rule may be allowed at once.
pub(super) const CONCURRENCY: std::ops::RangeInclusive<u64> = 1..=CONCURRENCY_MAX as u64;

/// `limits`.
pub(super) static LIMITS: Shape = Shape {
    name: "limits",
    about: "How many requests the rule sends.",
    keys: &[
        key("concurrency", Form::Integer(CONCURRENCY), "At most this many at once."),
        key("rate", Form::Text, "At most this many in a time, evenly: 60/min, 10/s, 500/h."),
    ],
    ..Shape::EMPTY
};

/// A step.
pub(super) static STEP: Shape = Shape {
    name: "step",
    about: "One step: exactly one action.",
    keys: &[
        key("id", Form::Text, "By which later steps refer to it: `steps.<id>`."),
        key("if", Form::Expression, "Only carried out when this condition holds."),
        key("retry", Form::Object(&RETRY), "In place of the rule's."),
        key("timeout", Form::Duration, "The longest one attempt may take; of a step that awaits something, the longest wait."),
        key("enqueue", Form::Object(&ENQUEUE), "Add a queue item."),
        key("start_job", Form::Object(&START_JOB), "Start jobs of a process."),
        key("get_item", Form::Object(&GET_ITEM), "Read a queue item: its value is the item."),
        key("http", Form::Object(&HTTP), "Send an HTTP request."),
        key("call", Form::Object(&CALL), "Call an operation of a connector."),
        key("emit", Form::Object(&EMIT), "Make an event of your own."),
        key("enqueue_each", Form::Object(&ENQUEUE_EACH), "Add a queue item for each element of a list."),
        key("await_item", Form::Object(&GET_ITEM), "Go on when a queue item has come to its end: its value is the item."),
        key("await_job", Form::Object(&AWAIT_JOB), "Go on when a job has come to its end: its value is the job."),
        key("wait", Form::Scalar, "Go on later: a duration, a timestamp or a date."),
        key("for_each", Form::Expression, "A list in CEL: `steps` are carried out for each of its elements."),
        key("as", Form::Text, "Beside `for_each`: what the element is called; `each` by default."),
        key("parallel", PARALLEL, "Beside `for_each`: how many elements are worked on at once; 1 by default."),
        key("steps", Form::List(&Form::Object(&STEP)), "Beside `for_each`: what is done for each element."),
    ],
    later: &["record", "until"],
    one_of: super::action::KINDS,
    ..Shape::EMPTY
};

const ORCHESTRATOR: Key =
    key("orchestrator", Form::Text, "Which orchestrator of the configuration; default: the event's, or the only one.");
const FOLDER: Key = key("folder", FOLDER_FORM, "Which folder; default: the event's, or the orchestrator's.");
const FOLDER_FORM: Form = Form::AnyOf(&[Form::Text, Form::Object(&FOLDER_OF_STEP)]);

/// A folder that a step goes to.
pub(super) static FOLDER_OF_STEP: Shape = Shape {
    name: "folder-of-step",
    about: "A folder, by exactly one of these.",
    keys: &[key("path", Form::Text, "Its path."), key("id", Form::Scalar, "Its id."), key("key", Form::Text, "Its key, a GUID.")],
    one_of: &["path", "id", "key"],
    ..Shape::EMPTY
};

const QUEUE: Key = key("queue", Form::Text, "The queue's name.").required();
const ITEM_PRIORITY: Key = key("priority", PRIORITY, "Its priority; default: Orchestrator's.");
const REFERENCE: Key = key("reference", Form::Scalar, "Its reference, at most 128 characters; default: derived from rule, step and event.");
const DEFER: Key = key("defer", Form::Scalar, "Not before: a duration from now, a timestamp or a date.");
const DUE: Key = key("due", Form::Scalar, "Deadline: a duration from now, a timestamp or a date.");
const RISK_SLA: Key = key("risk_sla", Form::Scalar, "Risk SLA: a duration from now, a timestamp or a date.");
const CONTENT: Key = key("content", VALUES, "SpecificContent: names and single values.");
const ON_DUPLICATE: Key =
    key("on_duplicate", Form::Words(&["accept", "fail"]), "When the reference is taken by another item; accept by default.");

/// `enqueue`.
pub(super) static ENQUEUE: Shape = Shape {
    name: "enqueue",
    about: "Add a queue item.",
    keys: &[ORCHESTRATOR, FOLDER, QUEUE, ITEM_PRIORITY, REFERENCE, DEFER, DUE, RISK_SLA, CONTENT, ON_DUPLICATE],
    later: &["dedupe", "expires", "progress", "source"],
    ..Shape::EMPTY
};

/// `enqueue_each`.
pub(super) static ENQUEUE_EACH: Shape = Shape {
    name: "enqueue_each",
    about: "Add a queue item for each element of a list.",
    keys: &[
        key("over", OVER, "The list: one `${…}` that gives one, or written out.").required(),
        key("as", Form::Text, "What the element is called; `each` by default."),
        key("parallel", PARALLEL, "How many items are added at once; 1 by default."),
        ORCHESTRATOR,
        FOLDER,
        QUEUE,
        ITEM_PRIORITY,
        REFERENCE,
        DEFER,
        DUE,
        RISK_SLA,
        CONTENT,
        ON_DUPLICATE,
    ],
    later: ENQUEUE.later,
    ..Shape::EMPTY
};

const OVER: Form = Form::AnyOf(&[Form::Text, Form::List(&Form::Any)]);
const PARALLEL: Form = Form::Integer(1..=PARALLEL_MAX as u64);

/// `await_job`.
pub(super) static AWAIT_JOB: Shape = Shape {
    name: "await_job",
    about: "Go on when a job has come to its end.",
    keys: &[ORCHESTRATOR, FOLDER, key("id", Form::Scalar, "The job's id."), key("key", Form::Text, "The job's key, a GUID.")],
    later: &["until"],
    ..Shape::EMPTY
};

/// `start_job`.
pub(super) static START_JOB: Shape = Shape {
    name: "start_job",
    about: "Start jobs of a process.",
    keys: &[
        ORCHESTRATOR,
        FOLDER,
        key("process", Form::Text, "The process (release name).").required(),
        key("input", VALUES, "Input arguments."),
        key("priority", PRIORITY, "Their priority; default: the process's."),
        key("count", COUNT, "How many jobs; 1 by default."),
        key("runtime", Form::Text, "The runtime type, such as Unattended."),
        key("reference", Form::Scalar, "Their reference, at most 128 characters; default: derived from rule, step and event."),
        key("wait", Form::Bool, "Whether the job's end is awaited; the value is then the job at its end."),
    ],
    later: &["strategy", "robots", "machines"],
    ..Shape::EMPTY
};

const COUNT: Form = Form::AnyOf(&[Form::Integer(1..=JOBS_MAX as u64), Form::Text]);

/// `get_item`.
pub(super) static GET_ITEM: Shape = Shape {
    name: "get_item",
    about: "Read a queue item, by its id or by queue and reference.",
    keys: &[
        ORCHESTRATOR,
        FOLDER,
        key("id", Form::Scalar, "The item's id."),
        key("queue", Form::Text, "The item's queue; together with `reference`."),
        key("reference", Form::Scalar, "The item's reference; together with `queue`."),
    ],
    later: &["until"],
    ..Shape::EMPTY
};

/// `http`.
pub(super) static HTTP: Shape = Shape {
    name: "http",
    about: "Send an HTTP request.",
    keys: &[
        key(
            "method",
            Form::Suggested(|| crate::connectors::limits::METHODS.iter().map(|m| (*m).to_owned()).collect()),
            "POST where there is a body, else GET.",
        ),
        key("url", Form::Text, "The absolute URL.").required(),
        key("headers", Form::Map(&Form::Scalar), "Headers by name."),
        key("body", Form::Any, "A mapping or list is sent as JSON, a string as it stands."),
    ],
    later: &["query", "form", "auth"],
    ..Shape::EMPTY
};

/// `call`.
pub(super) static CALL: Shape = Shape {
    name: "call",
    about: "Call an operation of a connector.",
    keys: &[
        key("connector", Form::Text, "The connector's name.").required(),
        key("operation", Form::Text, "The operation's name.").required(),
        key("with", VALUES, "What it is called with: the operation's input."),
        key("all", Form::Bool, "Whether all pages of a list are read; the first by default."),
    ],
    ..Shape::EMPTY
};

/// `emit`.
pub(super) static EMIT: Shape = Shape {
    name: "emit",
    about: "Make an event of your own.",
    keys: &[
        key("type", Form::Text, "Its type, such as invoice.escalated.").required(),
        key("data", VALUES, "Its data."),
        key("subject", Form::Scalar, "Its subject."),
    ],
    ..Shape::EMPTY
};

/// A test.
pub(super) static TEST: Shape = Shape {
    name: "test",
    about: "An event, and what the rule must make of it.",
    keys: &[
        key("name", Form::Text, "What it shows.").required(),
        key("event", Form::Object(&TEST_EVENT), "The event.").required(),
        key("now", Form::Text, "The time the test takes it to be; a timestamp."),
        key("replies", Form::Map(&Form::Any), "Values of steps, by their ids."),
        key("expect", EXPECT, "The steps that must be carried out, as far as written; or whether the rule matches."),
    ],
    later: &["vars", "steps"],
    ..Shape::EMPTY
};

/// The event of a test.
pub(super) static TEST_EVENT: Shape = Shape {
    name: "test-event",
    about: "The fields of an event as `tripline events show` prints them, or a file.",
    keys: &[key("file", Form::Text, "A webhook body or a printed event, relative to this file; fields beside it replace its own.")],
    more: EVENT_FIELDS,
    ..Shape::EMPTY
};

const EXPECT: Form = Form::AnyOf(&[Form::List(&Form::Object(&EXPECTED_STEP)), Form::Object(&EXPECTED_MATCH)]);

/// `expect: {matched: …}`.
pub(super) static EXPECTED_MATCH: Shape = Shape {
    name: "expected-match",
    about: "Whether the rule matches.",
    keys: &[
        key("matched", Form::Bool, "Whether it matches.").required(),
        key("because", Form::Text, "The path of the first condition that fails."),
    ],
    later: &["state", "error"],
    ..Shape::EMPTY
};

/// One expected step.
pub(super) static EXPECTED_STEP: Shape = Shape {
    name: "expected-step",
    about: "What a step sends, as far as it is written here.",
    keys: &[
        key("enqueue", Form::Object(&EXPECTED_ENQUEUE), "An item."),
        key("start_job", Form::Object(&EXPECTED_START_JOB), "A job."),
        key("get_item", Form::Object(&EXPECTED_GET_ITEM), "A look at an item."),
        key("http", Form::Object(&EXPECTED_HTTP), "A request."),
        key("call", Form::Object(&EXPECTED_CALL), "A call of a connector."),
        key("emit", Form::Object(&EXPECTED_EMIT), "An event."),
        key("await_item", Form::Object(&EXPECTED_GET_ITEM), "An item that is awaited."),
        key("await_job", Form::Object(&EXPECTED_AWAIT_JOB), "A job that is awaited."),
        key("wait", Form::Scalar, "A wait: its duration, or until when."),
    ],
    answered: super::action::LISTS,
    one_of: super::action::KINDS_SENT,
    ..Shape::EMPTY
};

/// The keys that the requests of a step kind show; a test that expects another could never pass.
pub(super) fn expected_words(kind: &str) -> &'static [&'static str] {
    match EXPECTED_STEP.key(kind).map(|key| &key.form) {
        Some(Form::Object(shape)) => shape.more,
        _ => &[],
    }
}

static EXPECTED_ENQUEUE: Shape = Shape {
    name: "expected-enqueue",
    more: &["orchestrator", "folder", "queue", "priority", "reference", "defer", "due", "risk_sla", "content", "on_duplicate"],
    ..Shape::EMPTY
};
static EXPECTED_START_JOB: Shape = Shape {
    name: "expected-start_job",
    more: &["orchestrator", "folder", "process", "input", "priority", "count", "runtime", "reference", "wait"],
    ..Shape::EMPTY
};
static EXPECTED_AWAIT_JOB: Shape = Shape { name: "expected-await_job", more: &["orchestrator", "folder", "id", "key"], ..Shape::EMPTY };
static EXPECTED_GET_ITEM: Shape =
    Shape { name: "expected-get_item", more: &["orchestrator", "folder", "id", "queue", "reference"], ..Shape::EMPTY };
static EXPECTED_HTTP: Shape = Shape { name: "expected-http", more: &["method", "url", "headers", "body"], ..Shape::EMPTY };
static EXPECTED_CALL: Shape = Shape { name: "expected-call", more: &["connector", "operation", "with", "all"], ..Shape::EMPTY };
static EXPECTED_EMIT: Shape = Shape { name: "expected-emit", more: &["type", "data", "subject"], ..Shape::EMPTY };
