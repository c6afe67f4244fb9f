//! Reading the body of an operation.

use super::auth_read::word;
use super::decode::Decoder;
use super::operation::{Body, FormStyle, Part};
use super::shapes;
use crate::expr::Template;
use crate::yaml::{Fields, Node};

/// Reads the body of an operation: at most one of `body`, `form`, `multipart` and `raw`.
pub(super) fn body(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Option<Body>> {
    let written: Vec<&str> = ["body", "form", "multipart", "raw"].into_iter().filter(|key| fields.get(key).is_some()).collect();
    if let (Some(place), false) = (fields.key_place("form_style"), written.contains(&"form")) {
        decoder.error_help("form-style", place, "`form_style` says how `form` is written, and there is none", "add `form`, or remove it");
        return None;
    }
    match written.as_slice() {
        [] => Some(None),
        ["body"] => fields.get("body").and_then(|node| decoder.tree(node)).map(|tree| Some(Body::Json(tree))),
        ["form"] => {
            let style = word(fields, "form_style", &FormStyle::WORDS, FormStyle::Repeat, decoder);
            let form = fields.get("form").and_then(|node| decoder.trees(node, "form"));
            Some(Some(Body::Form { fields: form?, style: style? }))
        }
        ["multipart"] => {
            let parts = fields.get("multipart").and_then(|node| decoder.entries(node, "multipart", part));
            parts.map(|parts| Some(Body::Multipart(parts)))
        }
        ["raw"] => {
            let node = fields.get("raw")?;
            let fields = Fields::read(node, "`raw`", &shapes::RAW, decoder.faults)?;
            let content = fields.require("content", "`raw`", decoder.faults).and_then(|node| decoder.template(node, "content"));
            let content_type = match fields.get("content_type") {
                Some(node) => decoder.template(node, "content_type"),
                None => Template::parse("application/octet-stream").ok(),
            };
            Some(Some(Body::Raw { content_type: content_type?, content: content? }))
        }
        several => {
            let place = several.get(1).and_then(|key| fields.key_place(key)).unwrap_or(fields.place);
            decoder.error_help(
                "two-bodies",
                place,
                format!("the operation has {} bodies: {}", several.len(), several.join(", ")),
                "keep one",
            );
            None
        }
    }
}

fn part(decoder: &mut Decoder<'_>, node: &Node) -> Option<Part> {
    if node.as_map().is_none() {
        return decoder.template(node, "multipart").map(|content| Part { content, filename: None, content_type: None });
    }
    let fields = Fields::read(node, "the part", &shapes::PART, decoder.faults)?;
    let content = fields.require("content", "the part", decoder.faults).and_then(|node| decoder.template(node, "content"));
    let filename = fields.get("filename").map_or(Some(None), |node| decoder.template(node, "filename").map(Some));
    let content_type = fields.get("content_type").map_or(Some(None), |node| decoder.template(node, "content_type").map(Some));
    Some(Part { content: content?, filename: filename?, content_type: content_type? })
}
