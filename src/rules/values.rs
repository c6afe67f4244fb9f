//! Reading the values that several kinds of steps have: where they go, names, moments, contents.

use std::sync::Arc;
use std::time::Duration;

use super::action::{FolderAction, Moment, TargetAction};
use super::decode::Decoder;
use super::limits::{CONTENT_KEY_FORBIDDEN, CONTENT_MAX, REFERENCE_MAX};
use super::shapes;
use crate::expr::{Template, Tree};
use crate::fault::{Fault, Place, nearest};
use crate::time::{Timestamp, parse_duration};
use crate::yaml::{Fields, Node, Yaml};

/// A number that may be rendered.
pub(super) fn numeric(node: &Node, decoder: &mut Decoder<'_>) -> Option<Template> {
    let template = decoder.scalar(node, "id");
    if let Some(constant) = template.as_ref().and_then(Template::constant)
        && constant.trim().parse::<i64>().is_err()
    {
        decoder.error("bad-value", &node.place, format!("`id` is `{constant}`; expected a number"));
    }
    template
}

/// Where a step of Orchestrator goes.
pub(super) fn target(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> TargetAction {
    let orchestrator = fields.text("orchestrator", decoder.faults).and_then(|(name, place)| {
        if decoder.known.orchestrators.iter().any(|known| &**known == name) {
            return Some(Arc::from(name));
        }
        let fault = if name.contains("${") {
            Fault::error("bad-value", place.clone(), "`orchestrator` must be a name of the configuration")
                .help("`${…}` is not evaluated here")
        } else {
            let fault = Fault::error("unknown-orchestrator", place.clone(), format!("no orchestrator is named `{name}`"));
            let names: Vec<&str> = decoder.known.orchestrators.iter().map(|known| &**known).collect();
            match nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.help("the configuration has no `orchestrators`"),
                None => fault.help(format!("known are: {}", names.join(", "))),
            }
        };
        decoder.faults.push(fault);
        None
    });
    if fields.get("orchestrator").is_none() && decoder.known.orchestrators.is_empty() {
        let help = "add it under `orchestrators`";
        decoder.warning("no-orchestrator", fields.place, "the configuration has no orchestrator for this step", help);
    }
    TargetAction { orchestrator, folder: fields.get("folder").and_then(|node| folder(node, decoder)) }
}

fn folder(node: &Node, decoder: &mut Decoder<'_>) -> Option<FolderAction> {
    match &node.value {
        Yaml::Text(_) => name(node, "folder", decoder).map(FolderAction::Path),
        Yaml::Map(_) => {
            let fields = Fields::read(node, "`folder`", &shapes::FOLDER_OF_STEP, decoder.faults)?;
            match (fields.get("path"), fields.get("id"), fields.get("key")) {
                (Some(path), None, None) => name(path, "path", decoder).map(FolderAction::Path),
                (None, Some(id), None) => decoder.scalar(id, "id").map(FolderAction::Id),
                (None, None, Some(key)) => name(key, "key", decoder).map(FolderAction::Key),
                _ => {
                    decoder.error("bad-value", &node.place, "`folder` needs exactly one of `path`, `id` and `key`");
                    None
                }
            }
        }
        _ => {
            let message = format!("`folder` is {}; expected a path, or a mapping with `id` or `key`", node.kind());
            let help = match &node.value {
                Yaml::Number(n) => format!("write folder: {{id: {n}}}"),
                _ => "write folder: Finance/Invoices".to_owned(),
            };
            decoder.error_help("wrong-type", &node.place, message, help);
            None
        }
    }
}

/// A name: a template that is not empty.
pub(super) fn name(node: &Node, what: &str, decoder: &mut Decoder<'_>) -> Option<Template> {
    let template = decoder.template(node, what)?;
    if template.constant().is_some_and(|text| text.trim().is_empty()) {
        decoder.error("empty", &node.place, format!("`{what}` is empty"));
        return None;
    }
    Some(template)
}

/// `priority`.
pub(super) fn priority(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Template> {
    let node = fields.get("priority")?;
    let template = decoder.template(node, "priority")?;
    if let Some(constant) = template.constant()
        && super::render::priority_word(constant).is_none()
    {
        decoder.error("bad-value", &node.place, format!("`priority` is `{constant}`; expected High, Normal or Low"));
        return None;
    }
    Some(template)
}

/// `reference`.
pub(super) fn reference(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Template> {
    let node = fields.get("reference")?;
    let template = decoder.scalar(node, "reference")?;
    if let Some(constant) = template.constant() {
        let length = constant.encode_utf16().count();
        if length == 0 || length > REFERENCE_MAX {
            decoder.error("reference-length", &node.place, format!("`reference` has {length} characters; expected 1 to {REFERENCE_MAX}"));
            return None;
        }
        let help = "put something of the event into it, such as ${item.Reference}, or leave it out";
        decoder.warning("constant-reference", &node.place, "`reference` is the same for every event: later ones count as duplicates", help);
    }
    Some(template)
}

/// A moment as written.
pub(super) fn moment(fields: &Fields<'_>, what: &str, decoder: &mut Decoder<'_>) -> Option<Moment> {
    let node = fields.get(what)?;
    let template = decoder.scalar(node, what)?;
    let Some(constant) = template.constant() else { return Some(Moment::Rendered(template)) };
    match read_moment(constant) {
        Ok(moment) => Some(moment),
        Err(message) => {
            decoder.error("bad-moment", &node.place, format!("`{what}`: {message}"));
            None
        }
    }
}

/// A duration from now on, a timestamp, or a date (midnight UTC).
pub(super) fn read_moment(text: &str) -> Result<Moment, String> {
    if let Some(stamp) = Timestamp::parse_lenient(text) {
        return stamp.sane().map(Moment::At).ok_or_else(|| format!("`{text}` is no sensible date"));
    }
    // What CEL's `duration` gives: seconds, perhaps with a fraction.
    if let Some(seconds) = text.strip_suffix('s').and_then(|n| n.parse::<f64>().ok())
        && text.contains('.')
    {
        return Duration::try_from_secs_f64(seconds).map(Moment::In).map_err(|_| format!("`{text}` is no duration"));
    }
    parse_duration(text).map(Moment::In).map_err(|message| format!("{message}; a timestamp or a date is fine too"))
}

/// `content`.
pub(super) fn content(node: &Node, decoder: &mut Decoder<'_>) -> Option<Tree> {
    let written = node.to_json().to_string();
    if !written.contains("${") && written.encode_utf16().count() > CONTENT_MAX {
        decoder.error(
            "content-size",
            &node.place,
            format!("`content` is longer than {CONTENT_MAX} characters, which Orchestrator refuses"),
        );
    }
    if let Yaml::Map(entries) = &node.value {
        for (key, value) in entries {
            check_content_key(&key.name, &key.place, decoder);
            if matches!(value.value, Yaml::List(_) | Yaml::Map(_)) {
                let message = format!("`{}` of `content` is {}; Orchestrator takes single values only", key.name, value.kind());
                decoder.error_help("nested-content", &value.place, message, "flatten it, or put JSON text in a string");
            }
        }
    }
    object(node, "content", decoder)
}

fn check_content_key(key: &str, place: &Place, decoder: &mut Decoder<'_>) {
    if let Some(found) = key.chars().find(|c| CONTENT_KEY_FORBIDDEN.contains(c)) {
        let message = format!("`{key}` of `content` contains `{found}`, which Orchestrator refuses");
        decoder.error_help("content-key", place, message, format!("rename it, such as `{}`", key.replace(CONTENT_KEY_FORBIDDEN, "_")));
    } else if key.is_empty() {
        decoder.error("content-key", place, "a key of `content` is empty");
    }
}

/// A mapping, or one `${…}` that gives one.
pub(super) fn object(node: &Node, what: &str, decoder: &mut Decoder<'_>) -> Option<Tree> {
    let lone = node.as_text().is_some_and(|text| text.trim_start().starts_with("${"));
    if !lone && node.as_map().is_none() {
        decoder.error_help(
            "wrong-type",
            &node.place,
            format!("`{what}` is {}; expected a mapping", node.kind()),
            "or one `${…}` that gives one",
        );
        return None;
    }
    decoder.tree(node)
}
