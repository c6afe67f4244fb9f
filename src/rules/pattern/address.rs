//! IP addresses as patterns compare them: by value, whatever their spelling.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads an address as event-ruler does: decimal parts with any leading zeros, IPv6 without dots.
#[must_use]
pub fn parse(text: &str) -> Option<IpAddr> {
    match text.bytes().next()? {
        b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b':' => v4(text).map(IpAddr::V4).or_else(|| v6(text)),
        _ => None,
    }
}

fn v4(text: &str) -> Option<Ipv4Addr> {
    if text.len() > 15 {
        return None;
    }
    let mut parts = [0_u8; 4];
    let mut split = text.split('.');
    for part in &mut parts {
        let digits = split.next()?;
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        *part = digits.parse::<u32>().ok().and_then(|n| u8::try_from(n).ok())?;
    }
    split.next().is_none().then(|| Ipv4Addr::from(parts))
}

fn v6(text: &str) -> Option<IpAddr> {
    if text.len() > 64 || !text.contains(':') || !text.bytes().all(|b| b.is_ascii_hexdigit() || b == b':') {
        return None;
    }
    let trimmed: Vec<&str> = text.split(':').map(|group| if group.len() > 4 { group.trim_start_matches('0') } else { group }).collect();
    let address: Ipv6Addr = trimmed.join(":").parse().ok()?;
    Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4))
}

/// A block of addresses; bits of the host in the written address are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    base: u128,
    bits: u32,
    is_v4: bool,
}

impl Block {
    /// Reads `10.0.0.0/8` or `fd00::/8`.
    ///
    /// # Errors
    /// No slash, no address, or too many bits.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a block such as `10.0.0.0/8` or `fd00::/8`";
        let (address, bits) = text.split_once('/').ok_or_else(|| format!("`{text}` has no `/`; {EXPECTED}"))?;
        let address = parse(address).ok_or_else(|| format!("`{address}` is no IP address; {EXPECTED}"))?;
        let bits: u32 = bits.parse().map_err(|_| format!("`{bits}` is no number of bits; {EXPECTED}"))?;
        let (value, width, is_v4) = widen(address);
        if bits > width {
            return Err(format!("`/{bits}` is more than the {width} bits of the address"));
        }
        Ok(Self { base: mask(value, bits, width), bits, is_v4 })
    }

    /// Whether an address lies in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (value, width, is_v4) = widen(address);
        is_v4 == self.is_v4 && mask(value, self.bits, width) == self.base
    }
}

fn widen(address: IpAddr) -> (u128, u32, bool) {
    match address {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32, true),
        IpAddr::V6(v6) => (v6.to_bits(), 128, false),
    }
}

fn mask(value: u128, bits: u32, width: u32) -> u128 {
    let host = width - bits;
    value.checked_shr(host).map_or(0, |network| network.checked_shl(host).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_equal() {
        assert_eq!(parse("10.0.0.1"), parse("10.0.0.01"));
        assert_eq!(parse("::1"), parse("0:0:0:0:0:0:0:1"));
        assert_eq!(parse("::00001"), parse("::1"));
        for other in ["10.0.0", "10.0.0.256", "host", "", "1:2", "::g", "10.0.0.1.", "12", "a.b.c.d", "1.2.3.4.5"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn blocks_ignore_host_bits_and_keep_families_apart() {
        let within = |block: &str, address: &str| Block::parse(block).expect(block).contains(parse(address).expect(address));
        assert!(within("10.0.0.77/24", "10.0.0.200") && !within("10.0.0.0/24", "10.0.1.0"));
        assert!(within("0.0.0.0/0", "255.255.255.255") && !within("0.0.0.0/0", "::1"));
        assert!(within("10.0.0.1/32", "10.0.0.1") && !within("10.0.0.1/32", "10.0.0.2"));
        assert!(within("fd00::/8", "fdab::1") && within("::1/128", "::1") && within("::/0", "fe80::1"));
        for bad in ["10.0.0.0", "x/8", "10.0.0.0/33", "10.0.0.0/x", "::/129", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(Block::parse(bad).is_err(), "{bad}");
        }
    }
}
