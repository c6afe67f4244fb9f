//! What is wrong with the head of a request on every listener: what hyper lets through and HTTP does not allow.

use hyper::header::{EXPECT, HOST, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};

use super::Problem;

/// The longest request target.
pub const URI_MAX: usize = 8 << 10;

/// Checks what holds for every request of every listener. A connection is closed after each of these refusals: its
/// sender and we do not agree on where messages end.
///
/// # Errors
/// The answer to give.
pub fn check_head(head: &Parts) -> Result<(), Problem> {
    let refuse = |status, detail: &'static str| Err(Problem::new(status, detail).close());
    if head.method == Method::CONNECT {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "this is no proxy: CONNECT is not served");
    }
    if head.uri.scheme().is_some() || head.uri.authority().is_some() {
        return refuse(StatusCode::BAD_REQUEST, "the request target must be a path: this is no proxy");
    }
    if head.uri.path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX) {
        return refuse(StatusCode::URI_TOO_LONG, "the request target is longer than 8 KiB");
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if host.to_str().is_err() => return refuse(StatusCode::BAD_REQUEST, "the Host header is not ASCII"),
        (Some(_), None) => {}
        (None, _) if head.version == Version::HTTP_10 => {}
        (None, _) => return refuse(StatusCode::BAD_REQUEST, "the Host header is missing"),
        (Some(_), Some(_)) => return refuse(StatusCode::BAD_REQUEST, "there are two Host headers"),
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next()
        && (codings.next().is_some() || !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
    {
        return refuse(StatusCode::NOT_IMPLEMENTED, "the only Transfer-Encoding served is chunked");
    }
    if head.headers.get_all(EXPECT).iter().any(|expect| !expect.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return refuse(StatusCode::EXPECTATION_FAILED, "the only Expect served is 100-continue");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn what_hyper_lets_through_is_refused_here() {
        let head = |method: &str, uri: &str, version, headers: &[(&str, &str)]| {
            let mut builder = Request::builder().method(method).uri(uri).version(version);
            for (name, value) in headers {
                builder = builder.header(*name, *value);
            }
            check_head(&builder.body(()).expect("a request").into_parts().0).map_err(|p| p.status().as_u16())
        };
        let host = ("host", "a.test");
        let new = Version::HTTP_11;
        type Row<'a> = (&'a str, &'a str, Version, &'a [(&'a str, &'a str)], Result<(), u16>);
        let table: &[Row<'_>] = &[
            ("POST", "/x", new, &[host], Ok(())),
            ("POST", "/x", Version::HTTP_10, &[], Ok(())),
            ("POST", "/x", new, &[], Err(400)),
            ("POST", "/x", new, &[host, ("host", "b.test")], Err(400)),
            ("POST", "/x", new, &[("host", "a\u{e9}.test")], Err(400)),
            ("POST", "http://evil.test/x", new, &[host], Err(400)),
            ("CONNECT", "evil.test:443", new, &[host], Err(405)),
            ("POST", "/x", new, &[host, ("transfer-encoding", "Chunked")], Ok(())),
            ("POST", "/x", new, &[host, ("transfer-encoding", "gzip, chunked")], Err(501)),
            ("POST", "/x", new, &[host, ("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], Err(501)),
            ("POST", "/x", new, &[host, ("expect", "100-Continue")], Ok(())),
            ("POST", "/x", new, &[host, ("expect", "banana")], Err(417)),
        ];
        for (method, uri, version, headers, expected) in table {
            assert_eq!(&head(method, uri, *version, headers), expected, "{method} {uri} {headers:?}");
        }
        let long = format!("/{}", "x".repeat(URI_MAX));
        assert_eq!(head("POST", &long, new, &[host]), Err(414));
    }
}
