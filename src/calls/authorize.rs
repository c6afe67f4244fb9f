//! How a request shows who sends it, as far as that needs no token endpoint: pure functions of the request and its secrets.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::wire::Wire;
use crate::connectors::auth::{Auth, Encoding, HmacAlgorithm, HmacAuth, KeyPlace};
use crate::connectors::{Access, Connector};
use crate::expr::Scope;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What authorises a request besides the values of its connector.
#[derive(Clone, Copy, Debug)]
pub(super) struct With<'a> {
    /// The value of `Authorization`, where a token endpoint gave a token.
    pub(super) bearer: Option<&'a Secret>,
    /// The time that a signature names.
    pub(super) now: Timestamp,
}

/// Puts what authorises it into a request. Secrets are in it from here on: it is not for output any more.
///
/// # Errors
/// What cannot be sent so; no secret is in the text.
pub(super) fn authorize(wire: &mut Wire, connector: &Connector, access: &Access, with: With<'_>) -> Result<(), String> {
    let value = |name: &str| access.auth.get(name).map(Secret::expose).ok_or_else(|| format!("`auth.{name}` has no value"));
    match &connector.auth {
        Auth::None => {}
        Auth::Bearer { .. } => wire.set_header("authorization", format!("Bearer {}", value("bearer")?.trim())),
        Auth::Basic { .. } => {
            let (username, password) = (value("username")?, value("password")?);
            if username.contains(':') {
                return Err("`auth.basic.username` has a colon, where a Basic header has the password begin".to_owned());
            }
            wire.set_header("authorization", format!("Basic {}", STANDARD.encode(format!("{username}:{password}"))));
        }
        Auth::ApiKey { place: KeyPlace::Header, name, .. } => wire.set_header(name, value("value")?.trim().to_owned()),
        Auth::ApiKey { place: KeyPlace::Query, name, .. } => {
            wire.query.retain(|(written, _)| written != name);
            wire.query.push((name.clone(), value("value")?.to_owned()));
        }
        Auth::OAuth2(_) | Auth::Orchestrator => {
            let bearer = with.bearer.ok_or("there is no token")?;
            wire.set_header("authorization", bearer.expose().to_owned());
        }
        Auth::Hmac(scheme) => sign(wire, scheme, access, value("secret")?, with.now)?,
    }
    Ok(())
}

/// Signs the request as it is sent.
fn sign(wire: &mut Wire, scheme: &HmacAuth, access: &Access, key: &str, now: Timestamp) -> Result<(), String> {
    let seconds = now.as_millis().div_euclid(1000);
    if let Some(header) = &scheme.timestamp_header {
        wire.set_header(header, seconds.to_string());
    }
    let text = match wire.body.as_ref().map(|body| std::str::from_utf8(body)).transpose() {
        Ok(text) => text.unwrap_or_default(),
        Err(_) if !scheme.content.references().iter().any(|path| path.starts_with("request.body")) => "",
        Err(_) => return Err("a body that is no text cannot be signed".to_owned()),
    };
    let (request, timestamp) = (seen(wire, text), json!(seconds));
    let scope = Scope::new().bind("request", &request).bind("timestamp", &timestamp).bind("config", access.config()).at(now);
    let content = scheme.content.render_text(&scope, |_, value| value).map_err(|error| format!("`auth.hmac.content`: {error}"))?;
    let algorithm = match scheme.algorithm {
        HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
    };
    let mac = hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), content.as_bytes());
    let written = match scheme.encoding {
        Encoding::Hex => mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        Encoding::Base64 => STANDARD.encode(mac.as_ref()),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(mac.as_ref()),
    };
    wire.set_header(&scheme.header, format!("{}{written}", scheme.prefix));
    Ok(())
}

/// `request` as the text that is signed sees it: exactly what is sent.
fn seen(wire: &Wire, body: &str) -> Value {
    let path =
        wire.url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| rest[at..].to_owned())).unwrap_or_else(|| "/".into());
    let headers: Map<String, Value> = wire.headers.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "method": wire.method,
        "url": wire.full_url(),
        "path": path,
        "query": wire.encoded_query(),
        "headers": headers,
        "body": body,
    })
}
