//! Orchestrators: where they are, which product they are, how to authenticate.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;

use super::files::Base;
use super::shapes;
use super::url::{service_url, without_slash};
use crate::event::is_plain_name;
use crate::fault::{Fault, Faults, nearest};
use crate::rules::FolderRef;
use crate::secret::SecretRef;
use crate::time::Rate;
use crate::yaml::secret;
use crate::yaml::{Fields, KeyNode, Node, Yaml};

/// One orchestrator.
#[derive(Clone, Debug)]
pub struct OrchestratorConfig {
    /// Its name here.
    pub name: Arc<str>,
    /// Base URL without a slash at the end.
    pub url: String,
    /// Which product it is: decides URL shapes, headers, token URLs.
    pub edition: Edition,
    /// Sent as `X-UIPATH-TenantName` where the edition needs it.
    pub tenant: Option<String>,
    /// How to authenticate.
    pub auth: AuthConfig,
    /// Default folder.
    pub folder: Option<FolderRef>,
    /// Our share of list requests; for polling.
    pub list_rate: Option<Rate>,
}

impl OrchestratorConfig {
    /// The URL that stands for the tenant in keys: lower-case scheme and host, no default port, no slash at the end.
    #[must_use]
    pub fn canonical_url(&self) -> Arc<str> {
        match Url::parse(&self.url) {
            Ok(url) => Arc::from(without_slash(&url)),
            Err(_) => Arc::from(self.url.trim_end_matches('/').to_lowercase()),
        }
    }
}

/// Which product an orchestrator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// Automation Cloud.
    Cloud,
    /// Automation Suite.
    Suite,
    /// Standalone.
    Standalone,
}

/// How to authenticate to an orchestrator.
#[derive(Clone, Debug)]
pub enum AuthConfig {
    /// OAuth 2 client credentials of an external application.
    ClientCredentials {
        /// App id.
        client_id: String,
        /// App secret.
        client_secret: SecretRef,
        /// Application scopes, separated by spaces.
        scope: String,
        /// In place of the edition's own.
        token_url: Option<String>,
    },
    /// A personal access token.
    Token(SecretRef),
    /// A user key (refresh token) of the older cloud.
    UserKey {
        /// Client id.
        client_id: String,
        /// The user key.
        refresh_token: SecretRef,
        /// In place of `https://account.uipath.com/oauth/token`.
        token_url: Option<String>,
    },
    /// Name and password (`api/Account/Authenticate`).
    Password {
        /// User name or e-mail.
        username: String,
        /// Password.
        password: SecretRef,
    },
}

impl AuthConfig {
    /// The one secret of it, and the key it stands under.
    #[must_use]
    pub fn secret(&self) -> (&'static str, &SecretRef) {
        match self {
            Self::ClientCredentials { client_secret, .. } => ("client_secret", client_secret),
            Self::Token(token) => ("token", token),
            Self::UserKey { refresh_token, .. } => ("refresh_token", refresh_token),
            Self::Password { password, .. } => ("password", password),
        }
    }
}

/// Reads `orchestrators`.
pub(super) fn decode(node: &Node, base: &Base, faults: &mut Faults) -> BTreeMap<Arc<str>, OrchestratorConfig> {
    let Some(entries) = node.as_map() else {
        let message = format!("`orchestrators` is {}; expected a mapping from names to orchestrators", node.kind());
        faults.push(Fault::error("wrong-type", node.place.clone(), message));
        return BTreeMap::new();
    };
    entries
        .iter()
        .filter_map(|(key, node)| {
            check_name(key, "orchestrator", faults);
            one(key, node, base, faults).map(|orchestrator| (Arc::clone(&orchestrator.name), orchestrator))
        })
        .collect()
}

/// A name goes into paths, events and metric labels.
pub(super) fn check_name(key: &KeyNode, what: &str, faults: &mut Faults) {
    if !is_plain_name(&key.name) {
        let message = format!("`{}` is no name for {what}; expected 1 to 64 letters, digits, `_` and `-`", key.name);
        faults.push(Fault::error("name", key.place.clone(), message));
    }
}

fn one(key: &KeyNode, node: &Node, base: &Base, faults: &mut Faults) -> Option<OrchestratorConfig> {
    let what = format!("orchestrator `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::ORCHESTRATOR, faults)?;
    let edition_written = fields.text("edition", faults);
    let url = fields
        .require("url", &what, faults)
        .and_then(|_| fields.text("url", faults))
        .and_then(|(text, place)| service_url(text, "url", place, faults).map(|url| (url, place)));
    let edition = match (edition_written, &url) {
        (Some((text, place)), _) => match text {
            "cloud" => Some(Edition::Cloud),
            "suite" => Some(Edition::Suite),
            "standalone" => Some(Edition::Standalone),
            _ => {
                let fault =
                    Fault::error("edition", place.clone(), format!("unknown edition `{text}`; expected cloud, suite or standalone"));
                faults.push(match nearest(text, ["cloud", "suite", "standalone"]) {
                    Some(name) => fault.help(format!("did you mean `{name}`?")),
                    None => fault,
                });
                None
            }
        },
        (None, Some((url, _))) if is_cloud(url) => Some(Edition::Cloud),
        (None, Some(_)) if fields.get("edition").is_none() => {
            let message = format!("{what} has no `edition`, and its host is not of Automation Cloud");
            let help = "add `edition: suite` (Automation Suite) or `edition: standalone`; `cloud` for Automation Cloud under another host";
            faults.push(Fault::error("missing-key", key.place.clone(), message).help(help));
            None
        }
        _ => None,
    };
    if let Some((url, place)) = &url {
        check_path(url, place, faults);
    }
    let tenant = fields.text("tenant", faults).and_then(|(text, place)| {
        if text.is_empty() || text.chars().any(char::is_control) {
            faults.push(Fault::error("tenant", place.clone(), "`tenant` is empty or has control characters; expected the tenant's name"));
            return None;
        }
        Some(text.to_owned())
    });
    let folder = fields.get("folder").and_then(|node| folder(node, faults));
    let auth = fields.require("auth", &what, faults).and_then(|node| auth(node, &what, base, faults));
    if let (Some(AuthConfig::Password { .. }), Some(Edition::Cloud)) = (&auth, edition) {
        let message = "Automation Cloud has no name-and-password authentication for its API";
        let place = fields.get("auth").map_or_else(|| key.place.clone(), |node| node.place.clone());
        faults.push(Fault::error("auth", place, message).help("register an external application and use `client_credentials`"));
    }
    Some(OrchestratorConfig {
        name: Arc::from(key.name.as_str()),
        url: without_slash(&url?.0),
        edition: edition?,
        tenant,
        auth: auth?,
        folder,
        list_rate: fields.get("rate").and_then(|node| list_rate(node, faults)),
    })
}

fn list_rate(node: &Node, faults: &mut Faults) -> Option<Rate> {
    let fields = Fields::read(node, "`rate`", &shapes::RATE, faults)?;
    let (text, place) = fields.text("list", faults)?;
    match Rate::parse(text) {
        Ok(rate) => Some(rate),
        Err(message) => {
            faults.push(Fault::error("rate", place.clone(), format!("`list`: {message}")).help("expected one such as `50/min`"));
            None
        }
    }
}

fn is_cloud(url: &Url) -> bool {
    url.host_str().is_some_and(|host| host == "uipath.com" || host.ends_with(".uipath.com"))
}

/// The base is what stands before `/odata` and `/api`.
fn check_path(url: &Url, place: &crate::fault::Place, faults: &mut Faults) {
    for end in ["/odata", "/api", "/swagger"] {
        if url.path().to_ascii_lowercase().ends_with(end) {
            let message = format!("`url` ends with `{end}`, which is added to it for each call");
            faults.push(Fault::error("url", place.clone(), message).help(format!("remove `{end}`")));
            return;
        }
    }
    if is_cloud(url) && !url.path().to_ascii_lowercase().ends_with("/orchestrator_") {
        let message = "`url` of Automation Cloud does not end with `/orchestrator_`";
        let help = "expected https://cloud.uipath.com/ORGANIZATION/TENANT/orchestrator_";
        faults.push(Fault::warning("url", place.clone(), message).help(help));
    }
}

/// A folder by path, `{id: 1964513}` or `{key: GUID}`.
pub(super) fn folder(node: &Node, faults: &mut Faults) -> Option<FolderRef> {
    const EXPECTED: &str = "expected a path such as `Finance/Invoices`, `{id: 1964513}` or `{key: GUID}`";
    let place = node.place.clone();
    let fail = |message: String| Fault::error("folder", place.clone(), message);
    if let Yaml::Text(path) = &node.value {
        let bad = path.is_empty() || path.starts_with('/') || path.ends_with('/') || path.chars().any(char::is_control);
        if bad {
            faults.push(fail(format!("`folder` is `{path}`; {EXPECTED}")).help("write the fully qualified name without slashes around it"));
            return None;
        }
        return Some(FolderRef::Path(path.clone()));
    }
    let fields = Fields::read(node, "`folder`", &shapes::FOLDER, faults)?;
    match (fields.get("id"), fields.get("key")) {
        (Some(_), None) => {
            fields.integer("id", 1..=i64::MAX.unsigned_abs(), faults).and_then(|id| i64::try_from(id).ok()).map(FolderRef::Id)
        }
        (None, Some(_)) => {
            let (key, at) = fields.text("key", faults)?;
            let shape: Vec<usize> = key.split('-').map(str::len).collect();
            if shape != [8, 4, 4, 4, 12] || !key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
                let message = format!("`key` is `{key}`; expected a GUID such as 1f6bd2a5-0000-4000-8000-9c2b8a7d6e5f");
                faults.push(Fault::error("folder", at.clone(), message));
                return None;
            }
            Some(FolderRef::Key(key.to_ascii_lowercase()))
        }
        _ => {
            faults.push(fail(format!("`folder` names no folder or two; {EXPECTED}")));
            None
        }
    }
}

fn auth(node: &Node, what: &str, base: &Base, faults: &mut Faults) -> Option<AuthConfig> {
    let fields = Fields::read(node, &format!("`auth` of {what}"), &shapes::AUTH, faults)?;
    let written: Vec<&str> = shapes::AUTH.names().filter(|kind| fields.get(kind).is_some()).collect();
    let [kind] = written.as_slice() else {
        let message = match written.len() {
            0 => format!("`auth` of {what} names no way to authenticate"),
            _ => format!("`auth` of {what} names {} ways to authenticate: {}", written.len(), written.join(", ")),
        };
        faults.push(
            Fault::error("auth", node.place.clone(), message).help(format!("write exactly one of {}", shapes::AUTH.one_of.join(", "))),
        );
        return None;
    };
    let inner = fields.get(kind)?;
    match *kind {
        "client_credentials" => {
            let fields = Fields::read(inner, "`client_credentials`", &shapes::CLIENT_CREDENTIALS, faults)?;
            let client_id = required_text(&fields, "client_id", faults);
            let client_secret = required_secret(&fields, "client_secret", base, faults);
            let scope = fields.require("scope", "`client_credentials`", faults).and_then(|_| fields.texts("scope", faults));
            let token_url = token_url(&fields, faults);
            let scope = scope?.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(" ");
            Some(AuthConfig::ClientCredentials { client_id: client_id?, client_secret: client_secret?, scope, token_url })
        }
        "token" => secret::decode(inner, "`token`", base.folder(), faults).map(AuthConfig::Token),
        "user_key" => {
            let fields = Fields::read(inner, "`user_key`", &shapes::USER_KEY, faults)?;
            let client_id = required_text(&fields, "client_id", faults);
            let refresh_token = required_secret(&fields, "refresh_token", base, faults);
            let token_url = token_url(&fields, faults);
            Some(AuthConfig::UserKey { client_id: client_id?, refresh_token: refresh_token?, token_url })
        }
        _ => {
            let fields = Fields::read(inner, "`password`", &shapes::PASSWORD, faults)?;
            let username = required_text(&fields, "username", faults);
            let password = required_secret(&fields, "password", base, faults);
            Some(AuthConfig::Password { username: username?, password: password? })
        }
    }
}

fn required_text(fields: &Fields<'_>, name: &str, faults: &mut Faults) -> Option<String> {
    fields.require(name, "`auth`", faults)?;
    let (text, place) = fields.text(name, faults)?;
    if text.is_empty() {
        faults.push(Fault::error("empty", place.clone(), format!("`{name}` is empty")));
        return None;
    }
    Some(text.to_owned())
}

fn required_secret(fields: &Fields<'_>, name: &str, base: &Base, faults: &mut Faults) -> Option<SecretRef> {
    let node = fields.require(name, "`auth`", faults)?;
    secret::decode(node, &format!("`{name}`"), base.folder(), faults)
}

fn token_url(fields: &Fields<'_>, faults: &mut Faults) -> Option<String> {
    let (text, place) = fields.text("token_url", faults)?;
    service_url(text, "token_url", place, faults).map(|url| without_slash(&url))
}
