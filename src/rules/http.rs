//! The `http` step: reading it, and putting values into URLs and headers so that they stay values.

use std::collections::BTreeMap;

use super::action::HttpAction;
use super::decode::Decoder;
use super::limits::{HEADER_MAX, HEADERS_MAX, URL_MAX};
use super::shapes::HTTP;
use super::{ExpressionFault, HttpCall};
use crate::connectors::method_of;
use crate::expr::{At, Scope, Template};
use crate::fault::Place;
use crate::yaml::{Fields, Node};

/// Headers that belong to the connection, or to us.
const RESERVED: &[&str] =
    &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect", "idempotency-key"];

/// Reads the step.
pub(super) fn read(node: &Node, decoder: &mut Decoder<'_>) -> Option<HttpAction> {
    let fields = Fields::read(node, "`http`", &HTTP, decoder.faults)?;
    let body = fields.get("body").map(|node| decoder.tree(node));
    let method = match fields.text("method", decoder.faults) {
        Some((written, place)) => method_of(written, place, decoder.faults),
        None if fields.get("method").is_some() => None,
        None => Some(if body.is_some() { "POST" } else { "GET" }),
    };
    if let (Some(method @ ("GET" | "HEAD")), Some(node)) = (method, fields.get("body")) {
        decoder.warning(
            "body-unused",
            &node.place,
            format!("a {method} request has no body for most servers"),
            "use POST, or remove `body`",
        );
    }
    let url = fields.require("url", "`http`", decoder.faults).and_then(|node| {
        let template = decoder.template(node, "url")?;
        check_url(&template, &node.place, decoder).then_some(template)
    });
    let headers = fields.get("headers").map_or(Some(Vec::new()), |node| headers(node, decoder));
    let url = url?;
    let written_out = is_written_out(&url);
    Some(HttpAction { method: method?, url, written_out, headers: headers?, body: body.map_or(Some(None), |tree| tree.map(Some))? })
}

/// What can be said of a URL before its values are known.
fn check_url(template: &Template, place: &Place, decoder: &mut Decoder<'_>) -> bool {
    let leading = template.leading_text();
    if leading.is_empty() && template.constant().is_none() {
        // `${vars.base}/path`: the whole is checked when it is rendered.
        return true;
    }
    let (scheme, rest) = leading.split_once("://").unwrap_or(("", leading));
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(scheme.as_str(), "http" | "https") {
        let message = format!("`{}` is no absolute URL", template.text());
        decoder.error_help("relative-url", place, message, "write it with its scheme: https://host/path");
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() && template.constant().is_some() {
        decoder.error("relative-url", place, format!("`{}` has no host", template.text()));
        return false;
    }
    if authority.contains('@') {
        decoder.error_help("url-credentials", place, "the URL contains credentials", "send them in `headers`");
        return false;
    }
    if let Some(bad) = leading.chars().find(|c| c.is_whitespace() || c.is_control()) {
        decoder.error("bad-url", place, format!("the URL contains `{}`", bad.escape_debug()));
        return false;
    }
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).trim_matches(['[', ']']);
    if scheme == "http" && !is_loopback(host) && is_written_out(template) {
        decoder.warning("plain-http", place, format!("requests to `{host}` are not encrypted"), "use https");
    }
    true
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether scheme and authority stand in the file without `${`.
fn is_written_out(template: &Template) -> bool {
    match template.leading_text().split_once("://") {
        Some((_, rest)) => !rest.is_empty() && (template.constant().is_some() || rest.contains(['/', '?', '#'])),
        None => false,
    }
}

fn headers(node: &Node, decoder: &mut Decoder<'_>) -> Option<Vec<(String, Template)>> {
    let Some(entries) = node.as_map() else {
        decoder.error("wrong-type", &node.place, format!("`headers` is {}; expected a mapping", node.kind()));
        return None;
    };
    if entries.len() > HEADERS_MAX {
        decoder.error("too-many", &node.place, format!("more than {HEADERS_MAX} headers"));
        return None;
    }
    let mut all: Vec<(String, Template)> = Vec::new();
    let mut fine = true;
    for (key, value) in entries {
        let lower = key.name.to_ascii_lowercase();
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if key.name.is_empty() || !key.name.chars().all(token) {
            decoder.error("header-name", &key.place, format!("`{}` is no header name", key.name));
            fine = false;
        } else if RESERVED.contains(&lower.as_str()) {
            decoder.error("header-name", &key.place, format!("header `{}` is set by tripline itself", key.name));
            fine = false;
        } else if all.iter().any(|(name, _)| name.eq_ignore_ascii_case(&lower)) {
            decoder.error("header-name", &key.place, format!("header `{}` stands twice", key.name));
            fine = false;
        }
        match decoder.scalar(value, &key.name) {
            Some(template) if template.constant().is_some_and(|text| !is_header_value(text)) => {
                decoder.error(
                    "header-value",
                    &value.place,
                    format!("the value of `{}` has characters that headers cannot carry", key.name),
                );
                fine = false;
            }
            Some(template) => all.push((key.name.clone(), template)),
            None => fine = false,
        }
    }
    fine.then_some(all)
}

fn is_header_value(text: &str) -> bool {
    text.len() <= HEADER_MAX && text.chars().all(|c| c == '\t' || !c.is_control())
}

/// Renders the step.
pub(super) fn render(action: &HttpAction, scope: &Scope<'_>, at: &At<'_>) -> Result<HttpCall, ExpressionFault> {
    let url = url(&action.url, scope, &at.field("url"))?;
    let within = at.field("headers");
    let mut headers = BTreeMap::new();
    for (name, template) in &action.headers {
        let at = within.field(name);
        let value = template.render_text(scope, |_, value| value).map_err(|error| at.failed(error))?;
        if !is_header_value(&value) {
            let why = if value.len() > HEADER_MAX {
                format!("is longer than {HEADER_MAX} bytes")
            } else {
                "has a line break or control character".to_owned()
            };
            return Err(at.fault(format!("invalid header value: it {why}")));
        }
        headers.insert(name.clone(), value);
    }
    let body = match &action.body {
        Some(tree) => Some(tree.render(scope, &at.field("body"))?),
        None => None,
    };
    Ok(HttpCall { method: action.method.to_owned(), url, written_out: action.written_out, headers, body })
}

/// A value goes into a URL as one path segment or one query value; at the very beginning it is the base itself.
fn url(template: &Template, scope: &Scope<'_>, at: &At<'_>) -> Result<String, ExpressionFault> {
    let place = |before: &str, value: String| if before.is_empty() { value } else { encode(&value) };
    let url = template.render_text(scope, place).map_err(|error| at.failed(error))?;
    if url.len() > URL_MAX {
        return Err(at.fault(format!("the URL is longer than {URL_MAX} bytes")));
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err(at.fault("the URL is not absolute: it has no scheme")) };
    if !(scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")) {
        return Err(at.fault(format!("the URL has the scheme `{}`; expected http or https", scheme.chars().take(20).collect::<String>())));
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.is_empty() || authority.contains(['@', '%']) {
        return Err(at.fault(
            "the URL has no plain host name (in a `${…}` a colon or slash is encoded: write the port outside, `${vars.host}:8080`)",
        ));
    }
    if url.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(at.fault("the URL contains a space, a backslash or a control character"));
    }
    let path = rest[authority.len()..].split(['?', '#']).next().unwrap_or_default();
    if path.split('/').any(is_dots) {
        return Err(at.fault("the URL's path contains `.` or `..` as a segment"));
    }
    Ok(url)
}

/// Segments that URL parsers resolve away, in every spelling.
fn is_dots(segment: &str) -> bool {
    let plain = segment.to_ascii_lowercase().replace("%2e", ".");
    plain == "." || plain == ".."
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(text: &str, x: &str) -> Result<String, String> {
        let data = json!({"x": x});
        let scope = Scope::new().bind("data", &data);
        url(&Template::parse(text).expect(text), &scope, &At::root("url")).map_err(|fault| fault.to_string())
    }

    #[test]
    fn values_stay_one_segment_or_one_query_value() {
        for (text, x, expected) in [
            ("https://h/a/${data.x}/b", "../../etc/passwd", "https://h/a/..%2F..%2Fetc%2Fpasswd/b"),
            ("https://h/?q=${data.x}", "a&b=c#d ü", "https://h/?q=a%26b%3Dc%23d%20%C3%BC"),
            ("${data.x}/b", "https://h:1/base", "https://h:1/base/b"),
            ("https://${data.x}/b", "host.example", "https://host.example/b"),
        ] {
            assert_eq!(rendered(text, x).as_deref(), Ok(expected), "{text}");
        }
        for (text, x) in [
            ("https://h/a/${data.x}/b", ".."),
            ("https://h/a/${data.x}", "."),
            ("https://h/a/.${data.x}/b", "."),
            ("https://h/a/%2e${data.x}/b", "."),
            ("https://${data.x}/b", "good@evil"),
            ("https://good${data.x}/b", "@evil/"),
            ("${data.x}", "ftp://h/"),
            ("${data.x}", "/relative"),
            ("${data.x}", "https://h/a b"),
            ("${data.x}", "https://u:p@h/"),
            ("${data.x}/b", "https://h/\r\nX: y"),
            ("https:///${data.x}", "h"),
        ] {
            assert!(rendered(text, x).is_err(), "{text} with {x}");
        }
    }

    #[test]
    fn a_host_is_written_out_when_nothing_can_be_added_to_it() {
        for (text, expected) in [
            ("https://h/${data.x}", true),
            ("https://h", true),
            ("https://h?x=${data.x}", true),
            ("https://h${data.x}", false),
            ("https://h:8080${data.x}/", false),
            ("${data.x}/", false),
            ("https://${data.x}/", false),
        ] {
            assert_eq!(is_written_out(&Template::parse(text).expect(text)), expected, "{text}");
        }
    }
}
