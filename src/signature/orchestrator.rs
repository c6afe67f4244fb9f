//! Orchestrator's own signature: base64 of HMAC-SHA256 over the body, in one header. Its spellings in the wild are read too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{NamedSecret, Verdict};
use crate::secret::Secret;

/// The header that carries Orchestrator's signature.
pub const ORCHESTRATOR_HEADER: &str = "x-uipath-signature";

/// Bytes of an HMAC-SHA256.
const MAC_BYTES: usize = 32;

/// What some senders and documents put before the value; Orchestrator itself does not.
const PREFIX: &[u8] = b"sha256=";

/// Checks Orchestrator's header value against every secret. All of them are tried, whichever fits, so that the time
/// taken says nothing about which one did.
#[must_use]
pub fn verify_orchestrator(header: &[u8], body: &[u8], secrets: &[NamedSecret]) -> Verdict {
    let claimed = match decode(header) {
        Ok(claimed) => claimed,
        Err(shape) => return Verdict::Malformed(shape),
    };
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        let fits = mac(body, &secret.value).verify_slice(&claimed).is_ok();
        if fits && found.is_none() {
            found = Some(index);
        }
    }
    found.map_or(Verdict::Mismatch, Verdict::Genuine)
}

/// Signs a body as Orchestrator does: standard base64 of HMAC-SHA256.
#[must_use]
pub fn sign_orchestrator(body: &[u8], secret: &Secret) -> String {
    STANDARD.encode(mac(body, secret).finalize().into_bytes())
}

fn mac(body: &[u8], secret: &Secret) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac
}

/// The 32 bytes that a header value spells, or what shape it has instead.
fn decode(header: &[u8]) -> Result<[u8; MAC_BYTES], &'static str> {
    let value = header.trim_ascii();
    let value = match value.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest.trim_ascii(),
        _ => value,
    };
    if value.is_empty() {
        return Err("empty");
    }
    if value.iter().all(u8::is_ascii_hexdigit) {
        // 64 hex digits would also be base64, but of 48 bytes: the two spellings never meet.
        if value.len() == MAC_BYTES * 2 {
            return Ok(from_hex(value));
        }
        if value.len() != 43 {
            return Err("hex digits, but not 64 of them");
        }
    }
    from_base64(value)
}

fn from_hex(digits: &[u8]) -> [u8; MAC_BYTES] {
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or(0);
    let mut bytes = [0; MAC_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (nibble(pair[0]) << 4) | nibble(pair[1]);
    }
    bytes
}

/// Standard or URL-safe alphabet, padding or none. Brought to the one spelling of 44 characters first.
fn from_base64(value: &[u8]) -> Result<[u8; MAC_BYTES], &'static str> {
    const DIGITS: usize = 43;
    let digits = value.strip_suffix(b"=").unwrap_or(value);
    let url_safe = digits.iter().any(|b| matches!(b, b'-' | b'_'));
    if !digits.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_')) {
        return Err(foreign(value));
    }
    if url_safe && digits.iter().any(|b| matches!(b, b'+' | b'/')) {
        return Err("base64 in two alphabets at once");
    }
    if digits.len() != DIGITS {
        return Err(if digits.len() < DIGITS { "base64 of fewer than 32 bytes" } else { "base64 of more than 32 bytes" });
    }
    let mut spelled = [b'='; DIGITS + 1];
    for (to, from) in spelled.iter_mut().zip(digits) {
        *to = match from {
            b'-' => b'+',
            b'_' => b'/',
            other => *other,
        };
    }
    // The engine wants room for 33 bytes before it looks at the padding.
    let mut bytes = [0; MAC_BYTES + 1];
    match STANDARD.decode_slice(spelled, &mut bytes) {
        Ok(MAC_BYTES) => {
            let mut exact = [0; MAC_BYTES];
            exact.copy_from_slice(&bytes[..MAC_BYTES]);
            Ok(exact)
        }
        _ => Err("base64 with stray bits at its end"),
    }
}

/// What a value that is neither base64 nor hex looks like: other services' schemes get a hint of their own.
fn foreign(value: &[u8]) -> &'static str {
    if value.starts_with(b"v1,") || value.starts_with(b"v1a,") {
        "a list of Standard Webhooks (`v1,…`)"
    } else if value.starts_with(b"t=") {
        "a signature with a time (`t=…,v1=…`)"
    } else if value.ends_with(b"==") {
        "base64 with wrong padding"
    } else if value.contains(&b',') {
        "several values in one header"
    } else {
        "neither base64 nor hex"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secrets(values: &[&str]) -> Vec<NamedSecret> {
        let named = |(index, value): (usize, &&str)| NamedSecret {
            name: format!("secret {}", index + 1).into(),
            value: Secret::new((*value).to_owned()),
        };
        values.iter().enumerate().map(named).collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Every spelling of one signature that is accepted.
    fn spellings(signature: &str) -> Vec<String> {
        let bytes = STANDARD.decode(signature).expect("base64");
        let url_safe = signature.replace('+', "-").replace('/', "_");
        let plain = [
            signature.to_owned(),
            signature.trim_end_matches('=').to_owned(),
            url_safe.clone(),
            url_safe.trim_end_matches('=').to_owned(),
            hex(&bytes),
            hex(&bytes).to_uppercase(),
        ];
        let prefixes = ["", "sha256=", "SHA256=", " Sha256= "];
        prefixes.iter().flat_map(|prefix| plain.iter().map(move |p| format!("{prefix}{p}"))).collect()
    }

    #[test]
    fn the_known_answer_of_rfc_4231_comes_out() {
        // Test case 2 of RFC 4231.
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let verdict = verify_orchestrator(expected.as_bytes(), b"what do ya want for nothing?", &secrets(&["other key", "Jefe"]));
        assert_eq!(verdict, Verdict::Genuine(1));
    }

    #[test]
    fn odd_shapes_are_named_and_never_pass() {
        let table: &[(&str, &str)] = &[
            ("", "empty"),
            ("   ", "empty"),
            ("sha256=", "empty"),
            ("abcdef", "hex digits, but not 64 of them"),
            (&"a".repeat(66), "hex digits, but not 64 of them"),
            ("zzzz", "base64 of fewer than 32 bytes"),
            (&STANDARD.encode([7; 31]), "base64 with wrong padding"),
            (&STANDARD.encode([7; 33]), "base64 of more than 32 bytes"),
            ("v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=", "a list of Standard Webhooks (`v1,…`)"),
            ("t=1492774577,v1=5257a8", "a signature with a time (`t=…,v1=…`)"),
            ("one, two", "several values in one header"),
            ("Bearer x y", "neither base64 nor hex"),
            ("K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H_pI4=", "base64 in two alphabets at once"),
            ("K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI5=", "base64 with stray bits at its end"),
        ];
        for (value, shape) in table {
            assert_eq!(verify_orchestrator(value.as_bytes(), b"{}", &secrets(&["k"])), Verdict::Malformed(shape), "{value}");
        }
    }

    #[test]
    fn the_bytes_are_signed_and_nothing_else() {
        let key = secrets(&["a-secret-of-some-length"]);
        let body = b"{\r\n  \"Type\": \"job.completed\"\r\n}";
        let signature = sign_orchestrator(body, &key[0].value);
        assert_eq!(verify_orchestrator(signature.as_bytes(), body, &key), Verdict::Genuine(0));
        let mut flipped = body.to_vec();
        flipped[12] ^= 1;
        let unix = String::from_utf8_lossy(body).replace("\r\n", "\n");
        for other in [flipped.as_slice(), unix.as_bytes(), b"{\"Type\":\"job.completed\"}", b""] {
            assert_eq!(verify_orchestrator(signature.as_bytes(), other, &key), Verdict::Mismatch);
        }
        let empty = sign_orchestrator(b"", &key[0].value);
        assert_eq!(verify_orchestrator(empty.as_bytes(), body, &key), Verdict::Mismatch);
        assert_eq!(verify_orchestrator(signature.as_bytes(), body, &[]), Verdict::Mismatch);
    }

    proptest! {
        #[test]
        fn a_signature_verifies_in_every_spelling_with_its_own_secret_only(
            body in prop::collection::vec(any::<u8>(), 0..300),
            keys in prop::collection::btree_set("[ -~]{1,80}", 1..5),
            pick in any::<prop::sample::Index>(),
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let all = secrets(&keys);
            let index = pick.index(all.len());
            let signature = sign_orchestrator(&body, &all[index].value);
            for spelled in spellings(&signature) {
                prop_assert_eq!(verify_orchestrator(spelled.as_bytes(), &body, &all), Verdict::Genuine(index), "{}", spelled);
                let others: Vec<_> = all.iter().filter(|s| s.name != all[index].name).cloned().collect();
                prop_assert_eq!(verify_orchestrator(spelled.as_bytes(), &body, &others), Verdict::Mismatch);
            }
        }

        #[test]
        fn no_header_makes_it_panic_or_pass(header in prop::collection::vec(any::<u8>(), 0..200)) {
            let verdict = verify_orchestrator(&header, b"{}", &secrets(&["k"]));
            prop_assert!(!matches!(verdict, Verdict::Genuine(_)));
        }

        #[test]
        fn near_signatures_never_panic(header in "(sha256=|v1,)?[A-Za-z0-9+/_=-]{40,70}") {
            let verdict = verify_orchestrator(header.as_bytes(), b"{}", &secrets(&["k"]));
            prop_assert!(!matches!(verdict, Verdict::Genuine(_)));
        }
    }
}
