//! A request as it goes over the wire: pure.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::connectors::{CallRequest, Content, FormPart};
use crate::http::encode::form;

/// What is sent, before and after it is authorised.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) method: &'static str,
    /// Without its query.
    pub(super) url: String,
    pub(super) query: Vec<(String, String)>,
    /// Lower-case names.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<Bytes>,
}

impl Wire {
    /// A request without authorisation.
    pub(super) fn of(request: &CallRequest) -> Self {
        let mut headers: Vec<_> = request.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let (kind, body) = match &request.content {
            Content::Empty => (None, None),
            Content::Json(value) => (Some("application/json".to_owned()), Some(Bytes::from(value.to_string()))),
            Content::Form(fields) => (Some("application/x-www-form-urlencoded".to_owned()), Some(Bytes::from(form(&borrowed(fields))))),
            Content::Multipart(parts) => {
                let boundary = boundary(parts);
                (Some(format!("multipart/form-data; boundary={boundary}")), Some(multipart(parts, &boundary)))
            }
            Content::Raw { content_type, bytes } => (Some(content_type.clone()), Some(Bytes::from(bytes.clone()))),
        };
        let multipart = matches!(request.content, Content::Multipart(_));
        if let Some(kind) = kind {
            match headers.iter_mut().find(|(name, _)| name == "content-type") {
                // Without our boundary nobody could read it.
                Some((_, written)) if multipart => *written = kind,
                Some(_) => {}
                None => headers.push(("content-type".to_owned(), kind)),
            }
        }
        Self { method: request.method, url: request.url.clone(), query: request.query.clone(), headers, body }
    }

    /// Sets a header in place of one that stands there.
    pub(super) fn set_header(&mut self, name: &str, value: String) {
        let name = name.to_ascii_lowercase();
        self.headers.retain(|(written, _)| *written != name);
        self.headers.push((name, value));
    }

    /// The query as it is sent, without `?`.
    pub(super) fn encoded_query(&self) -> String {
        form(&borrowed(&self.query))
    }

    /// The URL with its query.
    pub(super) fn full_url(&self) -> String {
        if self.query.is_empty() {
            return self.url.clone();
        }
        format!("{}?{}", self.url, self.encoded_query())
    }
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// A boundary that is the same for every attempt. That it stands in the parts by chance is as likely as a collision of
/// SHA-256; that somebody puts it there is excluded, since it is made of all that they say.
fn boundary(parts: &[FormPart]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        for text in [Some(part.name.as_bytes()), part.filename.as_deref().map(str::as_bytes), Some(&part.bytes)].into_iter().flatten() {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
    }
    let hex: String = hash.finalize().iter().take(20).map(|byte| format!("{byte:02x}")).collect();
    format!("tripline-{hex}")
}

/// A body of parts (RFC 7578).
fn multipart(parts: &[FormPart], boundary: &str) -> Bytes {
    let mut body = Vec::with_capacity(parts.iter().map(|part| part.bytes.len() + 200).sum());
    for part in parts {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)).as_bytes());
        if let Some(filename) = &part.filename {
            body.extend_from_slice(format!("; filename=\"{}\"", quoted(filename)).as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        if let Some(kind) = &part.content_type {
            body.extend_from_slice(format!("Content-Type: {}\r\n", one_line(kind)).as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Bytes::from(body)
}

/// A name in quotes, as browsers write it: what would end it is percent-encoded.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// Without what would begin a line.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn request(content: Content) -> CallRequest {
        CallRequest {
            connector: "c".into(),
            operation: "o".into(),
            method: "POST",
            url: "https://h/p".into(),
            written_out: true,
            query: vec![("q".into(), "a b'c".into()), ("q".into(), "&=".into())],
            headers: BTreeMap::new(),
            content,
            idempotent: false,
        }
    }

    fn sent(content: Content) -> (Option<String>, String) {
        let wire = Wire::of(&request(content));
        let kind = wire.headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.clone());
        (kind, String::from_utf8_lossy(&wire.body.unwrap_or_default()).into_owned())
    }

    #[test]
    fn each_kind_of_body_has_its_media_type() {
        assert_eq!(sent(Content::Empty), (None, String::new()));
        assert_eq!(sent(Content::Json(json!({"a": 1}))), (Some("application/json".into()), r#"{"a":1}"#.into()));
        let form = Content::Form(vec![("a".into(), "1 &".into()), ("a".into(), "é".into())]);
        assert_eq!(sent(form), (Some("application/x-www-form-urlencoded".into()), "a=1%20%26&a=%C3%A9".into()));
        let raw = Content::Raw { content_type: "text/csv".into(), bytes: b"a;b".to_vec() };
        assert_eq!(sent(raw), (Some("text/csv".into()), "a;b".into()));
        let mut written = request(Content::Json(json!([])));
        written.headers.insert("content-type".into(), "application/vnd.x+json".into());
        assert_eq!(Wire::of(&written).headers, [("content-type".to_owned(), "application/vnd.x+json".to_owned())]);
        assert_eq!(Wire::of(&written).full_url(), "https://h/p?q=a%20b%27c&q=%26%3D");
    }

    #[test]
    fn no_name_of_a_part_breaks_out_of_it() {
        let part = |name: &str, filename: Option<&str>, bytes: &[u8]| FormPart {
            name: name.into(),
            filename: filename.map(str::to_owned),
            content_type: Some("text/plain\r\nX-Evil: 1".into()),
            bytes: bytes.to_vec(),
        };
        let parts = vec![part("a\"\r\nX: y", Some("f\".txt"), b"one\r\n--tripline-"), part("b", None, b"\xff")];
        let wire = Wire::of(&request(Content::Multipart(parts.clone())));
        let body = wire.body.clone().unwrap();
        let text = String::from_utf8_lossy(&body);
        let kind = &wire.headers[0].1;
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(text.matches(&format!("--{boundary}")).count(), 3, "{text}");
        assert!(text.contains("name=\"a%22%0D%0AX: y\"; filename=\"f%22.txt\"\r\nContent-Type: text/plainX-Evil: 1\r\n\r\none"), "{text}");
        assert!(body.ends_with(format!("\r\n--{boundary}--\r\n").as_bytes()));
        assert_eq!(Wire::of(&request(Content::Multipart(parts))).body, wire.body, "every attempt is the same");
    }
}
