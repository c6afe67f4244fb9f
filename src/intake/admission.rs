//! What is decided from the head of a delivery alone, before a byte of its body is read. Pure.

use std::net::IpAddr;

use hyper::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use ipnet::IpNet;

use super::refusal::Refusal;
use crate::config::WebhookSource;
use crate::headers::{Found, Headers};
use crate::http::server::{Problem, check_head};
use crate::signature::Lack;

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
/// Afterwards everything is there that a check of the signature needs.
pub(super) fn check(
    head: &Parts,
    declared: Option<u64>,
    source: &WebhookSource,
    address: Option<IpAddr>,
    body_max: u64,
) -> Result<(), Refusal> {
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
        return Ok(());
    }
    source.scheme.check_head(&head.headers).map_err(|lack| match lack {
        Lack::Missing(header) => Refusal::SignatureMissing(header),
        Lack::Twice(_) => Refusal::SignatureTwice,
        Lack::NotText => Refusal::SignatureBytes,
    })
}

impl Headers for HeaderMap {
    fn find(&self, name: &str) -> Found<'_> {
        Found::of(self.get_all(name).iter().map(HeaderValue::as_bytes))
    }
}

/// Everybody, where there is no list; otherwise a sender whose address is known and in it.
fn allowed(nets: &[IpNet], address: Option<IpAddr>) -> bool {
    nets.is_empty() || address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
}
