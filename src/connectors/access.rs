//! What a connector is used with: the values of its `config` and of its `auth`, read once. Nothing here prints a secret.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::secret::Secret;

/// The values that a connector is used with.
#[derive(Clone, Debug)]
pub struct Access {
    /// The connector's name.
    pub connector: Arc<str>,
    /// `config` as expressions see it, secret values among it: for rendering only.
    config: Hidden,
    /// The texts of [`super::Auth::values`], by their names.
    pub auth: BTreeMap<&'static str, Secret>,
    /// Everything that must not be shown, in each form in which it may stand in a text.
    hidden: Arc<[Secret]>,
}

/// A value that does not print.
#[derive(Clone)]
struct Hidden(Value);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Stands in for a secret.
pub const MASK: &str = "***";

/// A secret with fewer bytes is not looked for in texts: it would hit by chance.
const HIDDEN_BYTES_MIN: usize = 4;

impl Access {
    /// Takes what was read. `hidden` are the secret values of `config`; those of `auth` are hidden as well.
    #[must_use]
    pub fn new(connector: Arc<str>, config: Value, auth: BTreeMap<&'static str, Secret>, mut hidden: Vec<Secret>) -> Self {
        hidden.extend(auth.iter().filter(|(name, _)| !matches!(**name, "username" | "client_id")).map(|(_, secret)| secret.clone()));
        hidden.retain(|secret| secret.len() >= HIDDEN_BYTES_MIN);
        let encoded = |secret: &Secret| url::form_urlencoded::byte_serialize(secret.expose().as_bytes()).collect::<String>();
        let differing = hidden.iter().map(|secret| (secret, encoded(secret))).filter(|(secret, encoded)| encoded != secret.expose());
        let encoded: Vec<Secret> = differing.map(|(_, encoded)| Secret::new(encoded)).collect();
        hidden.extend(encoded);
        // The longest first, so that a secret that holds another is hidden whole.
        hidden.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { connector, config: Hidden(config), auth, hidden: hidden.into() }
    }

    /// `config` as expressions see it, secret values among it: for rendering, never for output.
    #[must_use]
    pub fn config(&self) -> &Value {
        &self.config.0
    }

    /// What must not be shown, the longest first.
    #[must_use]
    pub fn hidden(&self) -> &[Secret] {
        &self.hidden
    }

    /// A text with `***` in place of every secret in it, also where it is percent-encoded.
    #[must_use]
    pub fn mask(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.hidden.iter() {
            if text.contains(secret.expose()) {
                text = text.replace(secret.expose(), MASK);
            }
        }
        text
    }

    /// A value with `***` in place of every secret in its texts.
    #[must_use]
    pub fn mask_value(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.mask(text)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.mask_value(item)).collect()),
            Value::Object(map) => Value::Object(map.iter().map(|(key, item)| (key.clone(), self.mask_value(item))).collect()),
            other => other.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_do_not_print() {
        let auth = BTreeMap::from([("bearer", Secret::new("s3cr3t/long".to_owned())), ("username", Secret::new("anna".to_owned()))]);
        let access = Access::new("x".into(), json!({"url": "https://h/t0k3n"}), auth, vec![Secret::new("https://h/t0k3n".to_owned())]);
        assert!(!format!("{access:?}").contains("t0k3n"));
        let shown = access.mask_value(&json!({"a": ["GET https://h/t0k3n/x", "Bearer s3cr3t/long of anna", "s3cr3t%2Flong"], "n": 1}));
        assert_eq!(shown, json!({"a": ["GET ***/x", "Bearer *** of anna", "***"], "n": 1}));
    }
}
