//! Which addresses may be connected to: pure decisions over addresses and host names. Knows no DNS and no socket.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::Egress;

/// Why a destination is not allowed. Found again in a chain of errors by its type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Instance metadata and other link-local services: nothing allows them.
    #[error("`{host}` is the link-local or metadata address `{address}`, which is never called")]
    Metadata {
        /// As asked for.
        host: String,
        /// What it is or resolved to.
        address: IpAddr,
    },
    /// A host from an event that resolves to an address that is not public.
    #[error("`{host}` is the address `{address}`, which is not public; add the host or its network to `egress.allow` if it is meant")]
    NotPublic {
        /// As asked for.
        host: String,
        /// What it is or resolved to.
        address: IpAddr,
    },
}

/// The egress policy of the configuration.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    nets: Vec<IpNet>,
    hosts: BTreeSet<String>,
}

impl Policy {
    /// The policy as configured.
    #[must_use]
    pub fn new(egress: &Egress) -> Self {
        Self { nets: egress.allow_nets.clone(), hosts: egress.allow_hosts.iter().map(|host| plain_host(host)).collect() }
    }

    /// Whether the host is allowed by name.
    #[must_use]
    pub fn names(&self, host: &str) -> bool {
        self.hosts.contains(&plain_host(host))
    }

    /// Whether an address that `host` is or resolved to may be connected to. `trusted`: the host is written out or
    /// allowed by name, so that only metadata addresses are refused.
    ///
    /// # Errors
    /// It may not.
    pub fn admit(&self, host: &str, address: IpAddr, trusted: bool) -> Result<(), Forbidden> {
        let inner = embedded(address);
        if [address, inner].into_iter().any(is_never_called) {
            return Err(Forbidden::Metadata { host: host.to_owned(), address });
        }
        let listed = self.nets.iter().any(|net| net.contains(&address) || net.contains(&address.to_canonical()));
        if trusted || listed || is_public(address) {
            return Ok(());
        }
        Err(Forbidden::NotPublic { host: host.to_owned(), address })
    }
}

/// A host in the one spelling that is compared: lower case, no brackets, no dot at the end.
#[must_use]
pub fn plain_host(host: &str) -> String {
    let host = host.trim();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// Whether an address belongs to the public internet: globally routed unicast, and for IPv6 forms that carry an IPv4
/// address, that address too. 6to4 and Teredo are refused whatever they carry.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded(IpAddr::V6(v6)) {
            IpAddr::V4(v4) => is_mapped_or_nat64(v6) && is_public_v4(v4),
            IpAddr::V6(v6) => is_public_v6(v6),
        },
    }
}

/// IPv4 networks that are not public (IANA special-purpose registry), each with its prefix length; the last one is
/// Azure's host service, public by number only.
const NOT_PUBLIC_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// IPv6 networks inside global unicast (`2000::/3`) that are not public: IETF protocol assignments with Teredo and
/// benchmarking, documentation (both), 6to4.
const NOT_PUBLIC_V6: &[(u128, u32)] = &[(0x2001_0000 << 96, 23), (0x2001_0db8 << 96, 32), (0x3fff_0000 << 96, 20), (0x2002_0000 << 96, 16)];

fn is_public_v4(v4: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|(net, length)| (v4.to_bits() ^ net.to_bits()) >> (32 - length) == 0)
}

fn is_public_v6(v6: Ipv6Addr) -> bool {
    let bits = v6.to_bits();
    bits >> 125 == 1 && !NOT_PUBLIC_V6.iter().any(|(net, length)| (bits ^ net) >> (128 - length) == 0)
}

/// `::ffff:a.b.c.d` is the IPv4 address itself; `64:ff9b::a.b.c.d` is how an IPv6-only network reaches it.
fn is_mapped_or_nat64(v6: Ipv6Addr) -> bool {
    v6.to_ipv4_mapped().is_some() || v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0]
}

/// The IPv4 address that an IPv6 form carries (mapped, compatible, NAT64, 6to4, Teredo); the address itself otherwise.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let bits = v6.to_bits();
    let low = Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32);
    let v4 = match v6.segments() {
        _ if is_mapped_or_nat64(v6) => low,
        // IPv4-compatible; `::` and `::1` are addresses of their own.
        [0, 0, 0, 0, 0, 0, ..] if bits > 1 => low,
        // The local-use NAT64 prefix with the address at its end.
        [0x64, 0xff9b, 1, ..] => low,
        [0x2002, ..] => Ipv4Addr::from_bits((bits >> 80 & 0xffff_ffff) as u32),
        // Teredo hides the client's address by inverting it.
        [0x2001, 0, ..] => Ipv4Addr::from_bits(!((bits & 0xffff_ffff) as u32)),
        _ => return address,
    };
    IpAddr::V4(v4)
}

/// Addresses that no configuration allows: link-local (where clouds keep their metadata) and the metadata services
/// that clouds put elsewhere.
fn is_never_called(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local() || [[100, 100, 100, 200], [168, 63, 129, 16], [192, 0, 0, 192]].contains(&v4.octets()),
        // fe80::/10, and fd00:ec2::/32 (AWS).
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.segments()[..2] == [0xfd00, 0x0ec2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        let public = [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "20.50.60.70",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450::1",
            "3ffe::1",
            "2001:200::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        for text in public {
            assert!(is_public(text.parse().unwrap()), "{text} is public");
        }
        let private = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "10.255.255.255",
            "100.64.0.0",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "169.254.0.0",
            "169.254.169.254",
            "172.16.0.0",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.255",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "100.100.100.200",
            "::",
            "::1",
            "::2",
            "::127.0.0.1",
            "::8.8.8.8",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
            "2002:7f00:1::",
            "2002:808:808::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:10::1",
            "2001:2::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "3fff::1",
            "3fff:fff::1",
            "fc00::1",
            "fd12::1",
            "fd00:ec2::254",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ff0e::1",
            "100::1",
            "5f00::1",
            "4000::1",
            "e000::1",
        ];
        for text in private {
            assert!(!is_public(text.parse().unwrap()), "{text} is not public");
        }
    }

    #[test]
    fn metadata_is_refused_whoever_asks_and_whatever_is_listed() {
        let everything = Egress {
            allow_nets: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            allow_hosts: vec!["meta".to_owned()],
            ..Egress::default()
        };
        let policy = Policy::new(&everything);
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.1.1",
            "fd00:ec2::254",
            "fe80::a9fe:a9fe",
            "::ffff:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
            "100.100.100.200",
            "168.63.129.16",
            "2001:0:1:2:3:4:5601:5601",
        ] {
            let address: IpAddr = text.parse().unwrap();
            for trusted in [true, false] {
                assert!(matches!(policy.admit("meta", address, trusted), Err(Forbidden::Metadata { .. })), "{text}");
            }
        }
    }

    #[test]
    fn other_addresses_need_a_listed_network_unless_the_host_is_trusted() {
        let egress = Egress {
            allow_nets: vec!["10.20.0.0/16".parse().unwrap(), "fd12:3456::/32".parse().unwrap()],
            allow_hosts: vec!["Files.Corp.".to_owned(), "[fd99::1]".to_owned()],
            ..Egress::default()
        };
        let policy = Policy::new(&egress);
        let admits = |text: &str, trusted| policy.admit("h", text.parse().unwrap(), trusted).is_ok();
        for (address, untrusted) in [
            ("10.20.3.4", true),
            ("::ffff:10.20.3.4", true),
            ("10.21.0.1", false),
            ("::ffff:10.21.0.1", false),
            ("fd12:3456::9", true),
            ("fd12:9999::9", false),
            ("127.0.0.1", false),
            ("8.8.8.8", true),
            ("2002:a14:304::", false),
        ] {
            assert_eq!(admits(address, false), untrusted, "{address}");
            assert!(admits(address, true), "{address} of a trusted host");
        }
        for (host, named) in
            [("files.corp", true), ("FILES.corp.", true), ("x.files.corp", false), ("files.corp.evil", false), ("fd99::1", true)]
        {
            assert_eq!(policy.names(host), named, "{host}");
        }
    }
}
