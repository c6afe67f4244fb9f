//! Hides the secrets that are written in a file of people from the excerpts that reports show of it.

use std::sync::Arc;

use super::{Node, Yaml};
use crate::fault::{Faults, Place, SourceText};

/// Makes every place of the trees one in a text in which plain values of the `secret` keys and passwords in URLs are stars.
pub fn hide(documents: &mut [Node], source: &SourceText, secret: &[&str]) {
    let mut lines = lines_of(source);
    let mut hidden = false;
    for document in &*documents {
        walk(document, secret, false, &mut |place, text| hidden |= mask_place(&mut lines, place, text));
    }
    if hidden {
        let masked = text_of(lines, source);
        documents.iter_mut().for_each(|document| move_to(document, &masked));
    }
}

/// The faults of a text that is no YAML, over a text in which everything behind a `secret` key is stars.
#[must_use]
pub fn hide_in_faults(faults: Faults, source: &SourceText, secret: &[&str]) -> Faults {
    let mut lines = lines_of(source);
    let hidden: Vec<bool> = lines.iter_mut().map(|line| mask_line(line, secret)).collect();
    let masked = text_of(lines, source);
    let mut all = Faults::new();
    for mut fault in faults {
        if let Some(place) = &mut fault.place {
            place.source = Arc::clone(&masked);
            // A hint of the YAML reader may repeat the line.
            if hidden.get((place.line as usize).saturating_sub(1)).is_some_and(|hidden| *hidden) {
                fault.help = Some("quote the whole value".to_owned());
            }
        }
        all.push(fault);
    }
    all
}

fn lines_of(source: &SourceText) -> Vec<Vec<char>> {
    source.text.split('\n').map(|line| line.chars().collect()).collect()
}

fn text_of(lines: Vec<Vec<char>>, source: &SourceText) -> Arc<SourceText> {
    let text = lines.into_iter().map(String::from_iter).collect::<Vec<_>>().join("\n");
    Arc::new(SourceText { path: source.path.clone(), text })
}

fn move_to(node: &mut Node, source: &Arc<SourceText>) {
    node.place.source = Arc::clone(source);
    match &mut node.value {
        Yaml::List(items) => items.iter_mut().for_each(|item| move_to(item, source)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                key.place.source = Arc::clone(source);
                move_to(value, source);
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) | Yaml::Text(_) => {}
    }
}

/// Calls `found` for each plain scalar in the place of a secret and each URL with credentials.
fn walk(node: &Node, keys: &[&str], secret: bool, found: &mut impl FnMut(&Place, &str)) {
    match &node.value {
        Yaml::Text(text) if secret || has_credentials(text) => found(&node.place, text),
        Yaml::Number(number) if secret => found(&node.place, &number.to_string()),
        Yaml::List(items) => items.iter().for_each(|item| walk(item, keys, secret, found)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                // Inside `{env: NAME}` names are shown; `password` is also the name of a way to authenticate.
                let inner = keys.contains(&key.name.as_str()) && !matches!(value.value, Yaml::Map(_));
                walk(value, keys, inner, found);
            }
        }
        Yaml::Text(_) | Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => {}
    }
}

fn has_credentials(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|authority| authority.contains('@')))
}

/// Stars from the place on: to the line's end, and over as many further lines as the text has.
fn mask_place(lines: &mut [Vec<char>], place: &Place, text: &str) -> bool {
    let first = (place.line as usize).saturating_sub(1);
    // A folded or quoted scalar may stand on more lines than its value has; masking too much harms nobody.
    let further = text.matches('\n').count() + usize::from(place.length as usize > text.chars().count() + 2) * 2;
    let mut hidden = false;
    for (index, line) in lines.iter_mut().enumerate().skip(first).take(further + 1) {
        let from = if index == first { (place.column as usize).saturating_sub(1) } else { 0 };
        let single = index == first && further == 0 && place.length > 0;
        let to = if single { (from + place.length as usize).min(line.len()) } else { line.len() };
        for character in line.iter_mut().take(to).skip(from) {
            if *character != '\r' {
                *character = '*';
                hidden = true;
            }
        }
    }
    hidden
}

/// For a text that is no YAML: stars behind every key that names a secret.
fn mask_line(line: &mut [char], keys: &[&str]) -> bool {
    let text: String = line.iter().collect();
    let Some(at) = keys.iter().filter_map(|key| text.find(&format!("{key}:")).map(|at| at + key.len() + 1)).min() else {
        return false;
    };
    let from = text[..at].chars().count();
    let mut hidden = false;
    for character in line.iter_mut().skip(from).filter(|c| !matches!(**c, ' ' | '\r' | '[' | ']' | '{' | '}' | ',' | '"' | '\'')) {
        *character = '*';
        hidden = true;
    }
    hidden
}
