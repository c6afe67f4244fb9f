//! Parameters of an operation: in the path, the query and headers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::document::{Document, step};
use super::draft::{From, Input, InputKind, Sent};
use super::fields;
use super::names::{self, Names};
use super::report::Part;
use super::schema::{Kind, Seen, look};

/// The most parameters of one operation.
const PARAMETERS_MAX: usize = 500;

/// Headers that requests carry anyway, or that are not a caller's to set.
const OWN_HEADERS: &[&str] =
    &["accept", "authorization", "connection", "content-length", "content-type", "cookie", "host", "idempotency-key", "transfer-encoding"];

/// What the parameters make of a request.
#[derive(Debug, Default)]
pub(super) struct Parameters {
    /// The path with `${input.x}`.
    pub(super) template: String,
    pub(super) inputs: Vec<Input>,
    pub(super) query: Vec<Sent>,
    pub(super) headers: Vec<Sent>,
}

/// A parameter as the description has it.
struct Parameter<'a> {
    name: &'a str,
    place: &'a str,
    value: &'a Value,
    pointer: String,
}

/// Reads the parameters of an operation, those of its path before its own. `taken` are headers and names in the query
/// that authentication fills in.
///
/// # Errors
/// What holds the operation back.
pub(super) fn read(
    document: &Document,
    (path, path_item, path_pointer): (&str, &Value, &str),
    (operation, pointer): (&Value, &str),
    taken: &BTreeSet<String>,
    names: &mut Names,
    left_out: &mut Vec<Part>,
) -> Result<Parameters, Part> {
    let mut found: Vec<Parameter<'_>> = Vec::new();
    for (holder, holder_pointer) in [(path_item, path_pointer), (operation, pointer)] {
        let list = holder.get("parameters").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, written) in list.iter().enumerate() {
            let pointer = format!("{}/{index}", step(holder_pointer, "parameters"));
            let held = |reason: &'static str, message: String| Part { reason, pointer: pointer.clone(), message };
            let value = document.resolve(written).map_err(|bad| held(bad.reason(), bad.to_string()))?;
            let text = |key: &str| value.get(key).and_then(Value::as_str);
            let (Some(name), Some(place)) = (text("name"), text("in")) else {
                return Err(held("parameter", "a parameter has no `name` or no `in`".to_owned()));
            };
            // The operation's own goes before the path's.
            found.retain(|known| (known.name, known.place) != (name, place));
            found.push(Parameter { name, place, value, pointer });
        }
    }
    if found.len() > PARAMETERS_MAX {
        let message = format!("{} parameters are too many; at most {PARAMETERS_MAX} are read", found.len());
        return Err(Part { reason: "too-many-parameters", pointer: pointer.to_owned(), message });
    }
    let mut reader = Reader { document, taken, names, left_out, into: Parameters::default() };
    reader.into.template = reader.path(path, &found, pointer)?;
    for parameter in &found {
        match parameter.place {
            "path" => {}
            "query" => reader.query(parameter)?,
            "header" => reader.header(parameter)?,
            place => {
                let reason = if place == "cookie" { "cookie-parameter" } else { "parameter" };
                reader.unsupported(parameter, reason, format!("`{}` in a {place} is not in this version", parameter.name))?;
            }
        }
    }
    Ok(reader.into)
}

struct Reader<'r> {
    document: &'r Document,
    taken: &'r BTreeSet<String>,
    names: &'r mut Names,
    left_out: &'r mut Vec<Part>,
    into: Parameters,
}

impl<'r> Reader<'r> {
    /// Leaves a parameter out, or holds the operation back where it is needed.
    fn unsupported(&mut self, parameter: &Parameter<'_>, reason: &'static str, message: String) -> Result<(), Part> {
        let part = Part { reason, pointer: parameter.pointer.clone(), message };
        if is_required(parameter.value) {
            return Err(part);
        }
        self.left_out.push(part);
        Ok(())
    }

    /// Looks at the schema; answers whether it stands for a JSON text (`content` in place of `schema`).
    fn look<'v>(&self, parameter: &Parameter<'v>) -> Result<(Seen<'v>, bool), Part>
    where
        'r: 'v,
    {
        let held = |reason: &'static str, message: String| Part { reason, pointer: parameter.pointer.clone(), message };
        let looked = |schema: &'v Value| look(self.document, schema).map_err(|trouble| held(trouble.reason(), trouble.to_string()));
        if let Some(content) = parameter.value.get("content").and_then(Value::as_object) {
            let Some((media, body)) = content.iter().next() else { return Ok((Seen::default(), false)) };
            if !super::body::is_json(media) {
                return Err(held("parameter-content", format!("`{}` is written as `{media}`; only JSON is known", parameter.name)));
            }
            let schema = body.get("schema").unwrap_or(&Value::Null);
            return Ok((looked(schema)?, true));
        }
        looked(parameter.value.get("schema").unwrap_or(&Value::Null)).map(|seen| (seen, false))
    }

    /// An input field for the whole parameter; answers its name.
    fn field(&mut self, parameter: &Parameter<'_>, wanted: String, required: bool, seen: &Seen<'_>) -> String {
        let others = [format!("{}_{wanted}", parameter.place)];
        let name = self.names.unique(wanted, &others);
        let mut input = fields::input(name.clone(), required, seen, &parameter.pointer, self.left_out);
        // A moment in a path or query is a text that the service reads in its own form.
        if matches!(input.kind, InputKind::File) {
            input.kind = InputKind::Text;
        }
        if let Some(text) = parameter.value.get("description").and_then(Value::as_str) {
            input.description = Some(text.to_owned());
        }
        self.into.inputs.push(input);
        name
    }

    fn path(&mut self, path: &str, found: &[Parameter<'r>], pointer: &str) -> Result<String, Part> {
        let held = |reason: &'static str, message: String| Part { reason, pointer: pointer.to_owned(), message };
        let (path, fixed) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let is_dots = |part: &str| matches!(part.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
        let leaves = path.starts_with("//") || path.contains("://") || path.split('/').any(is_dots);
        if path.contains('#') || !path.starts_with('/') || leaves {
            return Err(held("path", format!("`{}` is no path of one server", crate::printable::printable(path))));
        }
        for pair in fixed.into_iter().flat_map(|query| query.split('&')).filter(|pair| !pair.is_empty()) {
            if pair.contains(['{', '}', '$']) {
                return Err(held("path", format!("`{pair}` stands in the query of the path")));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            self.into.query.push(Sent { name: name.to_owned(), from: From::Fixed(value.to_owned()) });
        }
        let mut out = String::with_capacity(path.len() + 16);
        let mut rest = path;
        let mut given: Vec<(String, String)> = Vec::new();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}').filter(|_| !before.contains('}')) else {
                return Err(held("path", "a brace in the path is not closed, or not opened".to_owned()));
            };
            // A dollar sign in front of a value would be read as an escape.
            match before.strip_suffix('$') {
                Some(shorter) => out.extend([&encoded(shorter), "%24"]),
                None => out.push_str(&encoded(before)),
            }
            let field = match given.iter().find(|(known, _)| known == name) {
                Some((_, field)) => field.clone(),
                None => {
                    let field = self.path_field(name, found, pointer)?;
                    given.push((name.to_owned(), field.clone()));
                    field
                }
            };
            // In a key of OData, a quote inside a text is doubled.
            let quoted = before.ends_with('\'') && behind.starts_with('\'');
            let is_list = self.into.inputs.iter().any(|input| input.name == field && input.kind == InputKind::List);
            out.push_str("${input.");
            out.push_str(&field);
            out.push_str(if quoted {
                ".replace(\"'\", \"''\")"
            } else if is_list {
                ".map(v, string(v)).join(\",\")"
            } else {
                ""
            });
            out.push('}');
            rest = behind;
        }
        if rest.contains('}') {
            return Err(held("path", "a brace in the path is not opened".to_owned()));
        }
        out.push_str(&encoded(rest));
        for parameter in found.iter().filter(|parameter| parameter.place == "path") {
            if !given.iter().any(|(name, _)| name == parameter.name) {
                let message = format!("`{}` is no part of the path", parameter.name);
                self.left_out.push(Part { reason: "parameter", pointer: parameter.pointer.clone(), message });
            }
        }
        Ok(out)
    }

    fn path_field(&mut self, name: &str, found: &[Parameter<'r>], pointer: &str) -> Result<String, Part> {
        let Some(parameter) = found.iter().find(|parameter| parameter.place == "path" && parameter.name == name) else {
            // Not described, but needed: a text.
            let stand_in = Parameter { name, place: "path", value: &Value::Null, pointer: pointer.to_owned() };
            let seen = Seen { kinds: BTreeSet::from([Kind::Text]), ..Seen::default() };
            return Ok(self.field(&stand_in, names::input(name), true, &seen));
        };
        let held = |reason: &'static str, message: String| Part { reason, pointer: parameter.pointer.clone(), message };
        if let Some(style @ ("label" | "matrix")) = style(parameter) {
            return Err(held("parameter-style", format!("`{name}` is written in style `{style}`, which is not in this version")));
        }
        let (mut seen, json) = self.look(parameter)?;
        if json || seen.kinds.contains(&Kind::Object) {
            return Err(held("parameter-style", format!("`{name}` is an object in a path, which is not in this version")));
        }
        // A path always needs all of its parts.
        seen.default = None;
        if seen.kinds.len() != 1 {
            seen.kinds = BTreeSet::from([Kind::Text]);
            seen.choices = None;
        }
        Ok(self.field(parameter, names::input(name), true, &seen))
    }

    fn query(&mut self, parameter: &Parameter<'r>) -> Result<(), Part> {
        if self.taken.contains(&format!("query:{}", parameter.name)) {
            return Ok(());
        }
        let (seen, json) = match self.look(parameter) {
            Ok(looked) => looked,
            Err(part) => return self.unsupported(parameter, part.reason, part.message),
        };
        let required = is_required(parameter.value);
        let wanted = names::input(parameter.name);
        if json {
            let field = self.field(parameter, wanted, required, &seen);
            self.into.query.push(Sent { name: parameter.name.to_owned(), from: From::Json(field) });
            return Ok(());
        }
        let style = style(parameter).unwrap_or("form");
        let explode = parameter.value.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
        let is_list = seen.kinds.contains(&Kind::List);
        let is_object = seen.kinds.contains(&Kind::Object);
        let separator = match (style, explode) {
            ("form", false) => Some(","),
            ("spaceDelimited", false) => Some(" "),
            ("pipeDelimited", false) => Some("|"),
            ("form" | "spaceDelimited" | "pipeDelimited", true) | ("deepObject", _) => None,
            (other, _) => {
                let message = format!("`{}` is written in style `{other}`, which is not known for a query", parameter.name);
                return self.unsupported(parameter, "parameter-style", message);
            }
        };
        if is_object {
            return self.object_in_query(parameter, &seen, style, explode);
        }
        let field = self.field(parameter, wanted, required, &seen);
        let from = match separator {
            Some(separator) if is_list => From::Joined(field, separator),
            _ => From::Input(field),
        };
        // A list in the style of objects: `expand[]=a&expand[]=b`.
        let deep = style == "deepObject" && is_list && !parameter.name.ends_with("[]");
        let name = if deep { format!("{}[]", parameter.name) } else { parameter.name.to_owned() };
        self.into.query.push(Sent { name, from });
        Ok(())
    }

    /// An object in the query: each property is a field of its own, `filter[name]` or just `name`.
    fn object_in_query(&mut self, parameter: &Parameter<'r>, seen: &Seen<'_>, style: &str, explode: bool) -> Result<(), Part> {
        let deep = style == "deepObject";
        let other = seen.kinds.len() > 1;
        if seen.properties.is_empty() || !(deep || (style == "form" && explode && !other)) {
            let message = format!("`{}` is an object whose properties are not known, or in a style that is not", parameter.name);
            return self.unsupported(parameter, "parameter-style", message);
        }
        if other {
            // `created=1` or `created[gte]=1`.
            let mut plain = Seen { properties: Vec::new(), ..seen.clone() };
            plain.kinds.remove(&Kind::Object);
            let name = self.field(parameter, names::input(parameter.name), false, &plain);
            self.into.query.push(Sent { name: parameter.name.to_owned(), from: From::Input(name) });
        }
        let required = is_required(parameter.value) && !other;
        for (property, schema) in &seen.properties {
            let key = if deep { format!("{}[{property}]", parameter.name) } else { (*property).to_owned() };
            let pointer = format!("{}/schema", parameter.pointer);
            let inner = match look(self.document, schema) {
                Ok(inner) => inner,
                Err(trouble) => return self.unsupported(parameter, trouble.reason(), trouble.to_string()),
            };
            if inner.kinds.contains(&Kind::Object) {
                let message = format!("`{key}` is an object in an object of the query, which is not in this version");
                self.left_out.push(Part { reason: "parameter-style", pointer, message });
                continue;
            }
            let needed = required && seen.required.contains(property);
            let others = [format!("query_{}", names::input(&key))];
            let name = self.names.unique(names::input(&key), &others);
            self.into.inputs.push(fields::input(name.clone(), needed, &inner, &pointer, self.left_out));
            self.into.query.push(Sent { name: key, from: From::Input(name) });
        }
        Ok(())
    }

    fn header(&mut self, parameter: &Parameter<'r>) -> Result<(), Part> {
        let lower = parameter.name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || self.taken.contains(&format!("header:{lower}")) {
            return Ok(());
        }
        if !is_header_name(parameter.name) {
            let message = format!("`{}` is no name of a header", crate::printable::printable(parameter.name));
            return self.unsupported(parameter, "parameter", message);
        }
        let (mut seen, json) = match self.look(parameter) {
            Ok(looked) => looked,
            Err(part) => return self.unsupported(parameter, part.reason, part.message),
        };
        if seen.kinds.contains(&Kind::Object) && !json {
            let message = format!("`{}` is an object in a header, which is not in this version", parameter.name);
            return self.unsupported(parameter, "parameter-style", message);
        }
        if seen.kinds.len() > 1 && !json {
            seen.kinds = BTreeSet::from([Kind::Text]);
            seen.choices = None;
        }
        let is_list = seen.kinds.contains(&Kind::List);
        let field = self.field(parameter, names::header(parameter.name), is_required(parameter.value), &seen);
        let from = match (json, is_list) {
            (true, _) => From::Json(field),
            (false, true) => From::Joined(field, ","),
            (false, false) => From::Input(field),
        };
        self.into.headers.push(Sent { name: parameter.name.to_owned(), from });
        Ok(())
    }
}

/// The text of a path between its values: what may not stand in a URL is percent-encoded.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' || c.is_whitespace() || c.is_control() {
            c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| out.push_str(&format!("%{byte:02X}")));
        } else {
            out.push(c);
        }
    }
    out
}

fn is_required(parameter: &Value) -> bool {
    parameter.get("required").and_then(Value::as_bool).unwrap_or(false)
}

fn style<'a>(parameter: &Parameter<'a>) -> Option<&'a str> {
    parameter.value.get("style").and_then(Value::as_str)
}

/// A token of RFC 9110.
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}
