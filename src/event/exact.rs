//! JSON as services write it: with a byte order mark, with numbers that no machine integer holds.

use std::borrow::Cow;

use serde_json::Value;

/// Reads a body. Integers that fit no 64-bit integer become texts of the same digits: an id is never rounded.
///
/// # Errors
/// It is no JSON.
pub fn read_json(body: &[u8]) -> Result<Value, serde_json::Error> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    serde_json::from_slice(&keep_integers(body))
}

/// Puts quotes around integers that would become floating point numbers.
fn keep_integers(body: &[u8]) -> Cow<'_, [u8]> {
    /// Shorter runs of digits always fit.
    const FITS: usize = 19;
    let mut out: Vec<u8> = Vec::new();
    let mut copied = 0;
    let mut at = 0;
    while at < body.len() {
        match body[at] {
            b'"' => {
                at += 1;
                while at < body.len() && body[at] != b'"' {
                    at += if body[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let start = at;
                while at < body.len() && matches!(body[at], b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E') {
                    at += 1;
                }
                let token = &body[start..at];
                if token.len() > FITS && is_wide(token) {
                    out.extend_from_slice(&body[copied..start]);
                    out.push(b'"');
                    out.extend_from_slice(token);
                    out.push(b'"');
                    copied = at;
                }
            }
            _ => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(body);
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}

/// An integer, and too large for 64 bits.
fn is_wide(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) && digits[0] != b'0';
    let text = std::str::from_utf8(token).unwrap_or_default();
    integer && text.parse::<i64>().is_err() && text.parse::<u64>().is_err()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_are_never_rounded() {
        let wide = "123456789012345678901234567890";
        let text = format!(
            r#"{{"Id": {wide}, "N": [-{wide},{wide}], "S": "{wide} \" {wide}", "D": {wide}.5, "E": 1e30, "U": 18446744073709551615}}"#
        );
        let value = read_json(text.as_bytes()).unwrap();
        assert_eq!(value["Id"], json!(wide));
        assert_eq!(value["N"], json!([format!("-{wide}"), wide]));
        assert_eq!(value["S"], json!(format!("{wide} \" {wide}")));
        assert!(value["D"].is_f64() && value["E"].is_f64());
        assert_eq!(value["U"], json!(u64::MAX));
        for exact in ["9223372036854775807", "-9223372036854775808", "18446744073709551615"] {
            assert_eq!(read_json(exact.as_bytes()).unwrap().to_string(), exact);
        }
        assert_eq!(read_json(b"18446744073709551616").unwrap(), json!("18446744073709551616"));
        assert_eq!(read_json(b"-9223372036854775809").unwrap(), json!("-9223372036854775809"));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for bad in ["", "{", "{\"a\": 1", "<html>", "00000000000000000000001", "\"abc", "\"abc\\", "--------------------1", "{} x"] {
            assert!(read_json(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(read_json("\u{feff}{\"a\": 1}".as_bytes()).unwrap(), json!({"a": 1}));
    }
}
