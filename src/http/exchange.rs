//! What went over the wire in an exchange, for rules that record it: kept raw until then, never shown so.

use std::fmt;

use bytes::Bytes;
use serde_json::Value;

use super::client::{Answer, Outgoing};
use super::mask::mask_text;
use crate::runs::{Message, Recorded};
use crate::secret::Secret;

/// Headers that are recorded of one message.
pub const RECORDED_HEADERS_MAX: usize = 64;
/// The most that is recorded of a header's value, in bytes.
pub const RECORDED_VALUE_MAX: usize = 1 << 10;
/// The most that is recorded of a body, in bytes.
pub const RECORDED_BODY_MAX: usize = 8 << 10;

/// Stands in for what is secret.
const MASK: &str = "***";
/// What headers that authorise are called.
const AUTHORISING: &[&str] = &["authorization", "proxy-authorization", "cookie", "set-cookie"];
/// Headers and fields of bodies are secret whose names have one of these in them, without `-` and `_`.
const SECRET_NAMES: &[&str] = &["secret", "password", "passwd", "token", "apikey", "credential", "signature", "privatekey"];

/// A request and its answer as they went over the wire, and what of it must not be shown. Prints nothing.
#[derive(Clone)]
pub struct Exchange {
    asked: Raw,
    answered: Option<Raw>,
    secrets: Vec<Secret>,
}

#[derive(Clone, PartialEq)]
struct Raw {
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl PartialEq for Exchange {
    fn eq(&self, other: &Self) -> bool {
        (&self.asked, &self.answered) == (&other.asked, &other.answered)
    }
}

impl Exchange {
    /// A request that is about to leave.
    #[must_use]
    pub fn of(request: &Outgoing) -> Self {
        let asked = Raw { headers: request.headers.clone(), body: request.body.clone().unwrap_or_default() };
        Self { asked, answered: None, secrets: Vec::new() }
    }

    /// Its answer came.
    #[must_use]
    pub fn answered(self, answer: &Answer) -> Self {
        Self { answered: Some(Raw { headers: answer.headers.clone(), body: answer.body.clone() }), ..self }
    }

    /// What must not be shown, besides what authorises by its name.
    #[must_use]
    pub fn hiding(mut self, secrets: impl IntoIterator<Item = Secret>) -> Self {
        self.secrets.extend(secrets);
        self
    }

    /// As it is recorded: secrets and authorisation masked, what is long cut.
    #[must_use]
    pub fn recorded(&self) -> Recorded {
        let own = self.asked.headers.iter().filter(|(name, _)| is_secret(name)).flat_map(|(_, value)| {
            // `Bearer x`: what is secret is x.
            let bare = value.split_once(' ').map(|(_, bare)| bare.trim());
            [Some(value.as_str()), bare].into_iter().flatten()
        });
        let mut secrets: Vec<&str> = self.secrets.iter().map(Secret::expose).chain(own).collect();
        // The longest first, so that a secret that holds another is hidden whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Recorded { request: shown(&self.asked, &secrets), response: self.answered.as_ref().map(|answered| shown(answered, &secrets)) }
    }
}

fn is_secret(name: &str) -> bool {
    let name: String = name.to_ascii_lowercase();
    if AUTHORISING.contains(&name.as_str()) {
        return true;
    }
    let bare = name.replace(['-', '_'], "");
    SECRET_NAMES.iter().any(|secret| bare.contains(secret))
}

fn shown(raw: &Raw, secrets: &[&str]) -> Message {
    let header = |(name, value): &(String, String)| {
        let value = if is_secret(name) { MASK.to_owned() } else { cut(&mask_text(value, secrets), RECORDED_VALUE_MAX).0 };
        (name.to_ascii_lowercase(), value)
    };
    let headers = raw.headers.iter().take(RECORDED_HEADERS_MAX).map(header).collect();
    if raw.body.is_empty() {
        return Message { headers, body: None, cut: false };
    }
    let (body, cut) = cut(&mask_text(&without_secrets(&raw.body), secrets), RECORDED_BODY_MAX);
    Message { headers, body: Some(body), cut }
}

/// A body with the values of fields masked that are called like secrets.
fn without_secrets(body: &[u8]) -> String {
    if let Ok(mut value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice::<Value>(body) {
        return if hide(&mut value) { value.to_string() } else { String::from_utf8_lossy(body).into_owned() };
    }
    let text = String::from_utf8_lossy(body);
    let is_form = text.contains('=') && !text.contains(['<', '{', '\n']);
    if !is_form {
        return text.into_owned();
    }
    let hidden = |pair: &str| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}={MASK}"),
        _ => pair.to_owned(),
    };
    text.split('&').map(hidden).collect::<Vec<_>>().join("&")
}

/// Masks what is called like a secret; whether there was something.
fn hide(value: &mut Value) -> bool {
    match value {
        Value::Object(map) => {
            let mut any = false;
            for (name, value) in map {
                if is_secret(name) && (value.is_string() || value.is_number()) {
                    *value = MASK.into();
                    any = true;
                } else {
                    any |= hide(value);
                }
            }
            any
        }
        Value::Array(items) => {
            let mut any = false;
            for item in items {
                any |= hide(item);
            }
            any
        }
        _ => false,
    }
}

/// At most so many bytes, and whether anything was cut.
fn cut(text: &str, most: usize) -> (String, bool) {
    if text.len() <= most {
        return (text.to_owned(), false);
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    (text[..end].to_owned(), true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn exchange(headers: &[(&str, &str)], body: &str, answer: (&[(&str, &str)], &str)) -> Exchange {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>();
        let request = Outgoing {
            method: "POST".to_owned(),
            url: "https://h/p".to_owned(),
            written_out: true,
            headers: pairs(headers),
            body: Some(Bytes::copy_from_slice(body.as_bytes())),
            timeout: Duration::from_secs(1),
        };
        let answer = Answer { status: 200, headers: pairs(answer.0), body: Bytes::copy_from_slice(answer.1.as_bytes()) };
        Exchange::of(&request).answered(&answer)
    }

    #[test]
    fn nothing_that_authorises_is_recorded_wherever_it_stands() {
        let headers = [("Authorization", "Bearer t0ps3cret"), ("X-Api-Key", "k3y-of-mine"), ("Accept", "text/t0ps3cret")];
        let body = r#"{"client_secret": "x", "list": [{"accessToken": "y"}], "note": "k3y-of-mine and canary/1", "n": 7}"#;
        let answer: (&[(&str, &str)], &str) = (&[("set-cookie", "id=5"), ("server", "h")], "you sent t0ps3cret canary%2F1");
        let shown = exchange(&headers, body, answer).hiding([Secret::new("canary/1".to_owned())]).recorded();
        let text = serde_json::to_string(&shown).expect("json");
        for secret in ["t0ps3cret", "k3y-of-mine", "id=5", "canary", "\"x\"", "\"y\""] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
        assert_eq!(shown.request.headers[2], ("accept".to_owned(), "text/***".to_owned()));
        let response = shown.response.expect("an answer");
        assert_eq!((response.body.as_deref(), response.headers[1].1.as_str()), (Some("you sent *** ***"), "h"));
        assert!(shown.request.body.expect("a body").contains("\"n\":7"));
        assert_eq!(format!("{:?}", exchange(&headers, body, answer)), "***");
    }

    #[test]
    fn bodies_are_recorded_as_they_are_up_to_a_limit() {
        for (body, expected) in [
            ("{\"a\": 1}", Some("{\"a\": 1}")),
            ("", None),
            ("grant=x&password=y&b=%20", Some("grant=x&password=***&b=%20")),
            ("<a token=\"b\">", Some("<a token=\"b\">")),
        ] {
            assert_eq!(exchange(&[], body, (&[], "")).recorded().request.body.as_deref(), expected);
        }
        let long = "é".repeat(RECORDED_BODY_MAX);
        let shown = exchange(&[("x", &long)], &long, (&[], "")).recorded().request;
        assert!(shown.cut && shown.body.is_some_and(|body| body.len() <= RECORDED_BODY_MAX));
        assert!(shown.headers[0].1.len() <= RECORDED_VALUE_MAX);
        let many: Vec<_> = (0..100).map(|_| ("x", "y")).collect();
        assert_eq!(exchange(&many, "", (&[], "")).recorded().request.headers.len(), RECORDED_HEADERS_MAX);
    }
}
