//! Any header over any body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::event::fuzz::{near, over_inputs};
use crate::headers::{HeaderList, Headers};
use crate::time::Timestamp;

fn secret(name: &str, value: &str) -> NamedSecret {
    NamedSecret { name: name.into(), value: Secret::new(value.to_owned()) }
}

/// All spellings that stand for these bytes, besides space and prefix around them.
fn spells(value: &[u8], mac: &[u8]) -> bool {
    let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = STANDARD.encode(mac);
    let url_safe = base64.replace('+', "-").replace('/', "_");
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace());
    let text = if text.len() >= 7 && text[..7].eq_ignore_ascii_case("sha256=") {
        text[7..].trim_matches(|c: char| c.is_ascii_whitespace())
    } else {
        text
    };
    let bare = text.strip_suffix('=').unwrap_or(text);
    text.eq_ignore_ascii_case(&hex) || [base64, url_safe].iter().any(|spelled| spelled.trim_end_matches('=') == bare)
}

#[test]
fn a_header_verifies_only_when_it_spells_the_signature() {
    let secrets = [secret("old", "0123456789abcdef"), secret("new", "fedcba9876543210")];
    over_inputs!(|input: &[u8]| {
        let (head, body) = input.split_at(input.len() / 2);
        let signed = sign_orchestrator(body, &secrets[1].value);
        let mac = STANDARD.decode(&signed).expect("our own");
        let hex: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let header = near(&[signed.as_bytes(), hex.as_bytes(), format!("sha256={signed}").as_bytes(), b"t=1,v1=00"], head);
        match verify_orchestrator(&header, body, &secrets) {
            Verdict::Genuine(index) => {
                assert_eq!(index, 1);
                assert!(spells(&header, &mac), "{:?} does not spell it", String::from_utf8_lossy(&header));
            }
            Verdict::Mismatch | Verdict::Malformed(_) | Verdict::Stale(_) => {
                assert!(header.trim_ascii() != signed.as_bytes() && header.trim_ascii() != hex.as_bytes());
            }
        }
    });
}

/// Headers near those that each scheme expects, over any body: nothing panics, and what is called genuine was signed.
#[test]
fn headers_of_every_scheme_verify_only_when_they_were_signed() {
    let secrets = [secret("old", "b2xkIG9sZCBvbGQgb2xk"), secret("new", "bmV3IG5ldyBuZXcgbmV3")];
    let now = Timestamp::from_millis(1_700_000_000_000);
    let own = CustomScheme {
        header: "x-sig".to_owned(),
        algorithm: Algorithm::Sha1,
        encoding: Encoding::Base64Url,
        prefix: "s=".to_owned(),
        content: Content::parse("${headers.x-time}.${body}").expect("a template"),
        timestamp: Some(("x-time".to_owned(), TOLERANCE)),
    };
    let schemes: Vec<Scheme> = Scheme::NAMES.iter().filter_map(|name| Scheme::of(name)).chain([Scheme::Custom(Box::new(own))]).collect();
    over_inputs!(|input: &[u8]| {
        let Some((which, rest)) = input.split_first() else { return };
        let (edits, body) = rest.split_at(rest.len() / 2);
        let scheme = &schemes[usize::from(*which) % schemes.len()];
        let send = SendAs { id: "msg_1", now, headers: &HeaderList::default() };
        let signed = sign(scheme, body, &secrets[1].value, &send).expect("signed");
        let changed: Vec<(String, String)> = signed
            .iter()
            .map(|(name, value)| {
                (name.clone(), String::from_utf8_lossy(&near(&[value.as_bytes(), b"v1,AAAA", b"t=1,v1=00"], edits)).into_owned())
            })
            .collect();
        let (headers, original) = (HeaderList(changed), HeaderList(signed));
        assert_eq!(scheme.verify(&original, body, &secrets, now), Verdict::Genuine(1), "{}", scheme.name());
        scheme.check_head(&headers).ok();
        if let Verdict::Genuine(index) = scheme.verify(&headers, body, &secrets, now) {
            assert_eq!(index, 1);
            // Spellings may differ, the signed time and id may not.
            for name in ["webhook-timestamp", "webhook-id", "x-slack-request-timestamp", "x-time"] {
                assert_eq!(headers.find(name), original.find(name), "{}", scheme.name());
            }
        }
    });
}
