//! Tokens: the ways to get one, and whether one is valid. Secrets are compared plainly: this is no place for real ones.

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::sandbox::call::{Answer, Call, form};
use crate::sandbox::limits::TOKENS_MAX;
use crate::sandbox::world::World;
use crate::time::Timestamp;

/// A personal access token that is taken.
pub(in crate::sandbox) const PAT: &str = "sandbox-pat";
/// How personal access tokens begin that are taken; `rt_` is how real ones do.
const PAT_PREFIXES: &[&str] = &["pat", PAT, "rt_"];

/// A token that was given out.
#[derive(Clone, Debug)]
struct Token {
    expires: Timestamp,
    scopes: Vec<String>,
}

/// The tokens that are valid.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct Tokens {
    given: HashMap<String, Token>,
    /// How many were given out.
    pub(in crate::sandbox) total: u64,
}

impl Tokens {
    /// Makes every token void.
    pub(in crate::sandbox) fn expire(&mut self) {
        self.given.clear();
    }

    /// How many are valid, as far as is known.
    pub(in crate::sandbox) fn len(&self) -> usize {
        self.given.len()
    }
}

/// Which scope a call needs; both forms with `.Read` and `.Write` will do as well.
fn scope_for(path: &str) -> Option<&'static str> {
    [
        ("QueueItem", "OR.Queues"),
        ("Queue", "OR.Queues"),
        ("Jobs", "OR.Jobs"),
        ("Webhooks", "OR.Webhooks"),
        ("Releases", "OR.Execution"),
        ("Folders", "OR.Folders"),
    ]
    .into_iter()
    .find_map(|(set, scope)| path.split("/odata/").nth(1).is_some_and(|rest| rest.starts_with(set)).then_some(scope))
}

impl World {
    /// Whether `call` carries a valid token; if not, the answer that says so.
    pub(in crate::sandbox) fn authorise(&self, call: &Call, now: Timestamp) -> Result<(), Answer> {
        let refused = || {
            Answer::json(401, &json!({"message": "You are not authenticated!", "errorCode": 0, "resourceIds": null}))
                .with("www-authenticate", "Bearer error=\"invalid_token\"")
        };
        let header = call.header("authorization").unwrap_or_default();
        let token = header.split_once(' ').filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let Some(token) = token else { return Err(refused()) };
        if PAT_PREFIXES.iter().any(|prefix| token.starts_with(prefix)) {
            return Ok(());
        }
        let given = self.tokens.given.get(token).filter(|given| given.expires > now).ok_or_else(refused)?;
        if self.options.enforce_scopes
            && let Some(needed) = scope_for(&format!("/odata/{}", call.path.split("/odata/").nth(1).unwrap_or_default()))
        {
            let reads = call.method == "GET";
            let covered = |scope: &String| {
                scope == needed || scope.strip_prefix(needed).is_some_and(|rest| if reads { rest == ".Read" } else { rest == ".Write" })
            };
            if !given.scopes.iter().any(covered) {
                return Err(Answer::json(403, &json!({"message": "You are not authorized!", "errorCode": 0, "resourceIds": null})));
            }
        }
        Ok(())
    }

    /// `…/connect/token`: client credentials, in the form or in a Basic header.
    pub(in crate::sandbox) fn client_credentials(&mut self, call: &Call, now: Timestamp) -> Answer {
        let fields = form(&String::from_utf8_lossy(&call.body));
        let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let refused = |why: &str| Answer::json(400, &json!({"error": why}));
        match field("grant_type").as_deref() {
            Some("client_credentials") => {}
            Some(_) => return refused("unsupported_grant_type"),
            None => return refused("invalid_request"),
        }
        let (id, secret) = match call.header("authorization").and_then(basic) {
            Some(pair) => pair,
            None => (field("client_id").unwrap_or_default(), field("client_secret").unwrap_or_default()),
        };
        let known = match &self.options.client {
            Some((known_id, known_secret)) => *known_id == id && *known_secret == secret,
            None => !id.is_empty() && !secret.is_empty(),
        };
        if !known {
            return refused("invalid_client");
        }
        let scope = field("scope").unwrap_or_default();
        let token = self.give(scope.split_whitespace().map(str::to_owned).collect(), now);
        let seconds = self.options.token_lifetime.as_secs();
        Answer::json(200, &json!({"access_token": token, "expires_in": seconds, "token_type": "Bearer", "scope": scope}))
    }

    /// `/oauth/token`: a user key, as JSON or as a form.
    pub(in crate::sandbox) fn user_key(&mut self, call: &Call, now: Timestamp) -> Answer {
        let json: Value = serde_json::from_slice(&call.body).unwrap_or_else(|_| {
            let fields = form(&String::from_utf8_lossy(&call.body));
            Value::Object(fields.into_iter().map(|(name, value)| (name, Value::String(value))).collect())
        });
        let field = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("grant_type") != "refresh_token" || field("client_id").is_empty() || field("refresh_token").is_empty() {
            return Answer::json(403, &json!({"error": "invalid_grant", "error_description": "Unknown or invalid refresh token."}));
        }
        let token = self.give(all_scopes(), now);
        let seconds = self.options.token_lifetime.as_secs();
        Answer::json(
            200,
            &json!({"access_token": token, "id_token": "sandbox", "scope": "openid profile email", "expires_in": seconds, "token_type": "Bearer"}),
        )
    }

    /// `/api/Account/Authenticate`: user and password.
    pub(in crate::sandbox) fn password(&mut self, call: &Call, now: Timestamp) -> Answer {
        let json: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let field = |name: &str| json.get(name).and_then(Value::as_str).unwrap_or_default();
        if field("usernameOrEmailAddress").is_empty() || field("password").is_empty() {
            let error = json!({"code": 0, "message": "Invalid username or password", "details": null, "validationErrors": null});
            let body =
                json!({"result": null, "targetUrl": null, "success": false, "error": error, "unAuthorizedRequest": true, "__abp": true});
            return Answer::json(401, &body);
        }
        let token = self.give(all_scopes(), now);
        let body = json!({"result": token, "targetUrl": null, "success": true, "error": null, "unAuthorizedRequest": false, "__abp": true});
        Answer::json(200, &body)
    }

    fn give(&mut self, scopes: Vec<String>, now: Timestamp) -> String {
        if self.tokens.given.len() >= TOKENS_MAX {
            self.tokens.given.retain(|_, token| token.expires > now);
            if self.tokens.given.len() >= TOKENS_MAX {
                self.tokens.given.clear();
            }
        }
        self.tokens.total += 1;
        let token = format!("sbx.{:016x}{:016x}.{}", self.random(), self.random(), self.tokens.total);
        let expires = now.plus(self.options.token_lifetime);
        self.tokens.given.insert(token.clone(), Token { expires, scopes });
        token
    }
}

fn all_scopes() -> Vec<String> {
    ["OR.Queues", "OR.Jobs", "OR.Webhooks", "OR.Execution", "OR.Folders"].map(str::to_owned).to_vec()
}

fn basic(header: &str) -> Option<(String, String)> {
    let (kind, value) = header.split_once(' ')?;
    let bytes = base64::engine::general_purpose::STANDARD.decode(value.trim()).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (id, secret) = text.split_once(':')?;
    // RFC 6749 2.3.1: both are form-encoded before they are joined.
    kind.eq_ignore_ascii_case("basic").then(|| (crate::sandbox::call::decode(id, true), crate::sandbox::call::decode(secret, true)))
}
