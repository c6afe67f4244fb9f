//! Reading `auth`.

use std::path::Path;

use super::auth::{Auth, AuthValue, ClientAuth, Encoding, Grant, HmacAlgorithm, HmacAuth, KeyPlace, OAuth2};
use super::auth_shapes::{self as shapes, AUTHS};
use super::decode::{Decoder, SIGNED, is_header_name};
use crate::expr::Template;
use crate::fault::nearest;
use crate::yaml::shape::Shape;
use crate::yaml::{Fields, Node, secret};

/// Reads `auth`; `base` is the folder of the file.
pub(super) fn auth(node: Option<&Node>, base: &Path, decoder: &mut Decoder<'_>) -> Option<Auth> {
    let Some(node) = node else { return Some(Auth::None) };
    if let Some(word) = node.as_text() {
        if word == "none" {
            return Some(Auth::None);
        }
        let fault = format!("unknown way of authorising `{word}`");
        let help = match nearest(word, AUTHS.iter().copied()) {
            Some(near) => format!("did you mean `{near}: …`?"),
            None => format!("known are: none, {}", AUTHS.join(", ")),
        };
        decoder.error_help("unknown-auth", &node.place, fault, help);
        return None;
    }
    let fields = Fields::read(node, "`auth`", &shapes::AUTH, decoder.faults)?;
    let [(key, inner)] = fields.entries() else {
        let message = format!("`auth` names {} ways; expected exactly one of {}", fields.entries().len(), AUTHS.join(", "));
        decoder.error("bad-value", fields.place, message);
        return None;
    };
    match key.name.as_str() {
        "bearer" => value(inner, "auth.bearer", base, decoder).map(|secret| Auth::Bearer { secret }),
        "basic" => {
            let fields = part(inner, "`auth.basic`", &shapes::BASIC, decoder)?;
            let username = needed(&fields, "username", "`auth.basic`", base, decoder);
            let password = needed(&fields, "password", "`auth.basic`", base, decoder);
            Some(Auth::Basic { username: username?, password: password? })
        }
        "api_key" => {
            let fields = part(inner, "`auth.api_key`", &shapes::API_KEY, decoder)?;
            let place = word(&fields, "in", &[("header", KeyPlace::Header), ("query", KeyPlace::Query)], KeyPlace::Header, decoder);
            let name = text(&fields, "name", "`auth.api_key`", decoder);
            let value = needed(&fields, "value", "`auth.api_key`", base, decoder);
            let (place, name) = (place?, name?);
            if place == KeyPlace::Header && !header(&fields, "name", &name, decoder) {
                return None;
            }
            Some(Auth::ApiKey { place, name, value: value? })
        }
        "oauth2" => oauth2(inner, base, decoder).map(|oauth2| Auth::OAuth2(Box::new(oauth2))),
        "hmac" => hmac(inner, base, decoder).map(|hmac| Auth::Hmac(Box::new(hmac))),
        // Reported as an unknown key.
        _ => None,
    }
}

fn oauth2(node: &Node, base: &Path, decoder: &mut Decoder<'_>) -> Option<OAuth2> {
    let fields = Fields::read(node, "`auth.oauth2`", &shapes::OAUTH2, decoder.faults)?;
    let (inner, refresh) = match (fields.get("client_credentials"), fields.get("refresh_token")) {
        (Some(inner), None) => (inner, false),
        (None, Some(inner)) => (inner, true),
        _ => {
            decoder.error("bad-value", fields.place, "`auth.oauth2` needs exactly one of `client_credentials` and `refresh_token`");
            return None;
        }
    };
    let (what, shape) = if refresh {
        ("`auth.oauth2.refresh_token`", &shapes::OAUTH2_REFRESH)
    } else {
        ("`auth.oauth2.client_credentials`", &shapes::OAUTH2_CLIENT)
    };
    let fields = part(inner, what, shape, decoder)?;
    let token_url = fields.require("token_url", what, decoder.faults).and_then(|node| {
        let template = decoder.template(node, "token_url")?;
        super::check::service_url(&template, "token_url", &node.place, decoder.faults).then_some(template)
    });
    let client_id = needed(&fields, "client_id", what, base, decoder);
    let client_secret = match fields.get("client_secret") {
        Some(node) => value(node, "client_secret", base, decoder).map(Some),
        None if refresh => Some(None),
        None => {
            fields.require("client_secret", what, decoder.faults);
            None
        }
    };
    let grant = if refresh {
        needed(&fields, "refresh_token", what, base, decoder).map(Grant::RefreshToken)
    } else {
        Some(Grant::ClientCredentials)
    };
    let scope = fields.get("scope").map_or(Some(None), |node| decoder.template(node, "scope").map(Some));
    let client_auth = word(&fields, "client_auth", &[("body", ClientAuth::Body), ("basic", ClientAuth::Basic)], ClientAuth::Body, decoder);
    let params = fields.get("params").map_or(Some(Vec::new()), |node| decoder.templates(node, "params"));
    Some(OAuth2 {
        grant: grant?,
        token_url: token_url?,
        client_id: client_id?,
        client_secret: client_secret?,
        scope: scope?,
        client_auth: client_auth?,
        params: params?,
    })
}

fn hmac(node: &Node, base: &Path, decoder: &mut Decoder<'_>) -> Option<HmacAuth> {
    let what = "`auth.hmac`";
    let fields = part(node, what, &shapes::HMAC, decoder)?;
    let secret = needed(&fields, "secret", what, base, decoder);
    let name = text(&fields, "header", what, decoder);
    let algorithms = [("sha1", HmacAlgorithm::Sha1), ("sha256", HmacAlgorithm::Sha256), ("sha512", HmacAlgorithm::Sha512)];
    let algorithm = word(&fields, "algorithm", &algorithms, HmacAlgorithm::Sha256, decoder);
    let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64), ("base64url", Encoding::Base64Url)];
    let encoding = word(&fields, "encoding", &encodings, Encoding::Hex, decoder);
    let prefix = fields.text("prefix", decoder.faults).map(|(text, _)| text.to_owned()).unwrap_or_default();
    let content = match fields.get("content") {
        Some(node) => decoder.seeing(SIGNED, |decoder| decoder.template(node, "content")),
        None => Template::parse("${request.body}").ok(),
    };
    let timestamp_header = fields.text("timestamp_header", decoder.faults).map(|(text, _)| text.to_ascii_lowercase());
    let name = name?;
    let fine = header(&fields, "header", &name, decoder)
        && timestamp_header.as_deref().is_none_or(|name| header(&fields, "timestamp_header", name, decoder));
    if !fine {
        return None;
    }
    Some(HmacAuth {
        secret: secret?,
        algorithm: algorithm?,
        header: name.to_ascii_lowercase(),
        encoding: encoding?,
        prefix,
        content: content?,
        timestamp_header,
    })
}

fn part<'a>(node: &'a Node, what: &str, shape: &'static Shape, decoder: &mut Decoder<'_>) -> Option<Fields<'a>> {
    Fields::read(node, what, shape, decoder.faults)
}

fn needed(fields: &Fields<'_>, key: &str, what: &str, base: &Path, decoder: &mut Decoder<'_>) -> Option<AuthValue> {
    let node = fields.require(key, what, decoder.faults)?;
    value(node, key, base, decoder)
}

/// A secret, or a text with `${config.…}`. Names are no secrets: they may be written out.
fn value(node: &Node, what: &str, base: &Path, decoder: &mut Decoder<'_>) -> Option<AuthValue> {
    let name = matches!(what, "username" | "client_id");
    match node.as_text() {
        Some(text) if name || text.contains("${config") => decoder.template(node, what).map(AuthValue::Template),
        _ => secret::decode(node, &format!("`{what}`"), base, decoder.faults).map(AuthValue::Secret),
    }
}

fn text(fields: &Fields<'_>, key: &str, what: &str, decoder: &mut Decoder<'_>) -> Option<String> {
    fields.require(key, what, decoder.faults)?;
    let (text, place) = fields.text(key, decoder.faults)?;
    if text.is_empty() {
        decoder.error("empty", place, format!("`{key}` is empty"));
        return None;
    }
    Some(text.to_owned())
}

fn header(fields: &Fields<'_>, key: &str, name: &str, decoder: &mut Decoder<'_>) -> bool {
    let fine = is_header_name(name);
    if !fine {
        let place = fields.get(key).map_or(fields.place, |node| &node.place);
        decoder.error("header-name", place, format!("`{name}` is no header name"));
    }
    fine
}

/// One of some words; the default where it is not written.
pub(super) fn word<T: Copy>(fields: &Fields<'_>, key: &str, words: &[(&str, T)], default: T, decoder: &mut Decoder<'_>) -> Option<T> {
    if fields.get(key).is_none() {
        return Some(default);
    }
    let (written, place) = fields.text(key, decoder.faults)?;
    let found = words.iter().find(|(word, _)| *word == written).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = match nearest(written, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known are: {}", known.join(", ")),
        };
        decoder.error_help("bad-value", place, format!("unknown `{key}` `{written}`"), help);
    }
    found
}
