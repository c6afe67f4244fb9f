//! A scheme that is written out in the configuration.

use std::time::Duration;

use super::list::CANDIDATES_MAX;
use super::mac::{Algorithm, Encoding, Mac};
use crate::headers::{Found, Headers, is_header_name};

/// The longest template of a signed text, in bytes.
const CONTENT_BYTES_MAX: usize = 1024;

/// A scheme of one's own.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomScheme {
    /// The header that carries the signature, in lower case.
    pub header: String,
    /// The hash.
    pub algorithm: Algorithm,
    /// How the signature is spelt.
    pub encoding: Encoding,
    /// What stands before it in the header.
    pub prefix: String,
    /// What is signed.
    pub content: Content,
    /// The header with the time that is signed too, in lower case, and how far it may be from ours.
    pub timestamp: Option<(String, Duration)>,
}

impl CustomScheme {
    /// The MACs that the header's value spells: one, or several with commas between them, as while a secret is changed.
    pub(super) fn read(&self, value: &[u8]) -> Result<Vec<Mac>, &'static str> {
        let (mut macs, mut wrong) = (Vec::new(), None);
        // No encoding has commas.
        let several = if self.prefix.contains(',') { 1 } else { CANDIDATES_MAX };
        for text in value.splitn(several, |byte| *byte == b',') {
            let read = text.trim_ascii().strip_prefix(self.prefix.as_bytes()).ok_or("the prefix is not before it");
            match read.and_then(|text| self.encoding.read(text.trim_ascii(), self.algorithm.bytes())) {
                Ok(mac) => macs.push(mac),
                Err(why) => wrong = wrong.or(Some(why)),
            }
        }
        if macs.is_empty() { Err(wrong.unwrap_or("it is empty")) } else { Ok(macs) }
    }
}

/// What is signed: a template of the body and of headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Content(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Body,
    /// By its name in lower case.
    Header(String),
}

impl Content {
    /// The body alone.
    #[must_use]
    pub fn body() -> Self {
        Self(vec![Part::Body])
    }

    /// Reads `${headers.x-timestamp}.${body}`; `$${` stands for `${`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > CONTENT_BYTES_MAX {
            return Err(format!("is longer than {CONTENT_BYTES_MAX} bytes"));
        }
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find("${") {
            if let Some(before) = rest[..at].strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = &rest[at + 2..];
                continue;
            }
            literal.push_str(&rest[..at]);
            let inner = &rest[at + 2..];
            let end = inner.find('}').ok_or("has a `${` without its `}`")?;
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part(inner[..end].trim())?);
            rest = &inner[end + 1..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        if !parts.contains(&Part::Body) {
            return Err("does not contain `${body}`: nobody could tell one body from another".to_owned());
        }
        Ok(Self(parts))
    }

    /// The headers in it, in lower case.
    pub fn headers(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| if let Part::Header(name) = part { Some(name.as_str()) } else { None })
    }

    /// The text of one delivery, in its parts; a header that is missing or there twice is named.
    pub(super) fn parts<'p>(&'p self, headers: &'p dyn Headers, body: &'p [u8]) -> Result<Vec<&'p [u8]>, &'p str> {
        let bytes = |part: &'p Part| match part {
            Part::Text(text) => Ok(text.as_bytes()),
            Part::Body => Ok(body),
            Part::Header(name) => match headers.find(name) {
                Found::One(value) => Ok(value),
                Found::Missing | Found::Several => Err(name.as_str()),
            },
        };
        self.0.iter().map(bytes).collect()
    }
}

fn part(text: &str) -> Result<Part, String> {
    if text == "body" {
        return Ok(Part::Body);
    }
    match header_of(text) {
        Some(name) => Ok(Part::Header(name)),
        None => Err(format!("has `${{{text}}}`; expected `${{body}}` or a header, such as `${{headers.x-timestamp}}`")),
    }
}

/// The header that `headers.x-timestamp` or `headers["x-timestamp"]` names, in lower case.
fn header_of(text: &str) -> Option<String> {
    let name = match text.strip_prefix("headers.") {
        Some(name) => name,
        None => {
            let quoted = text.strip_prefix("headers[")?.strip_suffix(']')?;
            let quote = quoted.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            quoted.strip_prefix(quote)?.strip_suffix(quote)?
        }
    };
    is_header_name(name).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::HeaderList;

    #[test]
    fn a_signed_text_is_put_together_from_its_template() {
        let headers = HeaderList::of(&[("X-Time", "17"), ("X-Id", "a"), ("x-id", "b")]);
        let whole = |template: &str| {
            let content = Content::parse(template).expect(template);
            content.parts(&headers, b"{\xff}").map(|parts| parts.concat()).map_err(str::to_owned)
        };
        assert_eq!(whole("${body}"), Ok(b"{\xff}".to_vec()));
        assert_eq!(whole("v0:${headers.X-Time}:${ body }"), Ok(b"v0:17:{\xff}".to_vec()));
        assert_eq!(whole(r#"$${x}${headers["x-time"]}${headers['x-time']}${body}$"#), Ok(b"${x}1717{\xff}$".to_vec()));
        assert_eq!(whole("${headers.x-none}${body}"), Err("x-none".to_owned()));
        assert_eq!(whole("${headers.x-id}${body}"), Err("x-id".to_owned()), "which of the two is nobody's guess");
    }

    #[test]
    fn what_is_no_template_is_said() {
        for (template, why) in [
            ("", "${body}"),
            ("${headers.x}", "${body}"),
            ("${body", "without its `}`"),
            ("${data}${body}", "${data}"),
            ("${headers.x y}${body}", "${headers.x y}"),
            ("${headers[x]}${body}", "${headers[x]}"),
            (&"x".repeat(2000), "longer than"),
        ] {
            let message = Content::parse(template).expect_err(template);
            assert!(message.contains(why), "{template}: {message}");
        }
    }
}
