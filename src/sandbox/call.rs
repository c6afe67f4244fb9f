//! A request and an answer as values: what the simulated Orchestrator decides on, without sockets.

use bytes::Bytes;
use serde_json::{Value, json};

/// A request, read whole.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Call {
    pub(in crate::sandbox) method: String,
    /// Percent-decoded.
    pub(in crate::sandbox) path: String,
    /// As it came, without `?`.
    pub(in crate::sandbox) query: String,
    /// Names in lower case.
    pub(in crate::sandbox) headers: Vec<(String, String)>,
    pub(in crate::sandbox) body: Bytes,
}

impl Call {
    /// A header's first value.
    pub(in crate::sandbox) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` when it is empty.
    pub(in crate::sandbox) fn json(&self) -> Result<Value, Refusal> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).map_err(|e| Refusal::invalid(format!("The request body is no valid JSON: {e}")))
    }

    /// A query option by name, whatever its case, decoded.
    pub(in crate::sandbox) fn option(&self, name: &str) -> Option<String> {
        form(&self.query).into_iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The pairs of `a=b&c=d`, decoded.
pub(in crate::sandbox) fn form(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Undoes percent encoding, and `+` for a space where `plus` says so.
pub(in crate::sandbox) fn decode(text: &str, plus: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| bytes.get(at + 1..at + 3)).flatten();
        let byte = hex.and_then(|pair| std::str::from_utf8(pair).ok()).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if plus && bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// An answer before faults had their way with it.
#[derive(Clone, Debug)]
pub(in crate::sandbox) struct Answer {
    pub(in crate::sandbox) status: u16,
    pub(in crate::sandbox) content_type: &'static str,
    pub(in crate::sandbox) headers: Vec<(&'static str, String)>,
    pub(in crate::sandbox) body: Bytes,
}

impl Answer {
    /// JSON with a status.
    pub(in crate::sandbox) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_default().into();
        Self { status, content_type: "application/json; odata.metadata=minimal; odata.streaming=true", headers: Vec::new(), body }
    }

    /// A page for people.
    pub(in crate::sandbox) fn html(status: u16, text: &'static str) -> Self {
        Self { status, content_type: "text/html; charset=utf-8", headers: Vec::new(), body: Bytes::from_static(text.as_bytes()) }
    }

    /// A status alone.
    pub(in crate::sandbox) fn empty(status: u16) -> Self {
        Self { status, content_type: "", headers: Vec::new(), body: Bytes::new() }
    }

    /// The same with the rows of its list in reverse, and the first of them once more at the end.
    pub(in crate::sandbox) fn shuffled(self) -> Self {
        let Ok(mut body) = serde_json::from_slice::<Value>(&self.body) else { return self };
        if let Some(rows) = body.get_mut("value").and_then(Value::as_array_mut) {
            rows.reverse();
            rows.extend(rows.first().cloned());
        }
        let body = serde_json::to_vec(&body).map_or(self.body, Bytes::from);
        Self { body, ..self }
    }

    /// The same with one more header.
    pub(in crate::sandbox) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A refusal in Orchestrator's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) struct Refusal {
    pub(in crate::sandbox) status: u16,
    pub(in crate::sandbox) code: i64,
    /// The code's name, as bulk answers spell it.
    pub(in crate::sandbox) name: &'static str,
    pub(in crate::sandbox) message: String,
}

impl Refusal {
    /// Any refusal.
    pub(in crate::sandbox) fn new(status: u16, code: i64, name: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, name, message: message.into() }
    }

    /// 400 with code 1000: a request that cannot be understood.
    pub(in crate::sandbox) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, 1000, "InvalidODataRequest", message)
    }

    /// 400 for an argument's value.
    pub(in crate::sandbox) fn argument(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(400, 1000, name, message)
    }

    /// 404 with code 1002.
    pub(in crate::sandbox) fn missing(message: impl Into<String>) -> Self {
        Self::new(404, 1002, "ItemNotFound", message)
    }

    /// 409 with a code of its own or 0.
    pub(in crate::sandbox) fn conflict(code: i64, name: &'static str, message: impl Into<String>) -> Self {
        Self::new(409, code, name, message)
    }

    /// As it goes out.
    pub(in crate::sandbox) fn answer(&self, trace: &str) -> Answer {
        let body = json!({"message": self.message, "errorCode": self.code, "traceId": trace, "resourceIds": null});
        Answer::json(self.status, &body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_and_plus_are_undone() {
        for (from, to) in [("a%20b", "a b"), ("a+b", "a b"), ("100%", "100%"), ("%zz", "%zz"), ("%C3%A4", "ä"), ("", "")] {
            assert_eq!(decode(from, true), to);
        }
        assert_eq!(decode("a+b", false), "a+b");
        assert_eq!(form("$filter=Id%20gt%205&$top=1"), [("$filter".into(), "Id gt 5".into()), ("$top".into(), "1".to_string())]);
    }
}
