//! Outbound HTTP: reqwest with limits, no redirects, no environment proxies, and the egress policy (checked after
//! DNS, addresses pinned).
//!
//! Promises: nothing is followed, decompressed or sent again on its own; every wait and every answer has a limit; a
//! failure says whether the request may have left. Does not know what a status means to whom it called.
//!
//! Two reqwest clients stand behind one face, each with its own pool, so that a connection to a private host that a
//! file names is never used for a host that an event names. With `egress.proxy` the proxy connects: names are then
//! checked here before the request is handed over, but only the proxy decides which address it takes.

mod address;
mod body;
mod failure;
mod resolve;
mod retry_after;
#[cfg(test)]
pub(crate) mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use reqwest::{Method, Url};
use tokio::time::{Instant, timeout_at};

pub use address::{Forbidden, Policy, is_public, plain_host};
pub use failure::{EXCERPT_MAX, excerpt, refusal};
pub use retry_after::{RETRY_AFTER_MAX, RETRY_AFTER_MIN, retry_after, seconds};

use crate::config::Egress;
use crate::http::exchange::Exchange;
use crate::runs::{Class, Failure};
use body::{Departure, Watched};
use resolve::{Guarded, LookUp, Trust};

/// The longest answer that is read, in bytes.
pub const ANSWER_MAX: usize = 16 << 20;
/// The longest body of a 4xx or 5xx that is read, in bytes; it only explains.
pub const REFUSAL_MAX: usize = 1 << 20;
/// For connecting, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole attempt, unless the step says otherwise.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections kept per host.
pub const IDLE_MAX: usize = 16;
/// The longest URL that is sent, in bytes.
pub const URL_MAX: usize = 32 << 10;

/// Headers that belong to the connection; a request that sets them could say two things about its own length.
const OWN_HEADERS: &[&str] =
    &["connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"];

/// A client under one egress policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// For hosts that stand in a file.
    plain: reqwest::Client,
    /// For all others.
    strict: reqwest::Client,
    policy: Arc<Policy>,
    /// With a proxy, checks names before the proxy gets them.
    before_proxy: Option<Guarded>,
}

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
    /// The whole body, at most [`ANSWER_MAX`]. That of a 4xx or 5xx is what could be read of it: its status says
    /// enough, so that a body that is cut, encoded or longer than [`REFUSAL_MAX`] changes nothing.
    pub body: Bytes,
}

impl Answer {
    /// A header's first value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// What a call said, for the record of the attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallTrace {
    /// `POST https://host/path`.
    pub request: String,
    /// Status of the last answer.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub bytes: u64,
    /// What went over the wire, for rules that record it.
    pub exchange: Option<Arc<Exchange>>,
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
        Self::with_look_up(egress, resolve::system())
    }

    fn with_look_up(egress: &Egress, look_up: LookUp) -> Result<Self, ClientError> {
        // Whoever comes second finds the first one's provider, which is the same.
        drop(rustls::crypto::ring::default_provider().install_default());
        let policy = Arc::new(Policy::new(egress));
        let roots = roots(egress)?;
        let guarded = |trust| Guarded { policy: policy.clone(), trust, look_up: look_up.clone() };
        let make = |trust| {
            // Behind a proxy the only name that a connection needs is the proxy's, which stands in the file.
            let trust = if egress.proxy.is_some() { Trust::Everyone } else { trust };
            build(egress, &roots, guarded(trust))
        };
        let inner = Inner {
            plain: make(Trust::Everyone)?,
            strict: make(Trust::Listed)?,
            before_proxy: egress.proxy.is_some().then(|| guarded(Trust::Listed)),
            policy,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Sends and reads the whole answer. An answer of any status but 3xx is `Ok`; what failed says whether the request
    /// had left (`Class::Unknown`) or not (`Class::Connect`), or that policy refused it or it is no request at all
    /// (`Class::Refused`). `Class::Invalid` is a 2xx whose body cannot be had: for a request that is not idempotent it
    /// was most likely carried out, yet nothing certain came back, so callers treat it as `Class::Unknown`.
    ///
    /// # Errors
    /// A [`Failure`] with its class, secrets masked.
    pub async fn send(&self, request: Outgoing) -> Result<Answer, Failure> {
        self.send_keeping(request, ANSWER_MAX).await.map(|(answer, _)| answer)
    }

    /// As [`Client::send`], for callers that need no more than the first `keep` bytes of a body: the rest is read, so that its end is
    /// known, and not held in memory. Gives also how long the body was.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn send_keeping(&self, request: Outgoing, keep: usize) -> Result<(Answer, u64), Failure> {
        let deadline = Instant::now() + request.timeout;
        let url = self.destination(&request)?;
        let method = Method::from_bytes(request.method.as_bytes())
            .map_err(|_| failure::failure(Class::Refused, None, format!("invalid method `{}`", excerpt(request.method.as_bytes()))))?;
        let headers = headers(&request.headers)?;
        if let (Some(guarded), false) = (&self.inner.before_proxy, request.written_out) {
            let host = plain_host(url.host_str().unwrap_or_default());
            // A listed name may be known to the proxy only.
            if host.parse::<IpAddr>().is_err() && !self.inner.policy.names(&host) {
                match timeout_at(deadline, guarded.addresses(&host)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => return Err(failure::of_resolution(&error, &host)),
                    Err(_) => return Err(failure::of_timeout(&url, request.timeout, false)),
                }
            }
        }
        let client = if request.written_out { &self.inner.plain } else { &self.inner.strict };
        let departure = Departure::default();
        let mut builder = client.request(method, url.clone()).headers(headers);
        match request.body {
            Some(bytes) if !bytes.is_empty() => {
                builder = builder.body(reqwest::Body::wrap(Watched { bytes: Some(bytes), departure: departure.clone() }));
            }
            // Nothing tells when a request without a body leaves.
            body => {
                departure.happens();
                builder = builder.body(body.unwrap_or_default());
            }
        }
        let response = match timeout_at(deadline, builder.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(failure::of_request(&error, &url, departure.happened())),
            Err(_) => return Err(failure::of_timeout(&url, request.timeout, departure.happened())),
        };
        read(response, &url, deadline, request.timeout, keep).await
    }

    /// The URL, if it is one that may be called. Addresses in the URL never meet a resolver, so they are judged here.
    fn destination(&self, request: &Outgoing) -> Result<Url, Failure> {
        let refused = |message: String| failure::failure(Class::Refused, None, message);
        if request.url.len() > URL_MAX {
            return Err(refused(format!("the URL is longer than {URL_MAX} bytes")));
        }
        let url = Url::parse(&request.url).map_err(|e| refused(format!("invalid URL `{}`: {e}", shown(&request.url))))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(format!("the scheme of `{}` is neither `http` nor `https`", shown(&request.url))));
        }
        let host = plain_host(url.host_str().unwrap_or_default());
        if let Ok(address) = host.parse::<IpAddr>() {
            let trusted = request.written_out || self.inner.policy.names(&host);
            self.inner.policy.admit(&host, address, trusted).map_err(|f| failure::of_policy(&f))?;
        }
        Ok(url)
    }
}

/// `POST https://host/path`: what may be shown of a request. No credentials, no query.
#[must_use]
pub fn request_line(method: &str, url: &str) -> String {
    format!("{method} {}", shown(url))
}

/// A URL without credentials, query and fragment; also what cannot be parsed is cut where these begin.
#[must_use]
pub fn shown(url: &str) -> String {
    if let Ok(url) = Url::parse(url)
        && url.has_host()
    {
        return format!("{}://{}{}", url.scheme(), failure::authority(&url), url.path());
    }
    let head = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = head.split_once("://").unwrap_or(("", head));
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    excerpt(if scheme.is_empty() { rest.to_owned() } else { format!("{scheme}://{rest}") }.as_bytes())
}

/// Roots besides the system's.
fn roots(egress: &Egress) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let Some(path) = &egress.ca else { return Ok(Vec::new()) };
    let shown = path.display();
    let pem = std::fs::read(path).map_err(|e| ClientError(format!("cannot read `egress.ca` `{shown}`: {e}")))?;
    let bad = |e: reqwest::Error| {
        ClientError(format!("`egress.ca` `{shown}` has a certificate that is none: {}", excerpt(e.to_string().as_bytes())))
    };
    let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(bad)?;
    if roots.is_empty() {
        return Err(ClientError(format!("`egress.ca` `{shown}` has no certificate; expected PEM (`-----BEGIN CERTIFICATE-----`)")));
    }
    Ok(roots)
}

fn build(egress: &Egress, roots: &[reqwest::Certificate], resolver: Guarded) -> Result<reqwest::Client, ClientError> {
    let builder = || -> Result<reqwest::ClientBuilder, ClientError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .tls_version_min(reqwest::tls::Version::TLS_1_2)
            .dns_resolver(resolver.clone());
        if let Some(proxy) = &egress.proxy {
            builder = builder.proxy(self::proxy(proxy)?);
        }
        Ok(builder)
    };
    match builder()?.tls_certs_merge(roots.iter().cloned()).build() {
        Ok(client) => Ok(client),
        // A system without any root certificate (an empty container) can still talk plain HTTP.
        Err(error) if roots.is_empty() => {
            let client = builder()?.tls_certs_only([]).build().map_err(|_| ClientError(format!("cannot set up TLS: {error:?}")))?;
            tracing::warn!("the system has no root certificates: https will fail; install `ca-certificates` or set `egress.ca`");
            Ok(client)
        }
        Err(error) => Err(ClientError(format!("cannot set up TLS with `egress.ca`: {error:?}"))),
    }
}

/// The proxy for everything. Its URL may hold credentials, so it is never shown whole.
fn proxy(url: &str) -> Result<reqwest::Proxy, ClientError> {
    let bad = || ClientError(format!("`egress.proxy` `{}` is no proxy URL; expected `http://host:port`", shown(url)));
    let parsed = Url::parse(url).map_err(|_| bad())?;
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() {
        return Err(bad());
    }
    reqwest::Proxy::all(parsed).map_err(|_| bad())
}

/// Headers as reqwest wants them. A value with a line break would be a header of its own: it is refused, and never shown.
fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, Failure> {
    let refused = |message: String| failure::failure(Class::Refused, None, message);
    let mut map = HeaderMap::with_capacity(pairs.len() + 1);
    for (name, value) in pairs {
        let key =
            HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused(format!("invalid header name `{}`", excerpt(name.as_bytes()))))?;
        if OWN_HEADERS.contains(&key.as_str()) {
            return Err(refused(format!("the header `{key}` is set by the client itself")));
        }
        let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            refused(format!("invalid header value for `{key}`: line breaks and control characters are not allowed in a header"))
        })?;
        value.set_sensitive(key == AUTHORIZATION || key == COOKIE);
        map.append(key, value);
    }
    Ok(map)
}

/// Reads an answer under the limits and keeps the first `keep` bytes of it; also how long it was.
async fn read(
    mut response: reqwest::Response,
    url: &Url,
    deadline: Instant,
    timeout: Duration,
    keep: usize,
) -> Result<(Answer, u64), Failure> {
    let status = response.status().as_u16();
    if (300..400).contains(&status) {
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok());
        return Err(failure::of_redirect(status, location, url));
    }
    let explains = status >= 400;
    let headers = text_headers(response.headers());
    let encoded = response.headers().get(CONTENT_ENCODING).filter(|e| !e.is_empty() && !e.as_bytes().eq_ignore_ascii_case(b"identity"));
    if let Some(encoding) = encoded {
        if explains {
            return Ok((Answer { status, headers, body: Bytes::new() }, 0));
        }
        return Err(failure::of_encoding(status, &String::from_utf8_lossy(encoding.as_bytes()), url));
    }
    let limit = if explains { REFUSAL_MAX } else { ANSWER_MAX };
    if !explains && response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(failure::of_length(status, url));
    }
    let (mut body, mut length) = (BytesMut::new(), 0);
    loop {
        let cut = match timeout_at(deadline, response.chunk()).await {
            Ok(Ok(Some(chunk))) if length + chunk.len() <= limit => {
                length += chunk.len();
                body.extend_from_slice(&chunk[..chunk.len().min(keep - body.len().min(keep))]);
                continue;
            }
            Ok(Ok(None)) => break,
            Ok(Ok(Some(_))) => failure::of_length(status, url),
            Ok(Err(error)) => failure::of_cut(status, Some(&error), url, timeout),
            Err(_) => failure::of_cut(status, None, url, timeout),
        };
        if explains {
            break;
        }
        return Err(cut);
    }
    Ok((Answer { status, headers, body: body.freeze() }, length as u64))
}

fn text_headers(headers: &HeaderMap) -> Vec<(String, String)> {
    headers.iter().filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))).collect()
}
