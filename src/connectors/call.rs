//! From an operation and its input to the request that is sent.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::limits::{BODY_MAX, FORM_MAX, HEADER_MAX, IDEMPOTENT, SAFE, URL_MAX};
use super::operation::{Before, Body, Operation, Part};
use super::request::{CallRequest, Content, FormPart};
use super::{Connector, builtin, check, file, form};
use crate::expr::{At, EvalError, ExpressionFault, Scope, Template, Tree};
use crate::time::Timestamp;

type Fallible<T> = Result<T, ExpressionFault>;

/// What a request knows of who sends it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The run's id, seen as `run.id`.
    pub run: String,
    /// The rule's name, seen as `rule.name`.
    pub rule: String,
    /// The same for every attempt of a step.
    pub idempotency_key: Option<String>,
    /// The time.
    pub now: Timestamp,
}

/// The values that a request is rendered from.
pub(super) struct Given<'a> {
    pub(super) config: &'a Value,
    pub(super) input: &'a Value,
    pub(super) run: Value,
    pub(super) rule: Value,
    pub(super) now: Timestamp,
}

impl Given<'_> {
    pub(super) fn scope(&self) -> Scope<'_> {
        let scope = Scope::new().bind("config", self.config).bind("input", self.input);
        scope.bind("run", &self.run).bind("rule", &self.rule).at(self.now)
    }
}

impl Connector {
    /// The request of a call. `input` is what [`Operation::input`] gave, `config` the connector's values.
    ///
    /// # Errors
    /// A value that is missing or does not fit, something that would leave its place in the request, or what a hook
    /// says against it; nothing may be sent then.
    pub fn request(&self, operation: &Operation, input: &Value, config: &Value, caller: &Caller) -> Fallible<CallRequest> {
        let given = Given { config, input, run: json!({"id": caller.run}), rule: json!({"name": caller.rule}), now: caller.now };
        let scope = given.scope();
        let at = At::root(&self.name);
        let at = at.field(&operation.name);
        let mut request = CallRequest {
            connector: self.name.clone(),
            operation: operation.name.clone(),
            method: operation.method,
            url: self.url(operation, config, &scope, &at)?,
            written_out: true,
            query: Vec::new(),
            headers: BTreeMap::new(),
            content: operation.body.as_ref().map_or(Ok(Content::Empty), |body| content(body, &scope, &at))?,
            idempotent: operation.idempotent,
        };
        for (name, tree) in self.query.iter().chain(&operation.query) {
            set_query(&mut request.query, name, &tree.render(&scope, &at.field("query").field(name))?);
        }
        for (name, template) in self.headers.iter().chain(&operation.headers) {
            set_header(&mut request.headers, name, template, &scope, &at)?;
        }
        for hook in self.before.iter().chain(&operation.before) {
            apply(hook, &mut request, &given, &at)?;
        }
        if let (Some(name), Some(key)) = (&operation.idempotency_header, &caller.idempotency_key)
            && !SAFE.contains(&operation.method)
        {
            request.headers.entry(name.clone()).or_insert_with(|| key.clone());
        }
        if matches!(self.auth, super::Auth::Orchestrator) {
            builtin::finish(&mut request, input, config, &at)?;
        }
        let length = request.full_url_length();
        if length > URL_MAX {
            return Err(at.fault(format!("the URL has {length} bytes; at most {URL_MAX} are sent")));
        }
        Ok(request)
    }

    /// The base URL for these values of `config`, without a slash at its end.
    ///
    /// # Errors
    /// It is no URL of a service. The URL itself is not in the message: it may hold a secret.
    pub fn base(&self, config: &Value) -> Fallible<String> {
        let at = At::root(&self.name);
        let at = at.field("base_url");
        let mut text =
            self.base_url.render_text(&Scope::new().bind("config", config), |_, value| value).map_err(|error| at.failed(error))?;
        let url = check::parse_service(&text).map_err(|why| at.fault(format!("`base_url` {why}")))?;
        if let Some(why) = check::unencrypted(self, &url) {
            return Err(at.fault(why));
        }
        text.truncate(text.trim_end_matches('/').len());
        Ok(text)
    }

    fn url(&self, operation: &Operation, config: &Value, scope: &Scope<'_>, at: &At<'_>) -> Fallible<String> {
        let mut url = self.base(config)?;
        let at = at.field("path");
        let empty = Cell::new(false);
        let encoded = |_: &str, value: String| {
            empty.set(empty.get() || value.is_empty());
            encode_segment(&value)
        };
        let path = operation.path.render_text(scope, encoded).map_err(|error| at.failed(error))?;
        if empty.get() {
            return Err(at.fault("a value in the path is empty, so that another path would be asked for"));
        }
        if path.split('/').any(is_dots) {
            return Err(at.fault("a segment of the path is `.` or `..`, so that another path would be asked for"));
        }
        url.push_str(&path);
        Ok(url)
    }
}

/// Whether a segment of a path is `.` or `..`, percent-encoded or not.
fn is_dots(segment: &str) -> bool {
    let plain = || segment.to_ascii_lowercase().replace("%2e", ".");
    segment.starts_with(['.', '%']) && matches!(plain().as_str(), "." | "..")
}

/// A value as part of one segment of a path: only unreserved characters stay (RFC 3986, 2.3).
fn encode_segment(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

pub(super) fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Sets a parameter in place of what has its name: null leaves it out, a list repeats it.
fn set_query(query: &mut Vec<(String, String)>, name: &str, value: &Value) {
    query.retain(|(other, _)| other != name);
    match value {
        Value::Null => {}
        Value::Array(items) => query.extend(items.iter().filter(|item| !item.is_null()).map(|item| (name.to_owned(), text_of(item)))),
        one => query.push((name.to_owned(), text_of(one))),
    }
}

fn set_header(headers: &mut BTreeMap<String, String>, name: &str, template: &Template, scope: &Scope<'_>, at: &At<'_>) -> Fallible<()> {
    let at = at.field("headers");
    let at = at.field(name);
    let value = match template.render(scope).map_err(|error| at.failed(error))? {
        // `${…}` alone that is null: the header is left out.
        Value::Null => {
            headers.remove(name);
            return Ok(());
        }
        value => text_of(&value),
    };
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err(at.fault("the value has a line break or another control character, which no header may have"));
    }
    if value.len() > HEADER_MAX {
        return Err(at.fault(format!("the value has {} bytes; at most {HEADER_MAX} are sent", value.len())));
    }
    headers.insert(name.to_owned(), value);
    Ok(())
}

fn apply(hook: &Before, request: &mut CallRequest, given: &Given<'_>, at: &At<'_>) -> Fallible<()> {
    let at = at.field("before");
    let mut seen = request.to_json(None);
    if let Value::Object(map) = &mut seen {
        for key in ["query", "headers"] {
            map.entry(key).or_insert_with(|| json!({}));
        }
        map.entry("body").or_insert(Value::Null);
    }
    let scope = given.scope().bind("request", &seen);
    match hook.condition.as_ref().map(|condition| condition.holds(&scope)) {
        None | Some(Ok(true)) => {}
        // What is not there makes a condition not hold.
        Some(Ok(false) | Err(EvalError::Missing { .. })) => return Ok(()),
        Some(Err(error)) => return Err(at.field("if").failed(error)),
    }
    if let Some(template) = &hook.fail {
        let message = template.render_text(&scope, |_, value| value).map_err(|error| at.field("fail").failed(error))?;
        return Err(at.field("fail").fault(message));
    }
    for (name, template) in &hook.headers {
        set_header(&mut request.headers, name, template, &scope, &at)?;
    }
    for (name, tree) in &hook.query {
        set_query(&mut request.query, name, &tree.render(&scope, &at.field("query").field(name))?);
    }
    if let Some(tree) = &hook.body {
        if !matches!(request.content, Content::Json(_) | Content::Empty) {
            return Err(at.field("body").fault("the body is no JSON that could be replaced"));
        }
        request.content = Content::Json(pruned(tree, tree.render(&scope, &at.field("body"))?));
    }
    Ok(())
}

fn content(body: &Body, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Content> {
    let content = match body {
        Body::Json(tree) => Content::Json(pruned(tree, tree.render(scope, &at.field("body"))?)),
        Body::Form { fields, style } => {
            let mut form = Vec::new();
            for (name, tree) in fields {
                let at = at.field("form");
                form::add(*style, name, &tree.render(scope, &at.field(name))?, &mut form);
                if form.len() > FORM_MAX {
                    return Err(at.fault(format!("the form has more than {FORM_MAX} fields")));
                }
            }
            Content::Form(form)
        }
        Body::Multipart(parts) => {
            let mut all = Vec::new();
            for (name, part) in parts {
                all.extend(form_parts(name, part, scope, &at.field("multipart").field(name))?);
                if all.len() > FORM_MAX {
                    return Err(at.fault(format!("the body has more than {FORM_MAX} parts")));
                }
            }
            Content::Multipart(all)
        }
        Body::Raw { content_type, content } => {
            let at = at.field("raw");
            let value = content.render(scope).map_err(|error| at.field("content").failed(error))?;
            let file = file::of(&value).map_err(|why| at.field("content").fault(why))?;
            let said = content_type.render_text(scope, |_, value| value).map_err(|error| at.field("content_type").failed(error))?;
            Content::Raw { content_type: header_text(said, &at.field("content_type"))?, bytes: file.bytes }
        }
    };
    let size = match &content {
        Content::Raw { bytes, .. } => bytes.len(),
        Content::Multipart(parts) => parts.iter().map(|part| part.bytes.len()).sum(),
        _ => 0,
    };
    if size > BODY_MAX {
        return Err(at.fault(format!("the body has {size} bytes; at most {BODY_MAX} are sent")));
    }
    Ok(content)
}

/// A list is a part for each element, unless the part says of which media type the whole is.
fn form_parts(name: &str, part: &Part, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Vec<FormPart>> {
    let values = match part.content.render(scope).map_err(|error| at.failed(error))? {
        Value::Null => Vec::new(),
        Value::Array(items) if part.content_type.is_none() => items.into_iter().filter(|item| !item.is_null()).collect(),
        one => vec![one],
    };
    values.iter().map(|value| form_part(name, part, value, scope, at)).collect()
}

fn form_part(name: &str, part: &Part, value: &Value, scope: &Scope<'_>, at: &At<'_>) -> Fallible<FormPart> {
    let file = file::of(value).or_else(|why| {
        // A mapping that is no file is sent as JSON.
        let is_file = value.get("text").is_some() || value.get("base64").is_some();
        if is_file { Err(at.fault(why)) } else { Ok(file::File { name: None, content_type: None, bytes: value.to_string().into_bytes() }) }
    })?;
    let text = |template: &Option<Template>, own: Option<String>| match template {
        Some(template) => match template.render(scope).map_err(|error| at.failed(error))? {
            Value::Null => Ok(own),
            value => header_text(text_of(&value), at).map(Some),
        },
        None => own.map(|own| header_text(own, at)).transpose(),
    };
    Ok(FormPart {
        name: name.to_owned(),
        filename: text(&part.filename, file.name)?,
        content_type: text(&part.content_type, file.content_type)?,
        bytes: file.bytes,
    })
}

fn header_text(text: String, at: &At<'_>) -> Fallible<String> {
    if text.chars().any(char::is_control) || text.len() > HEADER_MAX {
        return Err(at.fault("a name or media type has a control character, or is too long"));
    }
    Ok(text)
}

/// The value without the entries of mappings that a `${…}` made null: an input that a call does not say is left out. A
/// null that is written stays.
pub(super) fn pruned(tree: &Tree, mut value: Value) -> Value {
    prune(tree, &mut value);
    value
}

fn prune(tree: &Tree, value: &mut Value) {
    match (tree, value) {
        (Tree::Map(entries), Value::Object(map)) => {
            // Rendered in the order of the tree: the next one is the one.
            let mut next = entries.iter();
            map.retain(|key, value| match next.find(|(name, _)| name == key).or_else(|| entries.iter().find(|(name, _)| name == key)) {
                Some((_, Tree::Text(_))) => !value.is_null(),
                Some((_, tree)) => {
                    prune(tree, value);
                    true
                }
                None => false,
            });
        }
        (Tree::List(trees), Value::Array(items)) => trees.iter().zip(items).for_each(|(tree, item)| prune(tree, item)),
        _ => {}
    }
}

impl Operation {
    /// Whether it changes nothing, whatever it is called with.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        SAFE.contains(&self.method) || (self.idempotent && !IDEMPOTENT.contains(&self.method))
    }
}
