//! The keys of connector files, in one place: connectors are read by these tables, and the JSON Schema for editors is
//! made of them.

use serde_json::Value;

use super::auth_shapes::AUTH;
use super::deliveries;
use super::limits::{CONCURRENCY, LENGTH, PAGES, ROWS, STATUS};
use super::operation::FieldKind;
use crate::retry::RETRY;
use crate::signature::Scheme;
use crate::yaml::secret::SECRET;
use crate::yaml::shape::{Form, Key, Shape, key, schema};

/// The JSON Schema of connector files: of each document in them.
#[must_use]
pub fn connector_schema() -> Value {
    schema(&CONNECTOR, "Tripline connector")
}

const TEXTS: Form = Form::Map(&Form::Scalar);
const VALUES: Form = Form::Map(&Form::Any);
const KIND: Form = Form::Words(&FieldKind::WORDS);
const HOOKS_BEFORE: Form = Form::OneOrMore(&Form::Object(&BEFORE));
const HOOKS_AFTER: Form = Form::OneOrMore(&Form::Object(&AFTER));
const HEADERS: Key = key("headers", TEXTS, "Headers by name.");
const QUERY: Key = key("query", VALUES, "Query parameters by name; a list repeats its name, null leaves it out.");

/// A connector.
pub(super) static CONNECTOR: Shape = Shape {
    name: "connector",
    about: "A service and what it offers.",
    keys: &[
        key("connector", Form::Text, "Its name, unique over all files.").required(),
        key("title", Form::Text, "For people."),
        key("description", Form::Text, "For people."),
        key("vendor_docs", Form::Text, "The vendor's documentation: a URL."),
        key("api_version", Form::Scalar, "The version of the vendor's API that this is made for."),
        key("icon", Form::Text, "A picture: a URL or a file name."),
        key("base_url", Form::Text, "Where requests go: https://HOST/PATH; only `${config.…}` may stand in it.").required(),
        key("allow_plaintext", Form::Bool, "Whether credentials may go out over plain http."),
        key("config", Form::Map(&CONFIG_FIELD_FORM), "What a user of the connector sets, seen as `config.<name>`."),
        key("auth", Form::AnyOf(&[Form::Words(&["none"]), Form::Object(&AUTH)]), "How requests are authorised; `none` by default."),
        HEADERS,
        QUERY,
        key("retry", Form::Object(&RETRY), "How failed calls are tried again; a step's own words go first."),
        key("limits", Form::Object(&LIMITS), "How many calls at once, how many in a time."),
        key("before", HOOKS_BEFORE, "Hooks over every request."),
        key("after", HOOKS_AFTER, "Hooks over every answer."),
        key("errors", Form::Object(&ERRORS), "What statuses mean, where an operation does not say otherwise."),
        key("operations", Form::Map(&Form::Object(&OPERATION)), "What it offers, by name."),
        key("triggers", Form::Map(&Form::Object(&TRIGGER)), "What sources may listen to, by name."),
        key("tests", Form::List(&Form::Object(&TEST)), "Tests: `tripline connector test` runs them; nothing is called."),
    ],
    ..Shape::EMPTY
};

const CONFIG_FIELD_FORM: Form = Form::AnyOf(&[Form::Object(&CONFIG_FIELD), Form::Scalar]);

/// A field of `config`.
pub(super) static CONFIG_FIELD: Shape = Shape {
    name: "config-field",
    about: "Something that a user of the connector sets under `connectors.config` of the configuration.",
    keys: &[
        key("type", Form::Words(&["string", "integer", "number", "boolean"]), "What it holds; string by default."),
        key("default", Form::AnyOf(&[Form::Object(&SECRET), Form::Scalar]), "What it is where it is not set."),
        key("required", Form::Bool, "Whether it must be set; true without a default, by default."),
        key("enum", Form::List(&Form::Scalar), "The only values there are."),
        key("secret", Form::Bool, "Whether its value never prints."),
        key("label", Form::Text, "For people."),
        key("description", Form::Text, "For people."),
    ],
    ..Shape::EMPTY
};

/// `limits`.
pub(super) static LIMITS: Shape = Shape {
    name: "connector-limits",
    about: "How many calls at once, how many in a time.",
    keys: &[key("rate", Form::Text, "Calls in a time: 50/min, 10/s."), key("concurrency", Form::Integer(CONCURRENCY), "Calls in flight.")],
    ..Shape::EMPTY
};

/// A hook over a request.
pub(super) static BEFORE: Shape = Shape {
    name: "before",
    about: "A hook over a request that was rendered; sees `request`.",
    keys: &[
        key("if", Form::Expression, "Only when this holds."),
        key("fail", Form::Text, "Nothing is sent; the call fails for good with this message."),
        HEADERS,
        QUERY,
        key("body", Form::Any, "In place of a JSON body; sees `request.body`."),
    ],
    ..Shape::EMPTY
};

/// A hook over an answer.
pub(super) static AFTER: Shape = Shape {
    name: "after",
    about: "A hook over an answer; sees `response`.",
    keys: &[
        key("if", Form::Expression, "Only when this holds."),
        key("fail", Form::Text, "The call fails for good with this message."),
        key("retry", Form::Text, "The call is tried again, with this message."),
        key("body", Form::Any, "In place of the answer's body; sees `response.body`."),
    ],
    ..Shape::EMPTY
};

const STATUSES: Form = Form::OneOrMore(&Form::AnyOf(&[Form::Integer(STATUS), Form::Words(&["3xx", "4xx", "5xx"])]));

/// What statuses mean.
pub(super) static ERRORS: Shape = Shape {
    name: "errors",
    about: "What statuses mean: numbers, or 4xx and 5xx.",
    keys: &[
        key("retry", STATUSES, "Tried again."),
        key("dead", STATUSES, "Dead at once."),
        key("accept", STATUSES, "As good as 2xx."),
        key("message", Form::Text, "What the service says of its error; sees `response`."),
    ],
    ..Shape::EMPTY
};

/// An operation.
pub(super) static OPERATION: Shape = Shape {
    name: "operation",
    about: "One thing that a service does.",
    keys: &[
        key("title", Form::Text, "For people."),
        key("description", Form::Text, "For people."),
        key("method", Form::Suggested(|| super::limits::METHODS.iter().map(|m| (*m).to_owned()).collect()), "The method.").required(),
        key("path", Form::Text, "The path below `base_url`; each `${…}` stays inside its segment.").required(),
        key("input", Form::Map(&Form::Object(&INPUT)), "What a call says, checked before sending; seen as `input.<name>`."),
        QUERY,
        HEADERS,
        key("body", Form::Any, "A JSON body."),
        key("form", VALUES, "A body of form fields."),
        key("form_style", Form::Words(&["repeat", "brackets", "numbers"]), "How lists and mappings stand in `form`; `repeat` by default."),
        key("multipart", Form::Map(&Form::AnyOf(&[Form::Object(&PART), Form::Scalar])), "A body of parts."),
        key("raw", Form::Object(&RAW), "A body as it stands."),
        key("before", HOOKS_BEFORE, "Hooks over the request."),
        key("after", HOOKS_AFTER, "Hooks over the answer."),
        key("output", Form::Object(&OUTPUT), "What of the answer is the value."),
        key("paginate", Form::Object(&PAGINATE), "How further pages are asked for."),
        key("errors", Form::Object(&ERRORS), "What statuses mean."),
        key("lookup", Form::Object(&LOOKUP), "How an unknown outcome is cleared up."),
        key("idempotent", Form::Bool, "Whether sending it twice does it once; by default as the method says."),
        key(
            "idempotency_header",
            Form::AnyOf(&[Form::Text, Form::Bool]),
            "The header for the key of all attempts; Idempotency-Key by default, false for none.",
        ),
        key("timeout", Form::Duration, "The longest one attempt may take."),
    ],
    ..Shape::EMPTY
};

/// An input field.
pub(super) static INPUT: Shape = Shape {
    name: "input",
    about: "Something that a call says.",
    keys: &[
        key("type", KIND, "What it holds; string by default."),
        key("required", Form::Bool, "Whether a call must say it."),
        key("default", Form::Any, "What it is where a call does not say it."),
        key("enum", Form::List(&Form::Scalar), "The only values there are."),
        key("min", NUMBER, "The least number."),
        key("max", NUMBER, "The greatest number."),
        key("min_length", Form::Integer(LENGTH), "The fewest characters or elements."),
        key("max_length", Form::Integer(LENGTH), "The most characters or elements."),
        key("pattern", Form::Text, "A regular expression that a string must contain a match of."),
        key("label", Form::Text, "For people."),
        key("description", Form::Text, "For people."),
        key("primary", Form::Bool, "Whether it is one of the few that matter most."),
    ],
    ..Shape::EMPTY
};

const NUMBER: Form = Form::Number(f64::MIN..=f64::MAX);

/// A part of a multipart body.
pub(super) static PART: Shape = Shape {
    name: "part",
    about: "A part of a multipart body.",
    keys: &[
        key("content", Form::Text, "Text, or an input of type file.").required(),
        key("filename", Form::Text, "In place of the file's own name."),
        key("content_type", Form::Text, "In place of the file's own media type."),
    ],
    ..Shape::EMPTY
};

/// `raw`.
pub(super) static RAW: Shape = Shape {
    name: "raw",
    about: "A body as it stands.",
    keys: &[
        key("content_type", Form::Text, "Its media type; application/octet-stream by default."),
        key("content", Form::Text, "Text, or an input of type file.").required(),
    ],
    ..Shape::EMPTY
};

/// `output`.
pub(super) static OUTPUT: Shape = Shape {
    name: "output",
    about: "What of the answer is the value.",
    keys: &[
        key("root", Form::Text, "Where in the body: a.b.0; a list there is mapped element by element."),
        key("fields", VALUES, "The fields of the value; `entry` is the root or its element."),
    ],
    ..Shape::EMPTY
};

/// The ways of asking for further pages.
pub(super) const PAGE_WAYS: &[&str] = &["page", "offset", "cursor", "next_link", "next_url"];

/// `paginate`.
pub(super) static PAGINATE: Shape = Shape {
    name: "paginate",
    about: "How further pages are asked for: exactly one way, and how many at most.",
    keys: &[
        key("page", Form::Object(&BY_PAGE), "By the page's number."),
        key("offset", Form::Object(&BY_OFFSET), "By the number of rows to skip."),
        key("cursor", Form::Object(&BY_CURSOR), "By a word of the last answer."),
        key("next_link", Form::AnyOf(&[Form::Bool, Form::Object(&BY_LINK)]), "By the answer's `Link` header, rel=\"next\"."),
        key("next_url", Form::Object(&BY_URL), "By a URL in the last answer."),
        key("max", Form::Integer(PAGES), "The most pages of one call; 100 by default."),
    ],
    one_of: PAGE_WAYS,
    ..Shape::EMPTY
};

const PARAM: Key = key("param", Form::Text, "The query parameter.").required();
const SIZE_PARAM: Key = key("size_param", Form::Text, "The query parameter for the number of rows.");
const SIZE: Key = key("size", Form::Integer(ROWS), "How many rows a page has; a shorter page is the last.");
const UNTIL: Key = key("until", Form::Expression, "After a page for which this holds there is none.");
const START: Key = key("start", Form::Integer(0..=u32::MAX as u64), "The first number.");
const FROM: Key = key("from", Form::Text, "Where the answer has it, in CEL: response.body.next.").required();

/// `paginate.page`.
pub(super) static BY_PAGE: Shape =
    Shape { name: "by-page", about: "By the page's number, from 1.", keys: &[PARAM, START, SIZE_PARAM, SIZE, UNTIL], ..Shape::EMPTY };
/// `paginate.offset`.
pub(super) static BY_OFFSET: Shape = Shape {
    name: "by-offset",
    about: "By the number of rows to skip, from 0.",
    keys: &[PARAM, START, SIZE_PARAM, SIZE, UNTIL],
    ..Shape::EMPTY
};
/// `paginate.cursor`.
pub(super) static BY_CURSOR: Shape =
    Shape { name: "by-cursor", about: "By a word of the last answer.", keys: &[PARAM, FROM, SIZE_PARAM, SIZE, UNTIL], ..Shape::EMPTY };
/// `paginate.next_link`.
pub(super) static BY_LINK: Shape = Shape { name: "by-link", about: "By the `Link` header.", keys: &[UNTIL], ..Shape::EMPTY };
/// `paginate.next_url`.
pub(super) static BY_URL: Shape = Shape { name: "by-url", about: "By a URL in the last answer.", keys: &[FROM, UNTIL], ..Shape::EMPTY };

/// `lookup`.
pub(super) static LOOKUP: Shape = Shape {
    name: "lookup",
    about: "How an unknown outcome is cleared up: another operation is asked, twice.",
    keys: &[
        key("operation", Form::Text, "The operation that looks.").required(),
        key("with", VALUES, "Its input; sees the call's `input`."),
        key("found", Form::Expression, "Whether the call was carried out; sees `value`, what the operation answered.").required(),
        key("value", Form::Any, "The step's value then; `value` by default."),
    ],
    ..Shape::EMPTY
};

/// A trigger.
pub(super) static TRIGGER: Shape = Shape {
    name: "trigger",
    about: "Something that a source may listen to: exactly one way.",
    keys: &[
        key("description", Form::Text, "For people."),
        key("poll", Form::Object(&POLL), "Rows are asked for from time to time."),
        key("webhook", Form::Object(&WEBHOOK), "The service calls us."),
    ],
    one_of: &["poll", "webhook"],
    ..Shape::EMPTY
};

/// `poll` of a trigger.
pub(super) static POLL: Shape = Shape {
    name: "trigger-poll",
    about: "Rows are asked for from time to time.",
    keys: &[
        key("operation", Form::Text, "The operation that lists rows.").required(),
        key("with", VALUES, "Its input; sees `cursor`, null at first, and `start`, from when on changes are to be told."),
        key("cursor", Form::Text, "Of a row, in CEL over `entry`: when it was last changed.").required(),
        key("id", Form::Text, "Of a row, in CEL: what identifies the thing.").required(),
        key("version", Form::Text, "Of a row, in CEL: what differs between two states; the cursor by default."),
        key("created", Form::Text, "Of a row, in CEL: when it was made."),
    ],
    ..Shape::EMPTY
};

/// `webhook` of a trigger.
pub(super) static WEBHOOK: Shape = Shape {
    name: "trigger-webhook",
    about: "The service calls us.",
    keys: &[
        key("scheme", Form::Words(&Scheme::OF_SERVICES), "How deliveries are signed, and whose words they use.").required(),
        deliveries::TYPE,
        deliveries::ID,
        deliveries::TIME,
        deliveries::HEADER,
        deliveries::ALGORITHM,
        deliveries::ENCODING,
        deliveries::PREFIX,
        deliveries::CONTENT,
        deliveries::TIMESTAMP,
        deliveries::TOLERATED,
    ],
    ..Shape::EMPTY
};

/// A test.
pub(super) static TEST: Shape = Shape {
    name: "connector-test",
    about: "A call or a trigger, and what must come of it. Nothing is sent.",
    keys: &[
        key("name", Form::Text, "What it shows.").required(),
        key("call", Form::Text, "The operation that is called."),
        key("with", VALUES, "Its input."),
        key("trigger", Form::Text, "The trigger that is listened to."),
        key("cursor", Form::Scalar, "Of a polling trigger: up to where everything is known."),
        key("delivery", Form::Object(&DELIVERY), "Of a webhook: what the service sends."),
        key("config", VALUES, "In place of what the configuration sets."),
        key("response", Form::Object(&RESPONSE), "The answer of the service."),
        key("expect", Form::Object(&EXPECTED), "What must come of it, as far as written.").required(),
    ],
    one_of: &["call", "trigger"],
    ..Shape::EMPTY
};

/// `delivery` of a test.
pub(super) static DELIVERY: Shape = Shape {
    name: "test-delivery",
    about: "What the service sends; its signature is not looked at.",
    keys: &[HEADERS, key("body", Form::Any, "The body: a string as it stands, anything else as JSON.").required()],
    ..Shape::EMPTY
};

/// `response` of a test.
pub(super) static RESPONSE: Shape = Shape {
    name: "test-response",
    about: "The answer of the service.",
    keys: &[
        key("status", Form::Integer(STATUS), "The status; 200 by default."),
        HEADERS,
        key("body", Form::Any, "The body: a string as it stands, anything else as JSON."),
    ],
    ..Shape::EMPTY
};

/// `expect` of a test.
pub(super) static EXPECTED: Shape = Shape {
    name: "expected-call",
    about: "Of the request `method`, `url`, `query`, `headers` and a body; of the answer `output` or `error`; of a trigger `events`.",
    more: &["method", "url", "query", "headers", "body", "form", "multipart", "raw", "output", "error", "retry", "events"],
    ..Shape::EMPTY
};
