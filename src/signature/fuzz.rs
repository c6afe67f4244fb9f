//! Any header over any body.

use super::*;
use crate::event::fuzz::near;

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
    bolero::check!().for_each(|input: &[u8]| {
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
            Verdict::Mismatch | Verdict::Malformed(_) => {
                assert!(header.trim_ascii() != signed.as_bytes() && header.trim_ascii() != hex.as_bytes());
            }
        }
    });
}
