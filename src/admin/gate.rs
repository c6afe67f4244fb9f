//! Who may ask: host names (against pages that rebind DNS to loopback), origins (against pages that just send requests),
//! the bearer token. Pure.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::http::server::Problem;
use crate::secret::Secret;

/// Paths that probes and scrapers ask for; they say nothing about events.
const OPEN_PATHS: &[&str] = &["/livez", "/readyz", "/metrics"];

/// Names under which people try to put a token into a URL, where it ends in logs.
const TOKEN_PARAMETERS: &[&str] = &["token", "access_token", "admin_token"];

/// The rules of one listener.
pub(super) struct Gate {
    /// `None` for a unix socket: browsers do not reach it, and its file says who may.
    bound: Option<SocketAddr>,
    token: Option<Secret>,
}

impl Gate {
    pub(super) fn new(bound: Option<SocketAddr>, token: Option<Secret>) -> Self {
        Self { bound, token }
    }

    /// Whether the request may be answered.
    pub(super) fn check(&self, head: &Parts) -> Result<(), Problem> {
        self.host(&head.headers)?;
        origin(&head.headers)?;
        if has_token_in_url(&head.uri) {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "a token does not belong into the URL; send `Authorization: Bearer …`"));
        }
        if OPEN_PATHS.contains(&head.uri.path()) { Ok(()) } else { self.token(&head.headers) }
    }

    /// A page of a name that suddenly resolves to this machine sends that name. Its port is of no use to it and may well
    /// be another one: that of a tunnel or of a container.
    fn host(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(bound) = self.bound else { return Ok(()) };
        let Some(host) = headers.get(HOST) else { return Ok(()) };
        let authority = Authority::try_from(host.as_bytes()).ok().filter(|a| !a.as_str().contains('@'));
        let allowed = authority.is_some_and(|authority| {
            let name = authority.host().trim_start_matches('[').trim_end_matches(']');
            match name.parse::<IpAddr>() {
                // An address is what the client dialled; only names can be made to point elsewhere.
                Ok(ip) => ip.is_loopback() || bound.ip().is_unspecified() || ip == bound.ip(),
                Err(_) => name.trim_end_matches('.').eq_ignore_ascii_case("localhost"),
            }
        });
        if allowed {
            return Ok(());
        }
        Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "this host name is not served here; ask for localhost or the address itself")
            .close())
    }

    fn token(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let refuse = |detail: &'static str| Err(Problem::new(StatusCode::UNAUTHORIZED, detail).header(WWW_AUTHENTICATE, "Bearer"));
        let needed = self.bound.is_some_and(|bound| !bound.ip().is_loopback());
        match (&self.token, headers.get(AUTHORIZATION)) {
            (Some(token), Some(sent)) if is_bearer(sent, token) => Ok(()),
            (Some(_), Some(_)) => refuse("the bearer token is wrong"),
            (_, _) if !needed => Ok(()),
            (Some(_), None) => refuse("a bearer token is needed: send `Authorization: Bearer …`"),
            (None, _) => refuse("no admin_token is configured, and without one this is answered on loopback only"),
        }
    }
}

/// Browsers send the origin of the page with everything but plain reads: only a page of ours may ask.
fn origin(headers: &HeaderMap) -> Result<(), Problem> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let own = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
        authority.is_some_and(|authority| !host.is_empty() && authority.eq_ignore_ascii_case(host))
    };
    if headers.get_all(ORIGIN).iter().all(own) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "requests from pages of other sites are not answered"))
}

fn has_token_in_url(uri: &Uri) -> bool {
    let parameters = uri.query().unwrap_or_default().split('&');
    parameters.map(|p| p.split('=').next().unwrap_or_default()).any(|name| TOKEN_PARAMETERS.iter().any(|t| name.eq_ignore_ascii_case(t)))
}

/// Compares digests, in constant time: neither the content nor the length of the token shows in the time taken.
fn is_bearer(sent: &HeaderValue, token: &Secret) -> bool {
    let Some((scheme, value)) = sent.as_bytes().split_at_checked(b"Bearer ".len()) else { return false };
    let fits = Sha256::digest(value.trim_ascii()).ct_eq(&Sha256::digest(token.expose().as_bytes()));
    scheme.eq_ignore_ascii_case(b"Bearer ") & bool::from(fits)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn answer(bound: &str, token: bool, path: &str, headers: &[(&str, &str)]) -> u16 {
        let token = token.then(|| Secret::new("right token".to_owned()));
        let mut request = Request::builder().uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        match Gate::new(bound.parse().ok(), token).check(&head) {
            Ok(()) => 200,
            Err(problem) => problem.status().as_u16(),
        }
    }

    #[test]
    fn hosts_origins_and_tokens_decide_who_is_answered() {
        const LOOPBACK: &str = "127.0.0.1:8081";
        const WILD: &str = "0.0.0.0:8081";
        const LAN: &str = "10.1.2.3:8081";
        const UNIX: &str = "";
        let local = ("host", "127.0.0.1:8081");
        let lan = ("host", "10.1.2.3:8081");
        let right = ("authorization", "Bearer right token");
        let wrong = ("authorization", "Bearer wrong token");
        let runs = "/api/v1/runs";
        type Row<'a> = (&'a str, bool, &'a str, &'a [(&'a str, &'a str)], u16);
        let table: &[Row<'_>] = &[
            // Hosts.
            (LOOPBACK, false, runs, &[local], 200),
            (LOOPBACK, false, runs, &[("host", "localhost:9000")], 200),
            (LOOPBACK, false, runs, &[("host", "LOCALHOST.")], 200),
            (LOOPBACK, false, runs, &[("host", "[::1]:8081")], 200),
            (LOOPBACK, false, runs, &[("host", "evil.test:8081")], 421),
            (LOOPBACK, false, runs, &[("host", "localhost.evil.test")], 421),
            (LOOPBACK, false, runs, &[("host", "10.1.2.3:8081")], 421),
            (LOOPBACK, false, runs, &[("host", "")], 421),
            (LOOPBACK, false, runs, &[("host", "evil.test@localhost")], 421),
            (LOOPBACK, false, "/livez", &[("host", "evil.test")], 421),
            (LAN, true, "/livez", &[lan], 200),
            (LAN, true, "/livez", &[("host", "10.1.2.4:8081")], 421),
            (WILD, true, "/livez", &[("host", "10.1.2.4:8081")], 200),
            (WILD, true, "/livez", &[("host", "evil.test:8081")], 421),
            (UNIX, false, runs, &[("host", "tripline")], 200),
            // Origins.
            (LOOPBACK, false, runs, &[local, ("origin", "http://127.0.0.1:8081")], 200),
            (LOOPBACK, false, runs, &[local, ("origin", "https://evil.test")], 403),
            (LOOPBACK, false, runs, &[local, ("origin", "http://127.0.0.1:3000")], 403),
            (LOOPBACK, false, runs, &[local, ("origin", "null")], 403),
            (LOOPBACK, false, runs, &[local, ("origin", "http://127.0.0.1:8081"), ("origin", "http://evil.test")], 403),
            (LOOPBACK, false, "/livez", &[local, ("origin", "https://evil.test")], 403),
            (UNIX, false, runs, &[("host", "x"), ("origin", "https://evil.test")], 403),
            // Tokens.
            (LOOPBACK, true, runs, &[local], 200),
            (LOOPBACK, true, runs, &[local, right], 200),
            (LOOPBACK, true, runs, &[local, wrong], 401),
            (LOOPBACK, false, runs, &[local, wrong], 200),
            (LAN, true, runs, &[lan], 401),
            (LAN, true, runs, &[lan, right], 200),
            (LAN, true, runs, &[lan, ("authorization", "bearer right token")], 200),
            (LAN, true, runs, &[lan, wrong], 401),
            (LAN, true, runs, &[lan, ("authorization", "Bearer right token and more")], 401),
            (LAN, true, runs, &[lan, ("authorization", "Bearer")], 401),
            (LAN, true, runs, &[lan, ("authorization", "Basic right token")], 401),
            (LAN, true, "/metrics", &[lan], 200),
            (LAN, true, "/readyz", &[lan, wrong], 200),
            (LAN, false, runs, &[lan], 401),
            (LAN, false, runs, &[lan, right], 401),
            (UNIX, true, runs, &[], 200),
            (LOOPBACK, true, "/api/v1/runs?token=right%20token", &[local], 400),
            (LAN, true, "/api/v1/runs?limit=1&Access_Token=x", &[lan, right], 400),
        ];
        for (bound, token, path, headers, expected) in table {
            assert_eq!(answer(bound, *token, path, headers), *expected, "{bound} {token} {path} {headers:?}");
        }
    }
}
