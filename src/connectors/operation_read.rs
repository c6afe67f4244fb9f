//! Reading operations: what is sent.

use std::sync::Arc;

use serde_json::Number;

use super::auth_read::word;
use super::decode::{CALL, Decoder, ENTRY, FOUND, REQUEST, RESPONSE, SETTING};
use super::limits::{HOOKS_MAX, IDEMPOTENT, METHODS, STATUS, TIMEOUT};
use super::operation::{After, Before, Errors, FieldKind, Lookup, Operation, Output, StatusMatch};
use super::{body_read, input_read, pages_read};
use super::{read, shapes};
use crate::expr::Template;
use crate::fault::{Faults, Place, nearest};
use crate::yaml::{Fields, Node, Yaml};

/// Reads an operation.
pub(super) fn operation(name: Arc<str>, place: &Place, node: &Node, decoder: &mut Decoder<'_>) -> Option<Operation> {
    let what = format!("operation `{name}`");
    let fields = Fields::read(node, &what, &shapes::OPERATION, decoder.faults)?;
    let input = input_read::input(&fields, decoder);
    let names = fields.get("input").and_then(Node::as_map).unwrap_or_default().iter();
    decoder.input = Some(names.map(|(key, _)| Arc::from(key.name.as_str())).collect());
    let read = inside(name, place, &fields, &what, input, decoder);
    decoder.input = None;
    read
}

fn inside(
    name: Arc<str>,
    place: &Place,
    fields: &Fields<'_>,
    what: &str,
    input: Option<Vec<super::InputField>>,
    decoder: &mut Decoder<'_>,
) -> Option<Operation> {
    let method = method(fields, what, decoder);
    let (path, query, headers, body) = decoder.seeing(CALL, |decoder| {
        let path = fields.require("path", what, decoder.faults).and_then(|node| path(node, decoder));
        let query = fields.get("query").map_or(Some(Vec::new()), |node| decoder.trees(node, "query"));
        let headers = fields.get("headers").map_or(Some(Vec::new()), |node| decoder.headers(node));
        (path, query, headers, body_read::body(fields, decoder))
    });
    let before = before(fields.get("before"), HOOKS_MAX, decoder);
    let after = after(fields.get("after"), HOOKS_MAX, decoder);
    let output = fields.get("output").map_or(Some(Output::default()), |node| output(node, decoder));
    let paginate = fields.get("paginate").map_or(Some(None), |node| pages_read::paginate(node, decoder).map(Some));
    let errors = fields.get("errors").map_or(Some(Errors::default()), |node| errors(node, decoder));
    let lookup = fields.get("lookup").map_or(Some(None), |node| lookup(node, decoder).map(Some));
    let idempotent = fields.boolean("idempotent", decoder.faults);
    let idempotency_header = idempotency_header(fields, decoder);
    let timeout = fields.duration("timeout", TIMEOUT, decoder.faults);
    let title = fields.text("title", decoder.faults).map(|(text, _)| text.to_owned());
    let description = fields.text("description", decoder.faults).map(|(text, _)| text.to_owned());
    let method = method?;
    if matches!(method, "GET" | "HEAD")
        && let Some(place) = ["body", "form", "multipart", "raw"].iter().find_map(|key| fields.key_place(key))
    {
        let help = "use POST, or put the values into `query`";
        decoder.warning("body-unused", place, format!("a {method} request has no body for most servers"), help);
    }
    Some(Operation {
        name,
        title,
        description,
        method,
        path: path?,
        input: input?,
        query: query?,
        headers: headers?,
        body: body?,
        before: before?,
        after: after?,
        output: output?,
        paginate: paginate?,
        errors: errors?,
        lookup: lookup?,
        idempotent: idempotent.unwrap_or_else(|| IDEMPOTENT.contains(&method)),
        idempotency_header: idempotency_header?,
        timeout,
        place: place.clone(),
    })
}

fn method(fields: &Fields<'_>, what: &str, decoder: &mut Decoder<'_>) -> Option<&'static str> {
    fields.require("method", what, decoder.faults)?;
    let (written, place) = fields.text("method", decoder.faults)?;
    method_of(written, place, decoder.faults)
}

/// A method of HTTP as written, in any case.
pub fn method_of(written: &str, place: &Place, faults: &mut Faults) -> Option<&'static str> {
    let found = METHODS.iter().copied().find(|known| known.eq_ignore_ascii_case(written));
    if found.is_none() {
        let help = match nearest(written, METHODS.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are: {}", METHODS.join(", ")),
        };
        faults.error_help("unknown-method", place, format!("unknown method `{written}`"), help);
    }
    found
}

/// A path stays below the base URL, whatever is put into it.
fn path(node: &Node, decoder: &mut Decoder<'_>) -> Option<Template> {
    let template = decoder.template(node, "path")?;
    let text = template.text();
    let outside = outside_braces(text);
    let fault = if text.contains("://") || outside.starts_with("//") {
        Some(("is an absolute URL; requests stay on the host of `base_url`", "write the part behind `base_url`, such as /items"))
    } else if !text.starts_with('/') && !text.starts_with("${") {
        Some(("does not begin with `/`", "write it as /items/${input.id}"))
    } else if text.starts_with("${") {
        Some(("begins with a value", "begin it with `/`"))
    } else if outside.split('/').any(|segment| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..")) {
        Some(("has a segment `.` or `..`", "write the path itself; requests stay below `base_url`"))
    } else if outside.contains(['?', '#']) {
        Some(("has a query or a fragment", "put parameters into `query`"))
    } else if outside.contains('\\') || outside.chars().any(|c| c.is_whitespace() || c.is_control()) {
        Some(("has white space or a backslash", "percent-encode it"))
    } else if outside.contains(['{', '}']) {
        Some(("has braces that are not evaluated", "values are written ${input.name}"))
    } else {
        None
    };
    match fault {
        Some((why, help)) => {
            decoder.error_help("path", &node.place, format!("`path` {why}"), help);
            None
        }
        None => Some(template),
    }
}

/// A template's text with `x` in place of each `${…}`.
fn outside_braces(text: &str) -> String {
    let mut outside = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        outside.push_str(&rest[..at]);
        outside.push('x');
        let mut depth = 0_usize;
        let inside = &rest[at + 2..];
        let end = inside.char_indices().find(|(_, c)| match c {
            '{' => {
                depth += 1;
                false
            }
            '}' if depth == 0 => true,
            '}' => {
                depth -= 1;
                false
            }
            _ => false,
        });
        rest = end.map_or("", |(end, _)| &inside[end + 1..]);
    }
    outside.push_str(rest);
    outside
}

/// One hook, or a list of them.
fn hooks<'a>(node: Option<&'a Node>, what: &str, most: usize, decoder: &mut Decoder<'_>) -> Option<&'a [Node]> {
    let Some(node) = node else { return Some(&[]) };
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    if items.len() > most {
        decoder.error("too-many", &node.place, format!("`{what}` has {} hooks; at most {most} are allowed", items.len()));
        return None;
    }
    Some(items)
}

/// Reads `before`.
pub(super) fn before(node: Option<&Node>, most: usize, decoder: &mut Decoder<'_>) -> Option<Vec<Before>> {
    let items = hooks(node, "before", most, decoder)?;
    decoder.seeing(REQUEST, |decoder| {
        let read: Vec<_> = items
            .iter()
            .map(|item| {
                let fields = Fields::read(item, "`before`", &shapes::BEFORE, decoder.faults)?;
                let condition = read::optional(&fields, "if", decoder);
                let fail = fields.get("fail").map_or(Some(None), |node| decoder.template(node, "fail").map(Some));
                let headers = fields.get("headers").map_or(Some(Vec::new()), |node| decoder.headers(node));
                let query = fields.get("query").map_or(Some(Vec::new()), |node| decoder.trees(node, "query"));
                let body = fields.get("body").map_or(Some(None), |node| decoder.tree(node).map(Some));
                if !["fail", "headers", "query", "body"].iter().any(|key| fields.get(key).is_some()) {
                    decoder.error_help("no-action", fields.place, "the hook does nothing", "add one of: fail, headers, query, body");
                    return None;
                }
                Some(Before { condition: condition?, fail: fail?, headers: headers?, query: query?, body: body? })
            })
            .collect();
        read.into_iter().collect()
    })
}

/// Reads `after`.
pub(super) fn after(node: Option<&Node>, most: usize, decoder: &mut Decoder<'_>) -> Option<Vec<After>> {
    let items = hooks(node, "after", most, decoder)?;
    decoder.seeing(RESPONSE, |decoder| {
        let read: Vec<_> = items
            .iter()
            .map(|item| {
                let fields = Fields::read(item, "`after`", &shapes::AFTER, decoder.faults)?;
                let condition = read::optional(&fields, "if", decoder);
                let fail = fields.get("fail").map_or(Some(None), |node| decoder.template(node, "fail").map(Some));
                let retry = fields.get("retry").map_or(Some(None), |node| decoder.template(node, "retry").map(Some));
                let body = fields.get("body").map_or(Some(None), |node| decoder.tree(node).map(Some));
                if ["fail", "retry", "body"].iter().filter(|key| fields.get(key).is_some()).count() != 1 {
                    decoder.error("bad-value", fields.place, "the hook needs exactly one of `fail`, `retry` and `body`");
                    return None;
                }
                Some(After { condition: condition?, fail: fail?, retry: retry?, body: body? })
            })
            .collect();
        read.into_iter().collect()
    })
}

fn output(node: &Node, decoder: &mut Decoder<'_>) -> Option<Output> {
    let fields = Fields::read(node, "`output`", &shapes::OUTPUT, decoder.faults)?;
    let root = match fields.text("root", decoder.faults) {
        None if fields.get("root").is_some() => return None,
        None => Vec::new(),
        Some((root, place)) => {
            let parts: Vec<String> = root.split('.').map(str::to_owned).collect();
            if parts.iter().any(|part| part.is_empty() || part.contains(['[', ']', '$'])) {
                let message = format!("`root` is `{root}`; expected keys and numbers of elements, joined by dots");
                decoder.error_help("bad-value", place, message, "write it as data.items, or data.0");
                return None;
            }
            parts
        }
    };
    let mapped = decoder.seeing(ENTRY, |decoder| fields.get("fields").map_or(Some(Vec::new()), |node| decoder.trees(node, "fields")));
    Some(Output { root, fields: mapped? })
}

/// Reads `errors`.
pub(super) fn errors(node: &Node, decoder: &mut Decoder<'_>) -> Option<Errors> {
    let fields = Fields::read(node, "`errors`", &shapes::ERRORS, decoder.faults)?;
    let mut taken: Vec<(StatusMatch, &str)> = Vec::new();
    let mut list = |key: &'static str, decoder: &mut Decoder<'_>| -> Option<Vec<StatusMatch>> {
        let Some(node) = fields.get(key) else { return Some(Vec::new()) };
        let items = node.as_list().unwrap_or(std::slice::from_ref(node));
        let mut all = Vec::new();
        for item in items {
            let status = status(item, key, decoder)?;
            if let Some((_, other)) = taken.iter().find(|(known, _)| *known == status) {
                decoder.error("duplicate-status", &item.place, format!("the same status stands in `{other}` already"));
                return None;
            }
            taken.push((status, key));
            all.push(status);
        }
        Some(all)
    };
    let (retry, dead, accept) = (list("retry", decoder), list("dead", decoder), list("accept", decoder));
    let message =
        decoder.seeing(RESPONSE, |decoder| fields.get("message").map_or(Some(None), |node| decoder.template(node, "message").map(Some)));
    Some(Errors { retry: retry?, dead: dead?, accept: accept?, message: message? })
}

fn status(node: &Node, key: &str, decoder: &mut Decoder<'_>) -> Option<StatusMatch> {
    let found = match &node.value {
        Yaml::Number(n) => n.as_u64().filter(|n| STATUS.contains(n)).and_then(|n| u16::try_from(n).ok()).map(StatusMatch::One),
        Yaml::Text(text) => match text.to_ascii_lowercase().as_str() {
            "3xx" => Some(StatusMatch::Class(3)),
            "4xx" => Some(StatusMatch::Class(4)),
            "5xx" => Some(StatusMatch::Class(5)),
            _ => None,
        },
        _ => None,
    };
    if found.is_none() {
        let message = format!("`{key}` has {}; expected statuses from {} to {}", node.to_json(), STATUS.start(), STATUS.end());
        decoder.error_help("bad-value", &node.place, message, "or 3xx, 4xx, 5xx");
    }
    found
}

fn lookup(node: &Node, decoder: &mut Decoder<'_>) -> Option<Lookup> {
    let fields = Fields::read(node, "`lookup`", &shapes::LOOKUP, decoder.faults)?;
    fields.require("operation", "`lookup`", decoder.faults);
    let operation = fields.text("operation", decoder.faults).map(|(name, _)| Arc::from(name));
    let with = decoder.seeing(CALL, |decoder| fields.get("with").map_or(Some(Vec::new()), |node| decoder.trees(node, "with")));
    decoder.seeing(FOUND, |decoder| {
        let found = fields.require("found", "`lookup`", decoder.faults).and_then(|node| decoder.expression(node, "found"));
        let value = fields.get("value").map_or(Some(None), |node| decoder.tree(node).map(Some));
        Some(Lookup { operation: operation?, with: with?, found: found?, value: value? })
    })
}

fn idempotency_header(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Option<String>> {
    let Some(node) = fields.get("idempotency_header") else { return Some(Some("idempotency-key".to_owned())) };
    match &node.value {
        Yaml::Bool(false) => Some(None),
        Yaml::Text(name) if super::decode::is_header_name(name) => Some(Some(name.to_ascii_lowercase())),
        _ => {
            let message = "`idempotency_header` is no header name";
            decoder.error_help("header-name", &node.place, message, "write a name, or false to send none");
            None
        }
    }
}

/// `type`, a string by default.
pub(super) fn kind(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<FieldKind> {
    let words: Vec<(&str, FieldKind)> = FieldKind::WORDS.iter().filter_map(|word| Some((*word, FieldKind::of(word)?))).collect();
    word(fields, "type", &words, FieldKind::String, decoder)
}

/// A number as written.
pub(super) fn number(fields: &Fields<'_>, key: &str, decoder: &mut Decoder<'_>) -> Option<Option<Number>> {
    match fields.get(key).map(|node| (&node.value, &node.place)) {
        None => Some(None),
        Some((Yaml::Number(number), _)) => Some(Some(number.clone())),
        Some((_, place)) => {
            decoder.error("wrong-type", place, format!("`{key}` is no number"));
            None
        }
    }
}

/// What the default of an input sees.
pub(super) const DEFAULT: &[&str] = SETTING;
