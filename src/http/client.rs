//! Outbound HTTP: reqwest with limits, no redirects, no environment proxies, and the egress policy (checked after
//! DNS, addresses pinned).

use std::time::Duration;

use bytes::Bytes;

use crate::config::Egress;
use crate::runs::Failure;

/// The longest answer that is read, in bytes.
pub const ANSWER_MAX: usize = 16 << 20;
/// For connecting, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole attempt, unless the step says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

/// A client under one egress policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {}

/// A request, ready to go.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Method.
    pub method: String,
    /// Absolute URL.
    pub url: String,
    /// Host stands in a file: it is allowed as it stands. Otherwise the egress policy decides.
    pub written_out: bool,
    /// Header names and values; marked secret ones are never shown.
    pub headers: Vec<(String, String)>,
    /// Body bytes; the content type is among the headers.
    pub body: Option<Bytes>,
    /// For the whole attempt.
    pub timeout: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Header names (lower case) and values, those that are text.
    pub headers: Vec<(String, String)>,
    /// The whole body, at most [`ANSWER_MAX`].
    pub body: Bytes,
}

impl Answer {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// Why a client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ClientError(pub String);

impl Client {
    /// A client under a policy.
    ///
    /// # Errors
    /// A CA file that cannot be read or has no certificate, a proxy URL that is none.
    pub fn new(egress: &Egress) -> Result<Self, ClientError> {
        let _ = egress;
        todo!()
    }

    /// Sends and reads the whole answer. An answer of any status is `Ok`; what failed says whether the request had
    /// left (`Class::Unknown`) or not (`Class::Connect`), or that policy refused it (`Class::Refused`).
    ///
    /// # Errors
    /// A [`Failure`] with its class, secrets masked.
    pub async fn send(&self, request: Outgoing) -> Result<Answer, Failure> {
        let _ = request;
        todo!()
    }
}
