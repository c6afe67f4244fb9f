//! URLs, addresses and networks as people write them.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use url::{Host, Url};

use crate::fault::{Fault, Faults, Place};

/// Checks the URL of a service and gives it without a slash at its end.
///
/// Errors: another scheme than http and https, no host, credentials, a query, a fragment. Plain http to a host that is
/// not loopback is a warning.
pub(super) fn service_url(text: &str, what: &str, place: &Place, faults: &mut Faults) -> Option<Url> {
    let fail = |code: &'static str, message: String| Fault::error(code, place.clone(), message);
    const EXPECTED: &str = "expected https://HOST/PATH";
    // The text itself is not repeated: it may hold a password.
    let mut url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => {
            let scheme_missing = matches!(error, url::ParseError::RelativeUrlWithoutBase);
            let bare_ipv6 = text.split_once("://").is_some_and(|(_, rest)| {
                let authority = rest.split('/').next().unwrap_or_default();
                !authority.contains('[') && authority.matches(':').count() > 1
            });
            let fault = fail("url", format!("`{what}` is no URL: {error}"));
            faults.push(fault.help(if bare_ipv6 {
                "write an IPv6 address in brackets: http://[::1]:8080"
            } else if scheme_missing {
                "write it with its scheme: https://HOST/PATH"
            } else {
                EXPECTED
            }));
            return None;
        }
    };
    if !matches!(url.scheme(), "http" | "https") {
        let message = format!("`{what}` has the scheme `{}`; expected http or https", url.scheme());
        faults.push(fail("url", message).help(EXPECTED));
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        let fault = fail("url-credentials", format!("`{what}` has credentials in it"));
        faults.push(fault.help("remove them; credentials belong into `auth`, as {env: NAME} or {file: PATH}"));
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        faults.push(fail("url", format!("`{what}` has a query or a fragment")).help("end it with the path"));
        return None;
    }
    // `https:///path` is read as if `path` were the host; nobody means that.
    let authority = text.split_once(':').map_or("", |(_, rest)| rest.strip_prefix("//").unwrap_or_default());
    if url.host().is_none() || authority.is_empty() || authority.starts_with('/') {
        faults.push(fail("url", format!("`{what}` has no host")).help(EXPECTED));
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        let message = format!("`{what}` is plain http: tokens and data can be read on the way");
        faults.push(Fault::warning("plain-http", place.clone(), message).help("use https, with `egress.ca` for a company's own roots"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Some(url)
}

/// A URL as text without the slash that the type always has at an empty path.
pub(super) fn without_slash(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

/// Reads `127.0.0.1:8080`, `[::]:8080` or `localhost:8080`; port 0 is any free port.
pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    const EXPECTED: &str = "expected ADDRESS:PORT, such as `127.0.0.1:8080` or `[::]:8080`";
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(_) => format!("`{text}` has no port; {EXPECTED}"),
            Err(_) => format!("`{text}` is no address; {EXPECTED}"),
        });
    };
    if port.parse::<u16>().is_err() {
        return Err(match text.parse::<IpAddr>() {
            Ok(_) => format!("`{text}` has no port; {EXPECTED}"),
            Err(_) => format!("`{port}` in `{text}` is no port; expected 0 to 65535"),
        });
    }
    match host {
        "localhost" => format!("127.0.0.1:{port}").parse().map_err(|_| format!("`{text}` is no address; {EXPECTED}")),
        "" | "*" => Err(format!("`{text}` names no address; write `0.0.0.0:{port}` for all of them")),
        _ if host.parse::<std::net::Ipv6Addr>().is_ok() => Err(format!("an IPv6 address stands in brackets: `[{host}]:{port}`")),
        _ => Err(format!("`{host}` in `{text}` is no IP address; {EXPECTED}")),
    }
}

/// Reads `10.0.0.0/8` or a single address. Bits behind the prefix are cleared.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(net) = text.parse::<IpNet>() {
        return Ok(net.trunc());
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    Err(format!("`{text}` is no network; expected one such as `10.20.0.0/16` or `192.0.2.7`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_an_ip_and_a_port() {
        for (text, expected) in [("127.0.0.1:0", "127.0.0.1:0"), ("localhost:80", "127.0.0.1:80"), ("[::1]:5", "[::1]:5")] {
            assert_eq!(socket_address(text).map(|a| a.to_string()), Ok(expected.to_owned()));
        }
        for (text, hint) in [
            ("8080", "ADDRESS:PORT"),
            (":8080", "0.0.0.0:8080"),
            ("*:80", "0.0.0.0:80"),
            ("127.0.0.1", "no port"),
            ("127.0.0.1:70000", "0 to 65535"),
            ("127.0.0.1:-1", "0 to 65535"),
            ("127.0.0.1:http", "0 to 65535"),
            ("::1:8080", "brackets"),
            ("example.com:80", "no IP address"),
            ("", "no address"),
        ] {
            let message = socket_address(text).expect_err(text);
            assert!(message.contains(hint), "{text}: {message}");
        }
    }

    #[test]
    fn networks_are_cidr_or_single() {
        assert_eq!(network("10.20.3.4/16").map(|n| n.to_string()), Ok("10.20.0.0/16".to_owned()));
        assert_eq!(network("::1").map(|n| n.to_string()), Ok("::1/128".to_owned()));
        for bad in ["10.0.0.0/33", "x", "10.0.0", ""] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }
}
