//! The body of an operation.

use serde_json::Value;

use super::document::{Document, step};
use super::draft::{Body, From, Input, InputKind, Sent};
use super::fields;
use super::names::{self, Names};
use super::report::Part;
use super::schema::{Kind, Seen, look};

/// The most properties of a JSON body that become input fields of their own; a larger body is one field.
const PROPERTIES_MAX: usize = 150;

/// The most fields of a form that are looked at: it cannot be given as one field.
const FORM_FIELDS_MAX: usize = 1_000;

/// How a media type is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Json,
    /// JSON under another media type.
    OtherJson,
    Form,
    Multipart,
    Text,
    Bytes,
}

/// What the body makes of a request.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) body: Body,
    pub(super) inputs: Vec<Input>,
}

/// Whether a media type is JSON.
pub(super) fn is_json(media: &str) -> bool {
    matches!(way(media), Some(Way::Json | Way::OtherJson))
}

/// Reads the body of an operation; `pointer` is the operation's.
///
/// # Errors
/// What holds the operation back.
pub(super) fn read(
    document: &Document,
    (operation, pointer): (&Value, &str),
    names: &mut Names,
    left_out: &mut Vec<Part>,
) -> Result<Read, Part> {
    let none = Read { body: Body::None, inputs: Vec::new() };
    let Some(written) = operation.get("requestBody") else { return Ok(none) };
    let pointer = step(pointer, "requestBody");
    let held = |reason: &'static str, message: String| Part { reason, pointer: pointer.clone(), message };
    let body = document.resolve(written).map_err(|bad| held(bad.reason(), bad.to_string()))?;
    let Some(content) = body.get("content").and_then(Value::as_object).filter(|content| !content.is_empty()) else { return Ok(none) };
    let ways = content.iter().filter_map(|(media, value)| way(media).map(|way| (way, media.as_str(), value)));
    // The first of the best.
    let Some((way, media, value)) = ways.min_by_key(|(way, _, _)| *way) else {
        let known: Vec<&str> = content.keys().map(String::as_str).take(5).collect();
        return Err(held(
            "media-type",
            format!("bodies of `{}` are not in this version", crate::printable::printable(&known.join("`, `"))),
        ));
    };
    let required = body.get("required").and_then(Value::as_bool).unwrap_or(false);
    let seen = match value.get("schema") {
        Some(schema) => look(document, schema).map_err(|trouble| held(trouble.reason(), trouble.to_string()))?,
        None => Seen::default(),
    };
    let description = body.get("description").and_then(Value::as_str);
    let mut reader = Reader { document, names, left_out, pointer: &pointer, required, description, inputs: Vec::new() };
    let body = match way {
        Way::Json if is_flat(&seen, PROPERTIES_MAX) => Body::Json(reader.fields(&seen, None)?),
        Way::Json => Body::Whole { input: reader.whole(&seen, None), media: None },
        Way::OtherJson => {
            // It is encoded as a text, which is always there.
            reader.required = true;
            Body::Whole { input: reader.whole(&seen, None), media: Some(media.to_owned()) }
        }
        Way::Form if is_flat(&seen, FORM_FIELDS_MAX) => reader.form(&seen, encoding(value))?,
        Way::Multipart if is_flat(&seen, FORM_FIELDS_MAX) => Body::Multipart(reader.fields(&seen, encoding(value))?),
        Way::Form | Way::Multipart if !required => {
            // A form that is described and has no fields is none.
            if seen.more || value.pointer("/schema/properties").is_none() {
                let part = reader.held("body-fields", format!("the fields of the `{media}` body are not described"));
                reader.left_out.push(part);
            }
            Body::None
        }
        Way::Form | Way::Multipart => {
            return Err(reader.held("body-fields", format!("the fields of the `{media}` body are not described")));
        }
        Way::Text => Body::Raw { input: reader.whole(&seen, Some(InputKind::Text)), media: media.to_owned() },
        Way::Bytes => Body::Raw { input: reader.whole(&seen, Some(InputKind::File)), media: media.to_owned() },
    };
    let inputs = reader.inputs;
    Ok(Read { body, inputs })
}

fn way(media: &str) -> Option<Way> {
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, rest) = essence.split_once('/')?;
    Some(match (kind, rest) {
        // `application/json; charset=utf-8` is JSON as well.
        ("application", "json") | ("*", "*") | ("application", "*" | "*+json") => Way::Json,
        (_, rest) if rest.ends_with("+json") || rest == "json" => Way::OtherJson,
        ("application", "x-www-form-urlencoded") => Way::Form,
        ("multipart", "form-data") => Way::Multipart,
        ("multipart", _) => return None,
        ("text", _) | ("application", "xml" | "graphql" | "x-ndjson" | "jsonl" | "yaml" | "x-yaml") => Way::Text,
        (_, rest) if rest.ends_with("+xml") => Way::Text,
        ("image" | "audio" | "video" | "font", _) => Way::Bytes,
        ("application", "octet-stream" | "pdf" | "zip" | "gzip" | "x-gzip" | "x-tar") => Way::Bytes,
        _ => return None,
    })
}

fn encoding(content: &Value) -> Option<&Value> {
    content.get("encoding").filter(|encoding| encoding.is_object())
}

/// Whether the properties can be input fields of their own.
fn is_flat(seen: &Seen<'_>, most: usize) -> bool {
    let object = seen.kinds.is_empty() || seen.kinds.iter().all(|kind| *kind == Kind::Object);
    object && !seen.more && !seen.properties.is_empty() && seen.properties.len() <= most
}

struct Reader<'r> {
    document: &'r Document,
    names: &'r mut Names,
    left_out: &'r mut Vec<Part>,
    pointer: &'r str,
    required: bool,
    description: Option<&'r str>,
    inputs: Vec<Input>,
}

impl<'r> Reader<'r> {
    fn held(&self, reason: &'static str, message: String) -> Part {
        Part { reason, pointer: self.pointer.to_owned(), message }
    }

    /// One input field for the whole body.
    fn whole(&mut self, seen: &Seen<'_>, kind: Option<InputKind>) -> String {
        let name = self.names.unique("body".to_owned(), &["request_body".to_owned()]);
        let mut input = fields::input(name.clone(), self.required, seen, self.pointer, self.left_out);
        if let Some(kind) = kind {
            let bare = Seen { kinds: [Kind::Text].into(), ..Seen::default() };
            input = Input { kind, ..fields::input(name.clone(), true, &bare, self.pointer, self.left_out) };
        }
        input.description = self.description.map(str::to_owned).or(input.description);
        self.inputs.push(input);
        name
    }

    /// An input field for each property.
    fn fields(&mut self, seen: &Seen<'_>, encoding: Option<&Value>) -> Result<Vec<Sent>, Part> {
        let mut sent = Vec::with_capacity(seen.properties.len());
        for (property, schema) in &seen.properties {
            let inner = self.look(schema, property)?;
            if !inner.read_only {
                let (name, _) = self.field(property, seen, &inner);
                sent.push(Sent { name: (*property).to_owned(), from: From::Input(name) });
            }
        }
        for (property, told) in encoding.and_then(Value::as_object).into_iter().flatten() {
            if told.get("headers").is_some() {
                let part = self.held("part-headers", format!("headers of the part `{property}` are not in this version"));
                self.left_out.push(part);
            }
        }
        Ok(sent)
    }

    /// A form. An object of plain properties is taken apart; one that holds more is one input field where the description says
    /// that it stands in brackets (`deepObject`).
    fn form(&mut self, seen: &Seen<'_>, encoding: Option<&Value>) -> Result<Body, Part> {
        let mut fields = Vec::with_capacity(seen.properties.len());
        let (mut nested, mut repeated) = (false, false);
        for (property, schema) in &seen.properties {
            let inner = self.look(schema, property)?;
            if inner.read_only {
                continue;
            }
            let told = |key: &str| encoding.and_then(|encoding| encoding.get(*property)).and_then(|one| one.get(key));
            let deep = told("style").and_then(Value::as_str) == Some("deepObject");
            let explode = told("explode").and_then(Value::as_bool).unwrap_or(true);
            let json = told("contentType").and_then(Value::as_str).is_some_and(is_json);
            let (list, object) = (inner.kinds.contains(&Kind::List), inner.kinds.contains(&Kind::Object));
            let from = if json {
                From::Json(self.field(property, seen, &inner).0)
            } else if object && self.plain_properties(property, &inner, deep, &mut fields)? {
                continue;
            } else if deep {
                nested |= list || object;
                From::Input(self.field(property, seen, &inner).0)
            } else if object {
                let part = self.held("form-object", format!("`{property}` is an object, and how it is written is not described"));
                if self.required && seen.required.contains(property) {
                    return Err(part);
                }
                self.left_out.push(part);
                continue;
            } else {
                let (name, kind) = self.field(property, seen, &inner);
                let joined = kind == InputKind::List && !explode;
                repeated |= list && !joined;
                if joined { From::Joined(name, ",") } else { From::Input(name) }
            };
            fields.push(Sent { name: (*property).to_owned(), from });
        }
        if nested && repeated {
            return Err(self.held("form-object", "some of its lists stand in brackets and some do not".to_owned()));
        }
        Ok(Body::Form { fields, nested })
    }

    /// `address[city]=…` for each plain property of an object; `false` where none is, or where the object can be given as a whole
    /// and has others.
    fn plain_properties(&mut self, property: &str, seen: &Seen<'_>, whole: bool, sent: &mut Vec<Sent>) -> Result<bool, Part> {
        let mut plain = Vec::with_capacity(seen.properties.len());
        for (name, schema) in &seen.properties {
            let inner = self.look(schema, property)?;
            let nested = inner.kinds.contains(&Kind::Object) || inner.kinds.contains(&Kind::List) || (whole && inner.kinds.is_empty());
            if !nested {
                plain.push((format!("{property}[{name}]"), inner));
            }
        }
        let all = plain.len() == seen.properties.len() && !seen.more && seen.kinds.len() == 1;
        if plain.is_empty() || (whole && !all) {
            return Ok(false);
        }
        for (key, inner) in plain {
            // Needed only where the object is given, which is not known here.
            let field = self.names.unique(names::input(&key), &[format!("body_{}", names::input(&key))]);
            self.inputs.push(fields::input(field.clone(), false, &inner, self.pointer, self.left_out));
            sent.push(Sent { name: key, from: From::Input(field) });
        }
        if !all {
            let part = self.held(
                "form-object",
                format!("of `{property}`, only plain properties can be given: how others are written is not described"),
            );
            self.left_out.push(part);
        }
        Ok(true)
    }

    fn look<'v>(&self, schema: &'v Value, property: &str) -> Result<Seen<'v>, Part>
    where
        'r: 'v,
    {
        look(self.document, schema).map_err(|trouble| self.held(trouble.reason(), format!("`{property}`: {trouble}")))
    }

    fn field(&mut self, property: &str, outer: &Seen<'_>, inner: &Seen<'_>) -> (String, InputKind) {
        let wanted = names::input(property);
        let name = self.names.unique(wanted.clone(), &[format!("body_{wanted}")]);
        let required = self.required && outer.required.contains(property);
        let input = fields::input(name.clone(), required, inner, self.pointer, self.left_out);
        let kind = input.kind;
        self.inputs.push(input);
        (name, kind)
    }
}
