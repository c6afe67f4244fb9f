//! Secrets as files write them: the place a value is read from, never the value.

use std::path::{Component, Path};

use super::shape::{Form, Shape, key};
use super::{Fields, Node, Yaml};
use crate::fault::{Fault, Faults};
use crate::secret::{Secret, SecretFrom, SecretRef};

/// What may stand where a secret is expected.
pub const A_SECRET: Form = Form::AnyOf(&[Form::Object(&SECRET), Form::Text]);

/// A secret.
pub static SECRET: Shape = Shape {
    name: "secret",
    about: "Where a secret is read from: exactly one place.",
    keys: &[
        key("env", Form::Text, "An environment variable."),
        key("file", Form::Text, "A file, relative to this one."),
        key("credential", Form::Text, "A systemd credential."),
    ],
    one_of: &["env", "file", "credential"],
    ..Shape::EMPTY
};

/// Reads `{env: …}`, `{file: …}`, `{credential: …}` or a plain string. `what` names it in messages, `base` is the folder
/// that a relative `file` is relative to.
pub fn decode(node: &Node, what: &str, base: &Path, faults: &mut Faults) -> Option<SecretRef> {
    const EXPECTED: &str = "write `{env: NAME}`, `{file: PATH}` or `{credential: NAME}`";
    let place = node.place.clone();
    if let Yaml::Text(text) = &node.value {
        if let Some(name) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) {
            let message = format!("{what} is `${{{name}}}`, which is not expanded here");
            faults.push(Fault::error("secret-template", place, message).help(format!("write `{{env: {name}}}`")));
            return None;
        }
        if text.is_empty() {
            faults.push(Fault::error("secret-empty", place, format!("{what} is empty")).help(EXPECTED));
            return None;
        }
        return Some(SecretRef { from: SecretFrom::Plain(Secret::new(text.clone())), place });
    }
    if node.as_map().is_none() {
        faults.push(Fault::error("wrong-type", place, format!("{what} is {}; expected a secret", node.kind())).help(EXPECTED));
        return None;
    }
    let fields = Fields::read(node, what, &SECRET, faults)?;
    let mut found = Vec::new();
    if let Some((name, at)) = fields.text("env", faults) {
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !plain {
            let message = format!("`{name}` is no name of an environment variable; expected letters, digits and `_`");
            faults.push(Fault::error("secret-name", at.clone(), message));
            return None;
        }
        found.push(SecretFrom::Env(name.to_owned()));
    }
    if let Some((path, _)) = fields.text("file", faults) {
        found.push(SecretFrom::File(base.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()));
    }
    if let Some((name, at)) = fields.text("credential", faults) {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            let message = format!("`{name}` is no credential name; expected a file name in $CREDENTIALS_DIRECTORY");
            faults.push(Fault::error("secret-name", at.clone(), message));
            return None;
        }
        found.push(SecretFrom::Credential(name.to_owned()));
    }
    if fields.entries().len() == 1 && found.len() == 1 {
        return found.pop().map(|from| SecretRef { from, place });
    }
    if fields.entries().len() != 1 {
        faults.push(Fault::error("secret", place, format!("{what} names {} places", fields.entries().len())).help(EXPECTED));
    } else if fields.entries().iter().any(|(_, node)| matches!(node.value, Yaml::Null)) {
        faults.push(Fault::error("secret", place, format!("{what} names no place")).help(EXPECTED));
    }
    None
}
