//! The connector as a file: YAML for people to read and change, with comments where they have to know something.
//!
//! A description is cut to its first words, and more when the file would be larger than the reader takes.

use serde_json::{Map, Value, json};

use super::draft::{Auth, Body, Draft, From, Input, InputKind, Operation, Paging, Sent};
use super::names::variable;
use super::report::{Report, by_reason};
use crate::connectors::limits::PAGES_DEFAULT;
use crate::fault::Fault;
use crate::printable::printable;
use crate::yaml::print;

/// How long descriptions may be, in characters: the first form that fits into the file is taken.
const DESCRIPTIONS: [usize; 3] = [240, 80, 0];

/// Scopes beyond this many are named in a comment only: asking for more than was granted fails.
const SCOPES_MAX: usize = 5;

/// The longest comment line, in characters.
const COMMENT_MAX: usize = 120;

/// Writes the file; answers it with the variables of the environment that its secrets are read from.
///
/// # Errors
/// A file that would be larger than `bytes_max`, however short its descriptions are.
pub(super) fn write(draft: &Draft, report: &Report, bytes_max: usize) -> Result<(String, Vec<String>), Fault> {
    let mut least = 0;
    for words in DESCRIPTIONS {
        let (text, variables) = written(draft, report, words);
        if text.len() <= bytes_max {
            return Ok((text, variables));
        }
        least = text.len();
    }
    let message = format!("the connector would have {least} bytes; a connector file has at most {bytes_max}");
    let help = format!(
        "pick what you need: `--operations {},GET {}*`",
        draft.operations.first().map_or("NAME", |operation| operation.name.as_str()),
        draft.operations.last().map_or("/", |operation| operation.path.as_str()),
    );
    Err(Fault::general("file-too-large", message).help(help))
}

fn written(draft: &Draft, report: &Report, words: usize) -> (String, Vec<String>) {
    let mut text = String::with_capacity(256 << 10);
    text.push_str("# yaml-language-server: $schema=connector.schema.json\n");
    text.push_str("# (`tripline schema connector > connector.schema.json` writes the schema for your editor)\n#\n");
    let title = draft.title.as_deref().unwrap_or(&draft.name);
    let version = draft.api_version.as_deref().map(|version| format!(" {version}")).unwrap_or_default();
    comment(&format!("Made by `tripline connector import` of \"{title}\"{version} (OpenAPI {}).", report.openapi), &mut text);
    comment(&format!("{} of {} operations are here.", draft.operations.len(), report.of), &mut text);
    for (reason, parts) in by_reason(&report.held_back) {
        comment(&format!("Held back, {reason}: {}.", parts.len()), &mut text);
    }
    let mut head = Map::new();
    head.insert("connector".to_owned(), json!(draft.name));
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            head.insert(name.to_owned(), Value::String(value));
        }
    };
    put("title", draft.title.as_deref().map(|text| short(text, 200)));
    put("description", draft.description.as_deref().map(|text| short(text, words)));
    put("vendor_docs", draft.vendor_docs.clone());
    put("api_version", draft.api_version.as_deref().map(|text| short(text, 100)));
    text.push_str(&print(&Value::Object(head), 0));
    for other in draft.other_servers.iter().take(10) {
        comment(&format!("Another server of the description: {other}"), &mut text);
    }
    text.push_str(&print(&json!({ "base_url": draft.base_url }), 0));
    let mut variables = Vec::new();
    config(draft, &mut text, &mut variables);
    authentication(draft, &mut text, &mut variables);
    text.push_str("operations:\n");
    for operation in &draft.operations {
        text.push_str(&print(&json!({ &operation.name: of(operation, words) }), 2));
    }
    (text, variables)
}

/// The part behind `config:` and the requests that carry further keys.
fn config(draft: &Draft, text: &mut String, variables: &mut Vec<String>) {
    let mut fields = Map::new();
    for setting in &draft.config {
        let mut field = Map::new();
        field.insert("default".to_owned(), json!(setting.default));
        if !setting.choices.is_empty() {
            field.insert("enum".to_owned(), json!(setting.choices));
        }
        if let Some(description) = &setting.description {
            field.insert("description".to_owned(), json!(short(description, 240)));
        }
        fields.insert(setting.name.clone(), Value::Object(field));
    }
    let (mut headers, mut query) = (Map::new(), Map::new());
    for (field, auth) in &draft.further_keys {
        fields.insert(field.clone(), json!({"secret": true, "default": env(draft, field, variables)}));
        let value = json!(format!("${{config.{field}}}"));
        match auth {
            Auth::KeyInQuery(name) => drop(query.insert(name.clone(), value)),
            Auth::KeyInHeader(name) => drop(headers.insert(name.clone(), value)),
            _ => {}
        }
    }
    for (name, map) in [("config", fields), ("headers", headers), ("query", query)] {
        if !map.is_empty() {
            text.push_str(&print(&json!({ name: map }), 0));
        }
    }
}

/// A reference to a variable of the environment.
fn env(draft: &Draft, what: &str, variables: &mut Vec<String>) -> Value {
    let name = variable(&draft.name, what);
    if !variables.contains(&name) {
        variables.push(name.clone());
    }
    json!({ "env": name })
}

fn authentication(draft: &Draft, text: &mut String, variables: &mut Vec<String>) {
    for other in draft.other_auth.iter().take(10) {
        comment(&format!("Another security scheme of the description: {other}"), text);
    }
    let mut secret = |what: &str| env(draft, what, variables);
    let auth = match &draft.auth {
        Auth::None => {
            comment("The description asks for no authentication. Where the service does: auth: {bearer: {env: NAME}}", text);
            return;
        }
        Auth::Bearer => json!({"bearer": secret("token")}),
        Auth::Basic => json!({"basic": {"username": secret("username"), "password": secret("password")}}),
        Auth::KeyInHeader(name) => json!({"api_key": {"in": "header", "name": name, "value": secret("api_key")}}),
        Auth::KeyInQuery(name) => json!({"api_key": {"in": "query", "name": name, "value": secret("api_key")}}),
        Auth::ClientCredentials { token_url, scopes } => {
            let mut grant =
                json!({"token_url": literal(token_url), "client_id": secret("client_id"), "client_secret": secret("client_secret")});
            if scopes.len() <= SCOPES_MAX && !scopes.is_empty() {
                grant["scope"] = json!(literal(&scopes.join(" ")));
            } else if !scopes.is_empty() {
                comment(&format!("Scopes of the description, to be asked for with `scope:`: {}", scopes.join(" ")), text);
            }
            json!({"oauth2": {"client_credentials": grant}})
        }
        Auth::RefreshToken { token_url } => json!({"oauth2": {"refresh_token": {
            "token_url": literal(token_url), "client_id": secret("client_id"), "client_secret": secret("client_secret"),
            "refresh_token": secret("refresh_token")}}}),
    };
    text.push_str(&print(&json!({ "auth": auth }), 0));
}

fn of(operation: &Operation, words: usize) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
    let title = operation.title.as_deref().map(|text| short(text, 120)).unwrap_or_default();
    if !title.is_empty() {
        put("title", json!(title));
    }
    let mut description = operation.description.as_deref().map(|text| short(text, words)).unwrap_or_default();
    if operation.deprecated {
        description = if description.is_empty() { "Deprecated.".to_owned() } else { format!("Deprecated. {description}") };
    }
    if !description.is_empty() && description != title {
        put("description", json!(description));
    }
    put("method", json!(operation.method));
    put("path", json!(operation.template));
    if !operation.inputs.is_empty() {
        let inputs: Map<String, Value> = operation.inputs.iter().map(|input| (input.name.clone(), field(input, words))).collect();
        put("input", Value::Object(inputs));
    }
    for (name, list) in [("query", &operation.query), ("headers", &operation.headers)] {
        if !list.is_empty() {
            put(name, sent(list));
        }
    }
    match &operation.body {
        Body::None => {}
        Body::Whole { input, media: None } => put("body", json!(format!("${{input.{input}}}"))),
        Body::Whole { input, media: Some(media) } => {
            put("raw", json!({"content_type": literal(media), "content": format!("${{json.encode(input.{input})}}")}));
        }
        Body::Json(fields) => put("body", sent(fields)),
        Body::Form { fields, nested } => {
            put("form", sent(fields));
            if *nested {
                put("form_style", json!("brackets"));
            }
        }
        Body::Multipart(fields) => put("multipart", sent(fields)),
        Body::Raw { input, media } => put("raw", json!({"content_type": literal(media), "content": format!("${{input.{input}}}")})),
    }
    let walked = match &operation.paging {
        None => None,
        Some(Paging::Offset { param, size, per_page }) => Some(json!({"offset": {"param": param, "size_param": size, "size": per_page}})),
        Some(Paging::Page { param, start, size, per_page }) => {
            Some(json!({"page": {"param": param, "start": start, "size_param": size, "size": per_page}}))
        }
        Some(Paging::Link) => Some(json!({"next_link": true})),
    };
    if let Some(mut walked) = walked {
        walked["max"] = json!(PAGES_DEFAULT);
        put("paginate", walked);
        if !operation.root.is_empty() {
            put("output", json!({"root": operation.root}));
        }
    }
    Value::Object(map)
}

fn field(input: &Input, words: usize) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| drop(map.insert(name.to_owned(), value));
    let kind = match input.kind {
        InputKind::Any => "any",
        InputKind::Text => "string",
        InputKind::Integer => "integer",
        InputKind::Number => "number",
        InputKind::Boolean => "boolean",
        InputKind::DateTime => "date-time",
        InputKind::Object => "object",
        InputKind::List => "array",
        InputKind::File => "file",
    };
    put("type", json!(kind));
    if input.required {
        put("required", json!(true));
    }
    if !input.choices.is_empty() {
        put("enum", json!(input.choices));
    }
    if let Some(default) = &input.default {
        put("default", literal_value(default));
    }
    let number = |value: &Option<Value>| value.clone();
    let length = |value: Option<u64>| value.map(|length| json!(length));
    for (name, value) in [
        ("min", number(&input.min)),
        ("max", number(&input.max)),
        ("min_length", length(input.min_length)),
        ("max_length", length(input.max_length)),
        ("pattern", input.pattern.as_ref().map(|pattern| json!(pattern))),
        ("description", input.description.as_deref().map(|text| short(text, words)).filter(|text| !text.is_empty()).map(Value::from)),
    ] {
        if let Some(value) = value {
            put(name, value);
        }
    }
    Value::Object(map)
}

fn sent(list: &[Sent]) -> Value {
    let mut map = Map::new();
    for one in list {
        let value = match &one.from {
            From::Fixed(text) => literal(text),
            From::Input(field) => format!("${{input.{field}}}"),
            From::Joined(field, separator) => {
                format!("${{input.{field} == null ? null : input.{field}.map(v, string(v)).join(\"{separator}\")}}")
            }
            From::Json(field) => format!("${{input.{field} == null ? null : json.encode(input.{field})}}"),
        };
        map.insert(one.name.clone(), Value::String(value));
    }
    Value::Object(map)
}

/// A text that stays as it is where `${…}` would be evaluated.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

fn literal_value(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(literal(text)),
        Value::Array(items) => items.iter().map(literal_value).collect(),
        Value::Object(map) => Value::Object(map.iter().map(|(key, value)| (key.clone(), literal_value(value))).collect()),
        other => other.clone(),
    }
}

/// A comment, cut to a line.
fn comment(line: &str, text: &mut String) {
    let line = printable(line);
    text.push_str("# ");
    if line.chars().count() > COMMENT_MAX {
        text.extend(line.chars().take(COMMENT_MAX - 1));
        text.push('…');
    } else {
        text.push_str(&line);
    }
    text.push('\n');
}

/// A description on one line, without markup of HTML, cut behind a sentence or a word.
fn short(text: &str, most: usize) -> String {
    if most == 0 {
        return String::new();
    }
    let mut plain = String::with_capacity(text.len().min(most * 4));
    let (mut in_tag, mut length) = (false, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '<' if chars.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '/') => in_tag = true,
            '>' if in_tag => in_tag = false,
            _ if in_tag => {}
            c if c.is_whitespace() || c.is_control() => {
                if !plain.is_empty() && !plain.ends_with(' ') {
                    plain.push(' ');
                }
            }
            c => {
                plain.push(c);
                length += 1;
            }
        }
        if length > most {
            break;
        }
    }
    let plain = plain.trim_end();
    if plain.chars().count() <= most {
        return plain.to_owned();
    }
    let cut: String = plain.chars().take(most.saturating_sub(1)).collect();
    // Behind the last sentence that ends in the second half, else behind the last word.
    match cut.rfind(". ").filter(|at| *at > cut.len() / 2) {
        Some(at) => cut[..=at].to_owned(),
        None => format!("{}…", cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_cut_behind_sentences_and_words() {
        assert_eq!(short("<p>Adds  a\n pet.</p> <a href=\"x\">Really</a>.", 100), "Adds a pet. Really.");
        assert_eq!(short("One sentence here. And another one that is too long", 30), "One sentence here.");
        assert_eq!(short("words that go on and on and on", 16), "words that go…");
        assert_eq!(short("a < b and c > d", 100), "a < b and c > d");
        assert_eq!((short("", 10), short("x", 0)), (String::new(), String::new()));
        assert_eq!(short(&"é".repeat(50), 10).chars().count(), 10);
    }

    #[test]
    fn texts_of_the_description_are_never_evaluated() {
        assert_eq!(literal("a ${b}"), "a $${b}");
        assert_eq!(literal_value(&json!({"a": ["${x}", 1]})), json!({"a": ["$${x}", 1]}));
    }
}
