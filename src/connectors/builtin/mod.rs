//! Orchestrator as a connector that is always there: what the typed steps do not cover, and connections of Integration
//! Service. Where it is, who asks and which folder is meant come from the configured orchestrator.

mod table;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::auth::Auth;
use super::model::{ConfigValue, Connector};
use super::operation::{FieldKind, InputField};
use super::request::{CallRequest, Content};
use super::set::Connectors;
use crate::expr::{At, ExpressionFault};
use crate::fault::SourceText;

/// The name of the connector where one orchestrator is configured; each one is there as `orchestrator:NAME` too.
pub const ORCHESTRATOR: &str = "orchestrator";

/// The header that names a folder by its path, in any letters.
pub const FOLDER_PATH_HEADER: &str = "X-UIPATH-FolderPath-Encoded";

/// One configured orchestrator, as far as its connector needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrchestratorSite {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Its base URL.
    pub url: String,
    /// The tenant's name, where a header must say it.
    pub tenant: Option<String>,
    /// The header of the default folder.
    pub folder: Option<(String, String)>,
}

/// The value of [`FOLDER_PATH_HEADER`]: base64 of UTF-16, little end first.
#[must_use]
pub fn folder_path_value(path: &str) -> String {
    STANDARD.encode(path.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>())
}

impl Connectors {
    /// With a connector for each orchestrator. The files cannot have such names.
    #[must_use]
    pub fn with_orchestrators(self, sites: &[OrchestratorSite]) -> Self {
        let Some(form) = form().filter(|_| !sites.is_empty()) else { return self };
        let named = sites.iter().map(|site| at_site(form, format!("{ORCHESTRATOR}:{}", site.name), site));
        let only = if let [only] = sites { Some(at_site(form, ORCHESTRATOR.to_owned(), only)) } else { None };
        self.and(named.chain(only))
    }
}

impl Connector {
    /// The orchestrator whose connector this is, where it is named.
    #[must_use]
    pub fn orchestrator(&self) -> Option<&str> {
        self.name.strip_prefix(ORCHESTRATOR)?.strip_prefix(':')
    }

    /// Whether a call of this operation must say a folder: it is of a folder, and the orchestrator has none of its own. What is
    /// known of an orchestrator without its URL says nothing.
    #[must_use]
    pub fn lacks_folder(&self, operation: &str) -> bool {
        let set = |name: &str| match self.config.iter().find(|field| *field.name == *name)?.value.as_ref()? {
            ConfigValue::Plain(Value::String(text)) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => None,
        };
        let of_a_folder = matches!(self.auth, Auth::Orchestrator) && !table::OF_THE_TENANT.contains(&operation);
        of_a_folder && set("url").is_some() && set("folder_header").is_none()
    }
}

/// The connector before it knows an orchestrator; read once.
fn form() -> Option<&'static Connector> {
    static FORM: OnceLock<Option<Connector>> = OnceLock::new();
    FORM.get_or_init(|| {
        let source = Arc::new(SourceText { path: Path::new("(built in)").join("orchestrator.yaml"), text: table::text() });
        let (read, _faults) = Connectors::load(&[source], None);
        let mut connector = Connector::clone(read.get(ORCHESTRATOR)?);
        connector.auth = Auth::Orchestrator;
        for (name, operation) in &mut connector.operations {
            let operation = Arc::make_mut(operation);
            let place = operation.place.clone();
            let field = |name: &str, kind, description: &str| InputField {
                name: name.into(),
                kind,
                required: false,
                default: None,
                choices: Vec::new(),
                min: None,
                max: None,
                min_length: None,
                max_length: None,
                pattern: None,
                label: None,
                description: Some(description.to_owned()),
                primary: false,
                place: place.clone(),
            };
            if !table::OF_THE_TENANT.contains(&&**name) || matches!(&**name, "request" | "call_connection") {
                operation.input.push(field(
                    "folder",
                    FieldKind::String,
                    "The folder by its path; the orchestrator's own where none is said",
                ));
                operation.input.push(field("organizationUnitId", FieldKind::Integer, "The folder by its id"));
                operation.input.push(field("folderKey", FieldKind::String, "The folder by its key"));
            }
            // Orchestrator knows no such header.
            operation.idempotency_header = None;
        }
        Some(connector)
    })
    .as_ref()
}

fn at_site(form: &Connector, name: String, site: &OrchestratorSite) -> Arc<Connector> {
    let mut connector = form.clone();
    connector.name = name.into();
    let url = site.url.trim_end_matches('/');
    let platform = url.strip_suffix("/orchestrator_").unwrap_or(url);
    let (header, value) = site.folder.clone().unzip();
    for field in &mut connector.config {
        let text = match &*field.name {
            "url" => Some(url.to_owned()),
            "platform" => Some(platform.to_owned()),
            "tenant" => site.tenant.clone(),
            "folder_header" => header.clone(),
            _ => value.clone(),
        };
        field.value = text.map(|text| ConfigValue::Plain(Value::String(text)));
    }
    Arc::new(connector)
}

/// What templates cannot say: the folder's header, and paths that a call names whole.
///
/// # Errors
/// There is no folder where one is needed, or the path would leave the API.
pub(super) fn finish(request: &mut CallRequest, input: &Value, config: &Value, at: &At<'_>) -> Result<(), ExpressionFault> {
    let said = |name: &str| input.get(name).filter(|value| !value.is_null());
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let folder = if let Some(id) = said("organizationUnitId") {
        Some(("X-UIPATH-OrganizationUnitId".to_owned(), id.to_string()))
    } else if let Some(key) = text(input, "folderKey") {
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(at.field("folderKey").fault("the folder's key is no GUID"));
        }
        Some(("X-UIPATH-FolderKey".to_owned(), key))
    } else if let Some(path) = text(input, "folder") {
        Some((FOLDER_PATH_HEADER.to_owned(), folder_path_value(&path)))
    } else {
        text(config, "folder_header").zip(text(config, "folder_value"))
    };
    let of_the_tenant = table::OF_THE_TENANT.contains(&&*request.operation);
    match folder {
        Some((name, value)) => drop(request.headers.insert(name.to_ascii_lowercase(), value)),
        None if of_the_tenant => {}
        None => {
            return Err(
                at.fault("no folder is said, which Orchestrator refuses (error 1101): say `folder`, or set `folder` of the orchestrator")
            );
        }
    }
    let platform = text(config, "platform").unwrap_or_default();
    match &*request.operation {
        "request" => open_request(request, &text(config, "url").unwrap_or_default(), "", input, at),
        "call_connection" => {
            let connection = text(input, "connectionId").unwrap_or_default();
            if connection.is_empty() || !connection.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')) {
                return Err(at.field("connectionId").fault("this is no id of a connection: expected letters, digits, `-` and `_`"));
            }
            // Folders are named here by the same headers.
            open_request(request, &platform, &format!("/elements_/v3/element/instances/{connection}"), input, at)
        }
        "get_connections" | "get_connection" => {
            let url = text(config, "url").unwrap_or_default();
            request.url = format!("{platform}{}", request.url.strip_prefix(&url).unwrap_or_default());
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A request of which the call says method, path, query and body.
fn open_request(request: &mut CallRequest, base: &str, below: &str, input: &Value, at: &At<'_>) -> Result<(), ExpressionFault> {
    const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE"];
    let method = input.get("method").and_then(Value::as_str).unwrap_or("GET");
    request.method = METHODS.iter().find(|known| **known == method).ok_or_else(|| at.field("method").fault("unknown method"))?;
    request.idempotent = !matches!(request.method, "POST" | "PATCH");
    let path = input.get("path").and_then(Value::as_str).unwrap_or_default();
    if let Some(why) = leaves(path) {
        return Err(at.field("path").fault(why));
    }
    request.url = format!("{base}{below}{path}");
    if let Some(Value::Object(query)) = input.get("query") {
        for (name, value) in query.iter().filter(|(_, value)| !value.is_null()) {
            request.query.push((name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
    }
    request.content = match input.get("body") {
        Some(body @ Value::Object(_)) => Content::Json(body.clone()),
        _ => Content::Empty,
    };
    Ok(())
}

/// Why a path would not stay below the base URL, or would say more than a path.
fn leaves(path: &str) -> Option<&'static str> {
    let plain = path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    if !path.starts_with('/') || plain.starts_with("//") {
        return Some("the path begins with one `/`: /odata/QueueItems");
    }
    if plain.contains(['?', '#', '\\']) {
        return Some("the path has `?`, `#` or a backslash; what is asked for goes into `query`");
    }
    if plain.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Some("a segment of the path is `.` or `..`, so that it would leave the API");
    }
    path.chars().any(|c| c.is_control() || c == ' ').then_some("the path has a space or a control character; write `%20`")
}
