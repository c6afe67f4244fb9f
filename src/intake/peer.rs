//! Whose address counts as the sender's. Pure.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;

use crate::http::server::Peer;

/// What proxies note the address of their own peer in.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The sender's address. With `trusted_proxies` of ours in front it is the one that the outermost of them saw: that many
/// entries from the right of `X-Forwarded-For`, for what stands further left is the sender's own word. Where there are
/// fewer entries it is unknown. Without proxies the header counts for nothing.
pub(super) fn address(peer: &Peer, headers: &HeaderMap, trusted_proxies: u8) -> Option<IpAddr> {
    let Some(hop) = usize::from(trusted_proxies).checked_sub(1) else {
        return match peer {
            Peer::Tcp(address) => Some(address.ip().to_canonical()),
            Peer::Unix => None,
        };
    };
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entry = lines.flat_map(|line| line.as_bytes().rsplit(|b| *b == b',')).nth(hop)?;
    parse(std::str::from_utf8(entry).ok()?.trim())
}

/// An address as proxies write it: bare, with a port, or in brackets.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|a| a.ip()));
    address.ok().map(|a| a.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hops_of_our_own_proxies_are_believed() {
        let tcp = |text: &str| Peer::Tcp(text.parse().expect("an address"));
        let seen = |peer: &Peer, lines: &[&str], proxies: u8| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FORWARDED_FOR, line.parse().expect("a value"));
            }
            address(peer, &headers, proxies).map(|a| a.to_string())
        };
        let peer = tcp("10.0.0.9:4000");
        let table: &[(&Peer, &[&str], u8, Option<&str>)] = &[
            (&peer, &[], 0, Some("10.0.0.9")),
            (&peer, &["20.1.2.3"], 0, Some("10.0.0.9")),
            (&tcp("[::ffff:10.0.0.9]:1"), &[], 0, Some("10.0.0.9")),
            (&Peer::Unix, &[], 0, None),
            (&Peer::Unix, &["20.1.2.3"], 1, Some("20.1.2.3")),
            (&peer, &["6.6.6.6, 20.1.2.3"], 1, Some("20.1.2.3")),
            (&peer, &["6.6.6.6, 20.1.2.3,10.0.0.8"], 2, Some("20.1.2.3")),
            (&peer, &["6.6.6.6", "20.1.2.3"], 1, Some("20.1.2.3")),
            (&peer, &["6.6.6.6", "20.1.2.3"], 2, Some("6.6.6.6")),
            (&peer, &["20.1.2.3"], 2, None),
            (&peer, &[], 1, None),
            (&peer, &["20.1.2.3:555"], 1, Some("20.1.2.3")),
            (&peer, &["[2001:db8::1]:555"], 1, Some("2001:db8::1")),
            (&peer, &["[2001:db8::1]"], 1, Some("2001:db8::1")),
            (&peer, &["unknown"], 1, None),
            (&peer, &["20.1.2.3,"], 1, None),
        ];
        for (peer, lines, proxies, expected) in table {
            assert_eq!(seen(peer, lines, *proxies).as_deref(), *expected, "{lines:?} {proxies}");
        }
    }
}
