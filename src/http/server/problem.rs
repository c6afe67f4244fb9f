//! Refusals as RFC 9457 problem documents: small, constant, with a request id and no echo of the input.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Map, Value};

/// An answer of ours.
pub type Answer = Response<Full<Bytes>>;

/// Names one request in its answer and in the log, so that the two can be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId(u64);

impl RequestId {
    /// A new one: chance of this process and a counter.
    #[must_use]
    pub fn fresh() -> Self {
        static PROCESS: OnceLock<u32> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let process = *PROCESS.get_or_init(|| getrandom::u32().unwrap_or_else(|_| std::process::id()));
        Self((u64::from(process) << 32) | u64::from(COUNT.fetch_add(1, Ordering::Relaxed)))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Why a request is refused, and how the refusal is answered.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: Cow<'static, str>,
    close: bool,
    further: Box<Further>,
}

/// What only some refusals have; apart, so that a result which is nearly always good stays small.
#[derive(Clone, Debug, Default)]
struct Further {
    headers: Vec<(HeaderName, HeaderValue)>,
    members: Map<String, Value>,
}

impl Problem {
    /// A refusal; the title is the status's own reason.
    #[must_use]
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, detail: detail.into(), close: false, further: Box::default() }
    }

    /// Closes the connection after the answer: the rest of the request is not read.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// With a further header of constant value.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.further.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// With `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.further.headers.push((RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// With a further member of the document.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.further.members.insert(member.to_owned(), value);
        self
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The document as an answer.
    #[must_use]
    pub fn answer(self, id: RequestId) -> Answer {
        let mut document = Map::new();
        document.insert("type".to_owned(), Value::from("about:blank"));
        document.insert("title".to_owned(), Value::from(self.status.canonical_reason().unwrap_or("Refused")));
        document.insert("status".to_owned(), Value::from(self.status.as_u16()));
        document.insert("detail".to_owned(), Value::from(self.detail.into_owned()));
        document.insert("request_id".to_owned(), Value::from(id.to_string()));
        document.extend(self.further.members);
        let mut answer = json(self.status, Value::Object(document).to_string());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Ok(id) = HeaderValue::try_from(id.to_string()) {
            headers.insert(HeaderName::from_static("x-request-id"), id);
        }
        if self.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.extend(self.further.headers);
        answer
    }
}

/// A JSON text as an answer.
#[must_use]
pub fn json(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
