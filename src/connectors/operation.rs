//! One operation of a connector as its file says it: what a call says, what is sent, how the answer is read.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Number, Value};

use crate::expr::{Expression, Template, Tree};
use crate::fault::Place;

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
    /// Query parameters; a list repeats its name, null leaves it out.
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
    /// Any value, for fields that may be one thing or another.
    Any,
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
    /// `form`: `application/x-www-form-urlencoded`; null is left out.
    Form {
        /// Names and values.
        fields: Vec<(String, Tree)>,
        /// How lists and mappings are written.
        style: FormStyle,
    },
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

/// How lists and mappings stand in a form (`form_style`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FormStyle {
    /// A list repeats its name, a mapping is a text of JSON.
    #[default]
    Repeat,
    /// A mapping is `a[b]=…`, a list `a[]=…`; a list of lists or mappings is numbered.
    Brackets,
    /// A mapping is `a[b]=…`, a list `a[0]=…`.
    Numbers,
}

/// A part of a multipart body.
#[derive(Clone, Debug)]
pub struct Part {
    /// Text, or a value of kind [`FieldKind::File`]; null leaves the part out, a list
    /// is a part for each element (unless `content_type` says otherwise), other values are sent as JSON.
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

impl FormStyle {
    /// As written, in the order of the documentation.
    pub const WORDS: [(&str, Self); 3] = [("repeat", Self::Repeat), ("brackets", Self::Brackets), ("numbers", Self::Numbers)];
}

impl FieldKind {
    /// As written, in the order of the documentation.
    pub const WORDS: [&str; 9] = ["string", "integer", "number", "boolean", "object", "array", "date-time", "file", "any"];

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
            "any" => Self::Any,
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
            Self::Any => "any",
        }
    }
}
