//! A connector on its way from a description to a file: what is known of it, before it is written down.

use serde_json::Value;

/// A connector to be written.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) vendor_docs: Option<String>,
    pub(super) api_version: Option<String>,
    /// With `${config.x}` where the description has a variable.
    pub(super) base_url: String,
    /// Further addresses the description names, for a comment.
    pub(super) other_servers: Vec<String>,
    pub(super) config: Vec<Setting>,
    pub(super) auth: Auth,
    /// Keys that every request carries beside it: the name of the field of `config`, and where it goes.
    pub(super) further_keys: Vec<(String, Auth)>,
    /// Further schemes the description names, for a comment.
    pub(super) other_auth: Vec<String>,
    pub(super) operations: Vec<Operation>,
}

/// A field of `config`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) default: String,
    pub(super) description: Option<String>,
    /// What the description allows, where it says so.
    pub(super) choices: Vec<String>,
}

/// How requests are authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// Not at all.
    None,
    /// A token given by the user.
    Bearer,
    /// A user name with a password.
    Basic,
    /// A key in a header.
    KeyInHeader(String),
    /// A key in the query.
    KeyInQuery(String),
    /// OAuth 2, grant `client_credentials`.
    ClientCredentials { token_url: String, scopes: Vec<String> },
    /// OAuth 2, from a refresh token that a person got by signing in.
    RefreshToken { token_url: String },
}

/// An operation to be written.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) name: String,
    /// In capitals.
    pub(super) method: String,
    /// As the description has it: `/pets/{id}`.
    pub(super) path: String,
    /// With `${input.x}`.
    pub(super) template: String,
    pub(super) title: Option<String>,
    pub(super) description: Option<String>,
    pub(super) deprecated: bool,
    pub(super) inputs: Vec<Input>,
    pub(super) query: Vec<Sent>,
    pub(super) headers: Vec<Sent>,
    pub(super) body: Body,
    pub(super) paging: Option<Paging>,
    /// Where in the answer the rows of a list stand; empty for the whole.
    pub(super) root: String,
}

/// An input field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) kind: InputKind,
    pub(super) required: bool,
    pub(super) choices: Vec<Value>,
    pub(super) default: Option<Value>,
    pub(super) min: Option<Value>,
    pub(super) max: Option<Value>,
    pub(super) min_length: Option<u64>,
    pub(super) max_length: Option<u64>,
    pub(super) pattern: Option<String>,
    pub(super) description: Option<String>,
}

/// What an input field may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputKind {
    /// Anything.
    Any,
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A moment.
    DateTime,
    /// A mapping.
    Object,
    /// A list.
    List,
    /// Bytes of a file.
    File,
}

/// Something of a request that is made of an input field, or stands fast.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sent {
    /// As the service has it: `$top`, `filter[name]`, `X-Request-Id`.
    pub(super) name: String,
    pub(super) from: From,
}

/// What it is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum From {
    /// A text that is always the same.
    Fixed(String),
    /// An input field as it is; a list is repeated.
    Input(String),
    /// The elements of an input field with this between them.
    Joined(String, &'static str),
    /// An input field as a JSON text.
    Json(String),
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Body {
    /// None.
    None,
    /// One input field is the whole body, as JSON; under another media type where one is named.
    Whole { input: String, media: Option<String> },
    /// A JSON object of fields.
    Json(Vec<Sent>),
    /// A form of fields; `nested` where lists and mappings of them stand in brackets.
    Form { fields: Vec<Sent>, nested: bool },
    /// Parts.
    Multipart(Vec<Sent>),
    /// One input field as it stands, under a media type.
    Raw { input: String, media: String },
}

/// How the pages of a list are walked, where it is sure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Paging {
    /// `$skip` and `$top`, `offset` and `limit`: the names in the query, and how many are asked for.
    Offset { param: String, size: String, per_page: u64 },
    /// `page` and `per_page`.
    Page { param: String, start: u64, size: String, per_page: u64 },
    /// A `Link` header with `rel="next"`.
    Link,
}
