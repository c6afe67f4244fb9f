//! Headers that hold several signatures: `v1,BASE64 v1,BASE64` and `t=SECONDS,v1=HEX,v1=HEX`.

use super::mac::{Encoding, Mac};

/// The most signatures of one delivery that are looked at; services send one for each of a few secrets.
pub const CANDIDATES_MAX: usize = 16;

/// Bytes of HMAC-SHA256.
const SHA256_BYTES: usize = 32;

/// Standard Webhooks: signatures with their version, separated by spaces. Other versions than `v1` are passed over.
pub(super) fn standard(value: &[u8]) -> Result<Vec<Mac>, &'static str> {
    let items = value.split(u8::is_ascii_whitespace).filter(|item| !item.is_empty());
    let spelt = items.take(CANDIDATES_MAX).filter_map(|item| item.strip_prefix(b"v1,"));
    macs(spelt, Encoding::Base64).map_err(|shape| match shape {
        None if value.starts_with(b"v1a,") => "an asymmetric signature (`v1a,…`) only; a symmetric one (`v1,…`) is needed",
        None => "no signature of version `v1`",
        Some(shape) => shape,
    })
}

/// Stripe: the time, and signatures with their version, separated by commas. Other versions than `v1` are passed over.
pub(super) fn stripe(value: &[u8]) -> Result<(&[u8], Vec<Mac>), &'static str> {
    let items = || value.split(|b| *b == b',').map(<[u8]>::trim_ascii).take(CANDIDATES_MAX + 2);
    let mut times = items().filter_map(|item| item.strip_prefix(b"t="));
    let time = match (times.next(), times.next()) {
        (Some(time), None) => time,
        (None, _) => return Err("no time in it (`t=…`)"),
        (Some(_), Some(_)) => return Err("two times in it (`t=…`)"),
    };
    let spelt = items().filter_map(|item| item.strip_prefix(b"v1=")).take(CANDIDATES_MAX);
    let macs = macs(spelt, Encoding::Hex).map_err(|shape| shape.unwrap_or("no signature of version `v1` (`v1=…`)"))?;
    Ok((time, macs))
}

/// Those that are well-formed; where none is, the shape of the first. `None` where there is nothing.
fn macs<'v>(spelt: impl Iterator<Item = &'v [u8]>, encoding: Encoding) -> Result<Vec<Mac>, Option<&'static str>> {
    let (mut macs, mut shape) = (Vec::new(), None);
    for text in spelt {
        match encoding.read(text, SHA256_BYTES) {
            Ok(mac) => macs.push(mac),
            Err(wrong) => shape = shape.or(Some(wrong)),
        }
    }
    if macs.is_empty() { Err(shape) } else { Ok(macs) }
}
