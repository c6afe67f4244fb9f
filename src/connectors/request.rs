//! A request of a connector, rendered, and the answer to it: plain values between decisions and the edge that sends.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Access;
use crate::event::read_json;

/// What an operation sends: rendered and checked, not yet authorised. The same for every attempt of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct CallRequest {
    /// The connector's name.
    pub connector: Arc<str>,
    /// The operation's name.
    pub operation: Arc<str>,
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// The absolute URL without its query.
    pub url: String,
    /// Whether credentials may go there: scheme and authority come from files alone, not from data.
    pub written_out: bool,
    /// Query parameters in order, not yet percent-encoded.
    pub query: Vec<(String, String)>,
    /// Headers by their lower-case names; `authorization` is not among them unless the file writes it.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub content: Content,
    /// Whether sending it twice does it once.
    pub idempotent: bool,
}

/// The body of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// None.
    Empty,
    /// JSON.
    Json(Value),
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// `multipart/form-data`.
    Multipart(Vec<FormPart>),
    /// As it stands.
    Raw {
        /// Its media type.
        content_type: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// A part of a multipart body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormPart {
    /// The field's name.
    pub name: String,
    /// The file's name, where it is one.
    pub filename: Option<String>,
    /// Its media type, where one is said.
    pub content_type: Option<String>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The answer of a service: `{status, headers, body}`, as expressions see it.
#[derive(Clone, Debug, PartialEq)]
pub struct CallResponse {
    /// The status.
    pub status: u16,
    seen: Value,
}

impl CallResponse {
    /// Headers by their lower-case names; of those that repeat, the values are joined with `, `. The body: JSON as a value with
    /// its numbers exact, other text as a string, null where there is none.
    #[must_use]
    pub fn new(status: u16, headers: impl IntoIterator<Item = (String, String)>, body: Value) -> Self {
        let mut joined = Map::new();
        for (name, value) in headers {
            match joined.get_mut(&name) {
                Some(Value::String(first)) => {
                    first.push_str(", ");
                    first.push_str(&value);
                }
                _ => drop(joined.insert(name, Value::String(value))),
            }
        }
        Self { status, seen: Self::shape(status, Value::Object(joined), body) }
    }

    /// Reads a body: JSON where it is, text else. Bytes that are no UTF-8 are answered as `{"base64": …}`.
    #[must_use]
    pub fn of(status: u16, headers: impl IntoIterator<Item = (String, String)>, bytes: &[u8]) -> Self {
        use base64::Engine as _;
        let body = match std::str::from_utf8(bytes) {
            Ok("") => Value::Null,
            Ok(text) => read_json(bytes).unwrap_or_else(|_| Value::String(text.to_owned())),
            Err(_) => json!({"base64": base64::prelude::BASE64_STANDARD.encode(bytes)}),
        };
        Self::new(status, headers, body)
    }

    fn shape(status: u16, headers: Value, body: Value) -> Value {
        let entries = [("status", Value::from(status)), ("headers", headers), ("body", body)];
        Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// `response` as expressions see it.
    #[must_use]
    pub fn seen(&self) -> &Value {
        &self.seen
    }

    /// The same with another body.
    #[must_use]
    pub fn with_body(&self, body: Value) -> Self {
        Self { status: self.status, seen: Self::shape(self.status, self.seen["headers"].clone(), body) }
    }

    /// The headers, each with its value.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        let all = self.seen["headers"].as_object().into_iter().flatten();
        all.map(|(name, value)| (name.as_str(), value.as_str().unwrap_or_default()))
    }

    /// The value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.seen["headers"][name].as_str()
    }

    /// The body.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.seen["body"]
    }
}

impl CallRequest {
    /// The URL with its query.
    #[must_use]
    pub fn full_url(&self) -> String {
        if self.query.is_empty() {
            return self.url.clone();
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.query);
        format!("{}?{}", self.url, query.finish())
    }

    /// How many bytes the URL has with its query.
    pub(super) fn full_url_length(&self) -> usize {
        if self.query.is_empty() { self.url.len() } else { self.full_url().len() }
    }

    /// `{method, url, query, headers, body}`: what tests compare with and people are shown. With `access`, secrets are
    /// masked.
    #[must_use]
    pub fn to_json(&self, access: Option<&Access>) -> Value {
        let mut map = Map::new();
        map.insert("method".to_owned(), json!(self.method));
        map.insert("url".to_owned(), json!(self.url));
        if !self.query.is_empty() {
            map.insert("query".to_owned(), pairs(&self.query));
        }
        if !self.headers.is_empty() {
            map.insert("headers".to_owned(), json!(self.headers));
        }
        match &self.content {
            Content::Empty => {}
            Content::Json(value) => drop(map.insert("body".to_owned(), value.clone())),
            Content::Form(fields) => drop(map.insert("form".to_owned(), pairs(fields))),
            Content::Multipart(parts) => {
                map.insert("multipart".to_owned(), grouped(parts.iter().map(|part| (part.name.as_str(), part.shown()))));
            }
            Content::Raw { content_type, bytes } => {
                map.insert("raw".to_owned(), json!({"content_type": content_type, "content": shown_bytes(bytes)}));
            }
        }
        let value = Value::Object(map);
        access.map_or_else(|| value.clone(), |access| access.mask_value(&value))
    }
}

impl FormPart {
    fn shown(&self) -> Value {
        if self.filename.is_none() && self.content_type.is_none() {
            return shown_bytes(&self.bytes);
        }
        let mut map = Map::new();
        if let Some(name) = &self.filename {
            map.insert("filename".to_owned(), json!(name));
        }
        if let Some(kind) = &self.content_type {
            map.insert("content_type".to_owned(), json!(kind));
        }
        map.insert("content".to_owned(), shown_bytes(&self.bytes));
        Value::Object(map)
    }
}

fn pairs(pairs: &[(String, String)]) -> Value {
    grouped(pairs.iter().map(|(name, value)| (name.as_str(), json!(value))))
}

/// Names and values as a mapping; what repeats is a list.
fn grouped<'n>(entries: impl Iterator<Item = (&'n str, Value)>) -> Value {
    let mut map: Map<String, Value> = Map::new();
    for (name, value) in entries {
        match map.get_mut(name) {
            None => drop(map.insert(name.to_owned(), value)),
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = json!([first.clone(), value]),
        }
    }
    Value::Object(map)
}

fn shown_bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!(format!("{} bytes", bytes.len())), |text| json!(text))
}
