//! What is decided from the head of a delivery alone, before a byte of its body is read. Pure.

use std::net::IpAddr;

use hyper::header::{CONTENT_ENCODING, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ipnet::IpNet;

use super::refusal::Refusal;
use crate::config::WebhookSource;
use crate::http::server::{Problem, check_head};
use crate::signature::ORCHESTRATOR_HEADER;

/// Why a request whose path no source has is refused.
pub(super) fn without_source(head: &Parts) -> Refusal {
    match check_head(head) {
        Err(problem) => Refusal::Malformed(problem),
        // `OPTIONS *` asks about the server as a whole, and TRACE is refused wherever it is sent.
        Ok(()) if head.uri.path() == "*" || head.method == Method::TRACE => {
            Refusal::Malformed(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this method is not served").close())
        }
        Ok(()) => Refusal::UnknownPath,
    }
}

/// Decides whether the body is to be read. `declared` is its length where the head says it, `address` the sender's.
/// Gives the signature to be checked; `None` for a source that asks for none.
pub(super) fn check(
    head: &Parts,
    declared: Option<u64>,
    source: &WebhookSource,
    address: Option<IpAddr>,
    body_max: u64,
) -> Result<Option<HeaderValue>, Refusal> {
    check_head(head).map_err(Refusal::Malformed)?;
    if !allowed(&source.allow_from, address) {
        return Err(Refusal::NotAllowed);
    }
    if head.method != Method::POST {
        return Err(Refusal::Method);
    }
    if head.headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Refusal::Encoding);
    }
    if declared.is_some_and(|length| length > body_max) {
        return Err(Refusal::TooLarge);
    }
    if source.insecure_unsigned {
        return Ok(None);
    }
    let mut signatures = head.headers.get_all(ORCHESTRATOR_HEADER).iter();
    match (signatures.next(), signatures.next()) {
        (None, _) => Err(Refusal::SignatureMissing),
        (Some(_), Some(_)) => Err(Refusal::SignatureTwice),
        (Some(value), None) if value.as_bytes().trim_ascii().is_empty() => Err(Refusal::SignatureMissing),
        (Some(value), None) if !value.as_bytes().is_ascii() => Err(Refusal::SignatureBytes),
        (Some(value), None) => Ok(Some(value.clone())),
    }
}

/// Everybody, where there is no list; otherwise a sender whose address is known and in it.
fn allowed(nets: &[IpNet], address: Option<IpAddr>) -> bool {
    nets.is_empty() || address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
}
