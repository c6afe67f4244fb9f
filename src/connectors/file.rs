//! Values of type `file`.

use base64::Engine as _;
use serde_json::Value;

/// A file: its bytes, and what is said of them.
pub(super) struct File {
    pub(super) name: Option<String>,
    pub(super) content_type: Option<String>,
    pub(super) bytes: Vec<u8>,
}

/// Whether a value is a file: a text, or `{name, content_type, text | base64}`.
pub(super) fn is_file(value: &Value) -> bool {
    value.is_string() || (value.is_object() && of(value).is_ok())
}

/// Reads a file. Anything else than a text or such a mapping is sent as JSON.
///
/// # Errors
/// Text that is no base64, with what to write.
pub(super) fn of(value: &Value) -> Result<File, String> {
    let plain = |bytes: Vec<u8>| File { name: None, content_type: None, bytes };
    let map = match value {
        Value::String(text) => return Ok(plain(text.clone().into_bytes())),
        Value::Object(map) => map,
        other => return Ok(plain(other.to_string().into_bytes())),
    };
    let text = |key: &str| map.get(key).and_then(Value::as_str);
    let known = map.keys().all(|key| matches!(key.as_str(), "name" | "content_type" | "text" | "base64"));
    let bytes = match (text("text"), text("base64")) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(packed)) => {
            let packed: String = packed.chars().filter(|c| !c.is_whitespace()).collect();
            base64::prelude::BASE64_STANDARD.decode(&packed).map_err(|_| "`base64` of the file is no base64".to_owned())?
        }
        _ => return Err("a file needs exactly one of `text` and `base64`".to_owned()),
    };
    if !known {
        return Err("a file has `name`, `content_type`, and `text` or `base64`, nothing else".to_owned());
    }
    Ok(File { name: text("name").map(str::to_owned), content_type: text("content_type").map(str::to_owned), bytes })
}
