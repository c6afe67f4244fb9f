//! A call from its input to its value: one page, or page after page.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::{Call, Calls};
use crate::connectors::{Access, CallRequest, CallResponse, Connector, Meaning, Next, Operation, Pages};
use crate::expr::{RESULT_MAX, Scope, size};
use crate::http::client::{Answer, CallTrace, refusal};
use crate::runs::{Class, Failure, Who};
use crate::time::Timestamp;

/// What is called, with which input, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Whose operation it is.
    pub connector: &'a Connector,
    /// The operation.
    pub operation: &'a Operation,
    /// The values that the connector is used with.
    pub access: &'a Access,
    /// Checked, with defaults: what `Operation::input` gave.
    pub input: &'a Value,
    /// For each request, tokens included.
    pub timeout: Duration,
    /// Who asks.
    pub who: Who,
}

/// What a request gave: what came back and what it means.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was sent and what came back, for the record.
    pub trace: CallTrace,
    /// The answer as it came, where there is one.
    pub response: Option<CallResponse>,
    /// The curated value, or why there is none.
    pub result: Result<Value, Failure>,
}

/// How much of a list is read.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows.
    pub rows: usize,
    /// Bytes of all answers.
    pub bytes: u64,
}

/// For a step's value, which is kept and read whole.
pub const OF_A_STEP: Bounds = Bounds { rows: 10_000, bytes: 16 << 20 };

/// For a file that is written row by row.
pub const OF_A_FILE: Bounds = Bounds { rows: 10_000_000, bytes: 16 << 30 };

/// Why a walk ended without a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// There is no further page.
    Last,
    /// There may be more, but `paginate.max` allows no more pages.
    Pages(u32),
    /// There may be more, but it would be too much.
    Bounds(Bound),
}

/// Which bound ended a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many rows.
    Rows(usize),
    /// So many bytes.
    Bytes(u64),
}

/// The longest that a step reads pages: it is asked again from the first one, so that a service which is this slow never ends.
const GATHER_MAX: Duration = Duration::from_secs(300);

impl Calls {
    /// Sends a request and says what its answer means.
    pub async fn carry_out(&self, asked: &Asked<'_>, request: &CallRequest) -> Outcome {
        let Asked { connector, operation, access, input, timeout, who } = *asked;
        let said = self.send(Call { connector, access, request, headers: &[], timeout, who }).await;
        let now = self.clock.now();
        match said.result {
            Ok(response) => {
                let result = conclude(connector.outcome(operation, input, access, &response, now), &response, access, now);
                Outcome { trace: said.trace, response: Some(response), result }
            }
            Err(failure) => Outcome { trace: said.trace, response: None, result: Err(failure) },
        }
    }

    /// The walk over the pages of an operation that has them, from its first request.
    #[must_use]
    pub fn walk<'a>(&'a self, asked: Asked<'a>, request: CallRequest, bounds: Bounds) -> Option<Walk<'a>> {
        let pages = Pages::of(asked.operation, request)?;
        Some(Walk { calls: self, asked, pages, bounds, rows: 0, bytes: 0, ended: None, failed: false })
    }

    /// Asks for page after page and gives the rows of all as one value. Where a page fails, so does the whole; a service that is
    /// busy is waited for. The trace is that of the last request, with the bytes of all.
    pub async fn gather(&self, asked: Asked<'_>, request: CallRequest, bounds: Bounds) -> (CallTrace, Result<Value, Failure>) {
        let name = &asked.operation.name;
        let end = Instant::now() + GATHER_MAX;
        let (mut trace, mut rows, mut bytes, mut held) = (CallTrace::default(), Vec::new(), 0, 0);
        let too_much = |what: String| {
            let message = format!("the pages of `{name}` are {what}; narrow it down by its inputs, or lower `paginate.max`");
            Err(Failure { class: Class::Refused, status: None, message, retry_after: None })
        };
        let Some(mut walk) = self.walk(asked, request, bounds) else { return (trace, too_much("not described".to_owned())) };
        while let Some(outcome) = walk.next().await {
            bytes += outcome.trace.bytes;
            trace = CallTrace { bytes, ..outcome.trace };
            match outcome.result {
                Ok(page) => {
                    held += size(&page);
                    if let Value::Array(page) = page {
                        rows.extend(page);
                    }
                }
                Err(failure) => {
                    let wait = failure.retry_after.filter(|wait| failure.class == Class::Throttled && Instant::now() + *wait < end);
                    match wait.filter(|_| walk.again()) {
                        Some(wait) => tokio::time::sleep(wait).await,
                        None => return (trace, Err(failure)),
                    }
                }
            }
            if held > RESULT_MAX {
                return (trace, too_much(format!("larger than {RESULT_MAX} bytes")));
            }
            if Instant::now() >= end {
                return (trace, too_much(format!("not read within {GATHER_MAX:?}")));
            }
        }
        let result = match walk.ended() {
            Some(Ended::Bounds(Bound::Rows(rows))) => too_much(format!("more than {rows} rows")),
            Some(Ended::Bounds(Bound::Bytes(bytes))) => too_much(format!("more than {bytes} bytes")),
            Some(Ended::Last | Ended::Pages(_)) | None => Ok(Value::Array(rows)),
        };
        (trace, result)
    }
}

/// A walk over pages: each is asked for when the one before has been taken.
#[derive(Debug)]
pub struct Walk<'a> {
    calls: &'a Calls,
    asked: Asked<'a>,
    pages: Pages,
    bounds: Bounds,
    rows: usize,
    bytes: u64,
    ended: Option<Ended>,
    /// The last request had no value.
    failed: bool,
}

impl Walk<'_> {
    /// The next page: its rows in the outcome's value. `None` behind the last one, and behind a failure.
    pub async fn next(&mut self) -> Option<Outcome> {
        if self.ended.is_some() {
            return None;
        }
        let mut outcome = self.calls.carry_out(&self.asked, self.pages.request()).await;
        let followed = match (&outcome.response, &outcome.result) {
            (Some(response), Ok(rows)) => {
                let scope = Scope::new().bind("config", self.asked.access.config()).bind("input", self.asked.input);
                let count = rows.as_array().map_or(0, Vec::len);
                (self.rows, self.bytes) = (self.rows + count, self.bytes.saturating_add(outcome.trace.bytes));
                Some(self.pages.after(response, rows, &scope))
            }
            _ => None,
        };
        self.failed = followed.is_none();
        self.ended = match followed {
            Some(Ok(Next::Ask(_))) if self.rows >= self.bounds.rows => Some(Ended::Bounds(Bound::Rows(self.rows))),
            Some(Ok(Next::Ask(_))) if self.bytes >= self.bounds.bytes => Some(Ended::Bounds(Bound::Bytes(self.bytes))),
            Some(Ok(Next::Ask(_))) => None,
            Some(Ok(Next::Enough)) => Some(Ended::Pages(self.pages.page())),
            Some(Ok(Next::End)) | None => Some(Ended::Last),
            Some(Err(fault)) => {
                let message = self.asked.access.mask(&fault.to_string());
                let status = outcome.trace.status;
                outcome.result = Err(Failure { class: Class::Refused, status, message, retry_after: None });
                Some(Ended::Last)
            }
        };
        Some(outcome)
    }

    /// Asks for the page that failed once more; not where the pages themselves are at fault.
    pub fn again(&mut self) -> bool {
        let failed = self.failed;
        if failed {
            (self.ended, self.failed) = (None, false);
        }
        failed
    }

    /// Why it ended, once it has.
    #[must_use]
    pub fn ended(&self) -> Option<Ended> {
        self.ended
    }
}

/// What an answer comes to for whoever called: a value or a failure with its class.
///
/// # Errors
/// As the file or the status says.
pub fn conclude(meaning: Meaning, response: &CallResponse, access: &Access, now: Timestamp) -> Result<Value, Failure> {
    let status = Some(response.status);
    let by_status = || refusal(&as_answer(response), now);
    match meaning {
        Meaning::Value(value) => Ok(value),
        Meaning::Dead(message) => Err(Failure { class: Class::Refused, status, message, retry_after: None }),
        Meaning::Retry(message) => {
            // The file says that it was not carried out, so that nothing is uncertain.
            let retry_after = by_status().and_then(|failure| failure.retry_after);
            let class = if response.status == 429 { Class::Throttled } else { Class::Service };
            Err(Failure { class, status, message, retry_after })
        }
        Meaning::Refused(message) => {
            let said = by_status().unwrap_or_else(|| Failure {
                class: Class::Refused,
                status,
                message: format!("answered {}", response.status),
                retry_after: None,
            });
            let message = message.map_or_else(|| access.mask(&said.message), |message| format!("answered {}: {message}", response.status));
            Err(Failure { message, ..said })
        }
    }
}

/// The answer as the rules for statuses read it.
fn as_answer(response: &CallResponse) -> Answer {
    let body = match response.body() {
        Value::Null => Bytes::new(),
        Value::String(text) => Bytes::from(text.clone()),
        other => Bytes::from(other.to_string()),
    };
    let headers = response.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    Answer { status: response.status, headers, body }
}
