//! What went wrong with a request, as a [`Failure`]: errors are told apart by their types, never by their texts.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::Url;

use super::address::Forbidden;
use super::resolve::Unresolved;
use super::retry_after::retry_after;
use super::{ANSWER_MAX, Answer};
use crate::runs::{Class, Failure};
use crate::time::Timestamp;

/// How much of an answer's text a message shows, in characters.
pub const EXCERPT_MAX: usize = 200;

/// A failure without an answer.
pub(super) fn failure(class: Class, status: Option<u16>, message: impl Into<String>) -> Failure {
    Failure { class, status, message: message.into(), retry_after: None }
}

/// A policy refusal, if the chain holds one.
fn forbidden<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Forbidden> {
    chain(error).find_map(|e| e.downcast_ref::<Forbidden>())
}

/// The error and its sources. An `io::Error` hides the error that it wraps from `source`, so it is asked for it.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| {
        let e: &'a (dyn Error + 'static) = *e;
        let wrapped = e.downcast_ref::<io::Error>().and_then(io::Error::get_ref).map(|inner| inner as &'a (dyn Error + 'static));
        wrapped.or_else(|| e.source())
    })
}

/// Why a request could not be carried out. `left`: some of it may have gone out.
pub(super) fn of_request(error: &reqwest::Error, url: &Url, left: bool) -> Failure {
    let host = authority(url);
    if let Some(forbidden) = forbidden(error) {
        return of_policy(forbidden);
    }
    if error.is_builder() {
        return failure(Class::Refused, None, format!("the request to `{host}` cannot be made: {}", root(error)));
    }
    if error.is_dns() {
        return failure(Class::Connect, None, format!("cannot find the host `{host}`: {}", root(error)));
    }
    if let Some(tls) = chain(error).find_map(|e| e.downcast_ref::<rustls::Error>()) {
        return failure(if left { Class::Unknown } else { Class::Connect }, None, of_tls(tls, &host));
    }
    if error.is_connect() || !left {
        let why = if error.is_timeout() { "no connection in time".to_owned() } else { root(error) };
        return failure(Class::Connect, None, format!("cannot connect to `{host}`: {why}"));
    }
    failure(Class::Unknown, None, format!("`{host}` gave no answer to a request that was sent: {}", root(error)))
}

/// A destination that policy forbids.
pub(super) fn of_policy(forbidden: &Forbidden) -> Failure {
    failure(Class::Refused, None, forbidden.to_string())
}

/// A name that cannot be checked before a proxy gets the request.
pub(super) fn of_resolution(error: &Unresolved, host: &str) -> Failure {
    match error {
        Unresolved::Forbidden(forbidden) => of_policy(forbidden),
        Unresolved::Dns(error) => failure(
            Class::Connect,
            None,
            format!(
                "cannot find the host `{host}` to check its addresses: {error}; where only the proxy knows it, add it to `egress.allow`"
            ),
        ),
    }
}

/// The time ran out before an answer's head was there.
pub(super) fn of_timeout(url: &Url, timeout: Duration, left: bool) -> Failure {
    let host = authority(url);
    if left {
        failure(Class::Unknown, None, format!("`{host}` gave no answer within {timeout:?}"))
    } else {
        failure(Class::Connect, None, format!("cannot connect to `{host}`: no connection within {timeout:?}"))
    }
}

/// What TLS says, and what to do about it.
fn of_tls(error: &rustls::Error, host: &str) -> String {
    use rustls::CertificateError as Bad;
    let help = match error {
        rustls::Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => "its certificate has expired; have it renewed",
        rustls::Error::InvalidCertificate(Bad::NotValidYet | Bad::NotValidYetContext { .. }) => {
            "its certificate is not valid yet; check the clocks"
        }
        rustls::Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "its certificate is for another name; use a name that the certificate has"
        }
        rustls::Error::InvalidCertificate(Bad::UnknownIssuer) => {
            "its certificate's issuer is not trusted; put your company's root certificate into `egress.ca`"
        }
        // What `openssl req -x509` makes is the root and the server's certificate in one; `egress.ca` does not help it.
        rustls::Error::InvalidCertificate(Bad::Other(why)) => {
            return format!(
                "no TLS with `{host}`: its certificate is none for a server ({why}); one that signed itself as a root (`CA:TRUE`) has to be \
                 replaced by one that a root signed, and the root put into `egress.ca`"
            );
        }
        rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType) => {
            "it does not speak TLS on this port; check the port, or write `http://` where that is meant"
        }
        _ => return format!("no TLS with `{host}`: {error}"),
    };
    format!("no TLS with `{host}`: {help}")
}

/// The innermost error's words: the outer ones say the same with the URL.
fn root(error: &(dyn Error + 'static)) -> String {
    excerpt(chain(error).last().map(ToString::to_string).unwrap_or_default().as_bytes())
}

/// `host:port` as written; no credentials, path or query.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A redirect is an answer that we do not obey.
pub(super) fn of_redirect(status: u16, location: Option<&str>, url: &Url) -> Failure {
    let target = location.and_then(|l| url.join(l).ok());
    let to = match &target {
        Some(target) => format!("redirects ({status}) to `{}://{}`", target.scheme(), authority(target)),
        None => format!("answered {status}"),
    };
    failure(
        Class::Refused,
        Some(status),
        format!("`{}` {to}; redirects are not followed: write the final URL if it is the right one", authority(url)),
    )
}

/// An answer in an encoding that nobody asked for.
pub(super) fn of_encoding(status: u16, encoding: &str, url: &Url) -> Failure {
    let encoding = excerpt(encoding.as_bytes());
    failure(Class::Invalid, Some(status), format!("unexpected encoding `{encoding}` in the answer of `{}`", authority(url)))
}

/// An answer that is too long.
pub(super) fn of_length(status: u16, url: &Url) -> Failure {
    failure(Class::Invalid, Some(status), format!("the answer of `{}` is longer than {ANSWER_MAX} bytes", authority(url)))
}

/// An answer that ends in the middle.
pub(super) fn of_cut(status: u16, why: Option<&reqwest::Error>, url: &Url, timeout: Duration) -> Failure {
    let why = why.map_or_else(|| format!("its end did not come within {timeout:?}"), |e| root(e));
    failure(Class::Invalid, Some(status), format!("the answer ({status}) of `{}` was cut off: {why}", authority(url)))
}

/// What an answer's status means by itself: nothing for a 2xx, a failure with its class and `Retry-After` otherwise.
/// Services that say more in their bodies refine it.
#[must_use]
pub fn refusal(answer: &Answer, now: Timestamp) -> Option<Failure> {
    let class = Class::of_status(answer.status)?;
    let said = excerpt(&answer.body);
    let message = if said.is_empty() { format!("answered {}", answer.status) } else { format!("answered {}: {said}", answer.status) };
    Some(Failure { class, status: Some(answer.status), message, retry_after: retry_after(&answer.headers, now) })
}

/// The head of a text for a message: one line, no control characters, at most [`EXCERPT_MAX`] characters.
#[must_use]
pub fn excerpt(bytes: &[u8]) -> String {
    // Four bytes a character at most; what is behind them is not looked at.
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(EXCERPT_MAX * 8)]);
    let mut line = String::new();
    for word in head.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.chars().count() > EXCERPT_MAX || bytes.len() > EXCERPT_MAX * 8 {
        line = line.chars().take(EXCERPT_MAX).collect();
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_means_the_same_everywhere() {
        let now = Timestamp::EPOCH;
        let answer =
            |status| Answer { status, headers: vec![("retry-after".into(), "7".into())], body: b"a\r\nb\x1b[31m".as_slice().into() };
        for (status, class) in [
            (200, None),
            (204, None),
            (400, Some(Class::Refused)),
            (401, Some(Class::Auth)),
            (403, Some(Class::Configuration)),
            (404, Some(Class::Refused)),
            (408, Some(Class::Server)),
            (409, Some(Class::Refused)),
            (410, Some(Class::Refused)),
            (422, Some(Class::Refused)),
            (425, Some(Class::Server)),
            (429, Some(Class::Throttled)),
            (500, Some(Class::Server)),
            (502, Some(Class::Server)),
            (503, Some(Class::Server)),
            (599, Some(Class::Server)),
            (999, Some(Class::Refused)),
        ] {
            let failure = refusal(&answer(status), now);
            assert_eq!(failure.as_ref().map(|f| f.class), class, "{status}");
            if let Some(failure) = failure {
                assert_eq!((failure.status, failure.retry_after), (Some(status), Some(Duration::from_secs(7))));
                assert_eq!(failure.message, format!("answered {status}: a b [31m"));
            }
        }
    }

    #[test]
    fn an_excerpt_is_one_short_line() {
        assert_eq!(excerpt(b""), "");
        assert_eq!(excerpt(" a\u{0}b\n\n c ".as_bytes()), "a b c");
        assert_eq!(excerpt("é".repeat(1_000_000).as_bytes()).chars().count(), EXCERPT_MAX + 1);
        assert_eq!(excerpt(&[0xff; 10]), "\u{fffd}".repeat(10));
    }

    #[test]
    fn a_redirect_names_the_host_and_nothing_more() {
        let url = Url::parse("https://user:pw@cloud.example/a?b=secret").unwrap();
        for (location, expected) in [
            (Some("https://u:p@evil.example:444/x?token=t"), "redirects (302) to `https://evil.example:444`"),
            (Some("/login?x=secret"), "redirects (302) to `https://cloud.example`"),
            (Some("http://169.254.169.254/"), "redirects (302) to `http://169.254.169.254`"),
            (Some("http://["), "answered 302"),
            (None, "answered 302"),
        ] {
            let failure = of_redirect(302, location, &url);
            assert!(failure.message.contains(expected), "{}", failure.message);
            assert_eq!((failure.class, failure.status), (Class::Refused, Some(302)));
            for hidden in ["secret", "token", "pw", "u:p"] {
                assert!(!failure.message.contains(hidden), "{}", failure.message);
            }
        }
    }
}
