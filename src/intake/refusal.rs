//! Why a delivery is refused: the answer, the label of the counter, the words for the log.

use std::borrow::Cow;

use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, ALLOW};

use crate::http::server::Problem;

/// When to come again after the journal could not take a delivery, in seconds.
const COME_AGAIN: u32 = 5;

/// One reason; each has its status in [`Refusal::problem`].
#[derive(Clone, Debug)]
pub(super) enum Refusal {
    /// Not HTTP as we serve it.
    Malformed(Problem),
    /// No source has this path.
    UnknownPath,
    /// The peer is not in `allow_from`.
    NotAllowed,
    /// Not POST.
    Method,
    /// The body is compressed.
    Encoding,
    /// Over `limits.body`.
    TooLarge,
    /// No signature, or not all that goes with it: the header that is missing.
    SignatureMissing(String),
    /// More than one signature.
    SignatureTwice,
    /// A signature that is no text.
    SignatureBytes,
    /// A signature that does not verify; what is wrong with it.
    SignatureBad(&'static str),
    /// A signature that verifies, with a time that is too far from ours; how.
    Stale(&'static str),
    /// A bad signature from a peer that has sent many.
    TooManyBad,
    /// The body took longer than `limits.body_timeout`.
    BodyTimeout,
    /// The body broke off, or its chunks are malformed.
    BodyIncomplete,
    /// No memory for the body within the waiting time.
    Busy,
    /// The journal did not open within the waiting time.
    Recovering,
    /// The journal did not answer within the waiting time.
    Slow,
    /// The journal has no space.
    Full,
    /// The journal has ended: so does the daemon.
    Ended,
}

/// Every reason, for counters that begin at 0.
pub(super) const REASONS: [&str; 18] = [
    "malformed",
    "unknown_path",
    "not_allowed",
    "method",
    "encoding",
    "too_large",
    "signature_missing",
    "signature_twice",
    "signature_bad",
    "stale",
    "too_many_bad",
    "body_timeout",
    "body_incomplete",
    "busy",
    "recovering",
    "slow",
    "full",
    "ended",
];

impl Refusal {
    /// The answer. Its texts are constant: nothing of the input comes back.
    pub(super) fn problem(&self) -> Problem {
        let new = |status, detail: &'static str| Problem::new(status, detail);
        match self {
            Self::Malformed(problem) => problem.clone(),
            Self::UnknownPath => new(StatusCode::NOT_FOUND, "there is nothing at this path").close(),
            Self::NotAllowed => new(StatusCode::FORBIDDEN, "this source does not take deliveries from your address").close(),
            Self::Method => new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this address takes webhook deliveries by POST; there is nothing to see here in a browser",
            )
            .header(ALLOW, "POST")
            .close(),
            Self::Encoding => new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send the body as it is, without a Content-Encoding")
                .header(ACCEPT_ENCODING, "identity")
                .close(),
            Self::TooLarge => new(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than this listener takes (limits.body)").close(),
            Self::SignatureMissing(_) => {
                new(StatusCode::UNAUTHORIZED, "the signature is missing: set the same secret in the webhook and in this source").close()
            }
            Self::SignatureTwice => new(StatusCode::UNAUTHORIZED, "the signature is bad: there are two of them").close(),
            Self::SignatureBytes => new(StatusCode::BAD_REQUEST, "the signature header is not ASCII").close(),
            Self::SignatureBad(_) => new(StatusCode::UNAUTHORIZED, "the signature is bad"),
            Self::Stale(_) => new(StatusCode::UNAUTHORIZED, "the signature is stale: its time is too far from ours"),
            Self::TooManyBad => {
                new(StatusCode::TOO_MANY_REQUESTS, "the signature is bad, as were many before from your address").retry_after(60)
            }
            Self::BodyTimeout => new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time (limits.body_timeout)").close(),
            Self::BodyIncomplete => new(StatusCode::BAD_REQUEST, "the body broke off or its chunks are malformed").close(),
            Self::Busy => new(StatusCode::SERVICE_UNAVAILABLE, "too much is being received at once").retry_after(COME_AGAIN).close(),
            Self::Recovering => new(StatusCode::SERVICE_UNAVAILABLE, "the store is still being opened").retry_after(COME_AGAIN),
            Self::Slow => new(StatusCode::SERVICE_UNAVAILABLE, "the store did not answer in time").retry_after(COME_AGAIN),
            Self::Full => new(StatusCode::SERVICE_UNAVAILABLE, "the store has no space").retry_after(COME_AGAIN),
            Self::Ended => new(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping").retry_after(COME_AGAIN).close(),
        }
    }

    /// The `reason` label.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::UnknownPath => "unknown_path",
            Self::NotAllowed => "not_allowed",
            Self::Method => "method",
            Self::Encoding => "encoding",
            Self::TooLarge => "too_large",
            Self::SignatureMissing(_) => "signature_missing",
            Self::SignatureTwice => "signature_twice",
            Self::SignatureBytes | Self::SignatureBad(_) => "signature_bad",
            Self::Stale(_) => "stale",
            Self::TooManyBad => "too_many_bad",
            Self::BodyTimeout => "body_timeout",
            Self::BodyIncomplete => "body_incomplete",
            Self::Busy => "busy",
            Self::Recovering => "recovering",
            Self::Slow => "slow",
            Self::Full => "full",
            Self::Ended => "ended",
        }
    }

    /// What the log says: more than the answer where it helps the operator, never a value.
    pub(super) fn log(&self) -> Cow<'static, str> {
        match self {
            Self::SignatureBad(shape) => format!("the signature is bad: {shape}").into(),
            Self::SignatureMissing(header) => {
                format!("the signature is missing; is a secret set on the sender's side, and does the proxy pass `{header}` on?").into()
            }
            Self::Stale(how) => format!("the signature is stale: {how}").into(),
            Self::NotAllowed => "the peer's address is not in allow_from; behind a proxy, trusted_proxies must say how many".into(),
            Self::Full => "the journal has no space; Orchestrator may stop sending for an hour after this".into(),
            other => other.problem().detail().to_owned().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::{CONNECTION, RETRY_AFTER};

    use super::*;
    use crate::http::server::RequestId;

    #[test]
    fn every_refusal_has_its_status_and_says_when_to_come_again() {
        // Reason, status, Retry-After, whether the connection is closed because the body was not read.
        let table: &[(Refusal, u16, Option<&str>, bool)] = &[
            (Refusal::UnknownPath, 404, None, true),
            (Refusal::NotAllowed, 403, None, true),
            (Refusal::Method, 405, None, true),
            (Refusal::Encoding, 415, None, true),
            (Refusal::TooLarge, 413, None, true),
            (Refusal::SignatureMissing("x-signature".to_owned()), 401, None, true),
            (Refusal::SignatureTwice, 401, None, true),
            (Refusal::SignatureBytes, 400, None, true),
            (Refusal::SignatureBad("empty"), 401, None, false),
            (Refusal::Stale("too old"), 401, None, false),
            (Refusal::TooManyBad, 429, Some("60"), false),
            (Refusal::BodyTimeout, 408, None, true),
            (Refusal::BodyIncomplete, 400, None, true),
            (Refusal::Busy, 503, Some("5"), true),
            (Refusal::Recovering, 503, Some("5"), false),
            (Refusal::Slow, 503, Some("5"), false),
            (Refusal::Full, 503, Some("5"), false),
            (Refusal::Ended, 503, Some("5"), true),
        ];
        for (refusal, status, retry_after, close) in table {
            let answer = refusal.problem().answer(RequestId::fresh());
            assert_eq!(answer.status(), *status, "{refusal:?}");
            let retry = answer.headers().get(RETRY_AFTER).map(|v| v.to_str().expect("text"));
            assert_eq!(retry, *retry_after, "{refusal:?}");
            assert_eq!(answer.headers().contains_key(CONNECTION), *close, "{refusal:?}");
            assert!(REASONS.contains(&refusal.reason()), "{refusal:?}");
            assert!(refusal.reason().bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{refusal:?}");
            assert!(!refusal.log().is_empty());
        }
        for reason in REASONS {
            assert!(reason == "malformed" || table.iter().any(|(refusal, ..)| refusal.reason() == reason), "{reason}");
        }
    }
}
