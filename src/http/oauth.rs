//! OAuth 2 as services without people use it: client credentials and refresh tokens (RFC 6749, sections 4.4 and 6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::{Answer, excerpt, refusal, shown};
use super::encode::{form, percent};
use super::mask::{mask, mask_body};
use super::tokens::{Grant, Granted, lifetime};
use crate::runs::{Class, Failure};
use crate::secret::Secret;
use crate::time::Timestamp;

/// How the client says who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the form.
    #[default]
    Body,
    /// A Basic header.
    Basic,
}

/// What is handed in for a token.
#[derive(Clone, Debug)]
pub enum Handed {
    /// The client's own secret, which is the credential.
    ClientCredentials,
    /// A refresh token, which is the credential; the client's secret, where it has one, goes beside it.
    RefreshToken {
        /// Of a confidential client.
        client_secret: Option<Secret>,
    },
}

/// A token endpoint and what it is asked.
#[derive(Clone, Debug)]
pub struct OAuth {
    /// Token endpoint.
    pub url: String,
    /// Whether the endpoint stands in a file.
    pub written_out: bool,
    /// The client.
    pub client_id: String,
    /// What is handed in.
    pub handed: Handed,
    /// Scopes, space separated; none where it is empty.
    pub scope: String,
    /// How the client says who it is.
    pub client_auth: ClientAuth,
    /// Further fields of the form (`audience`, `resource`).
    pub extra: Vec<(String, String)>,
}

/// Kinds of tokens that are more than a header; what else a service calls its tokens is a bearer token all the same.
const NOT_BEARER: &[&str] = &["mac", "dpop", "pop", "n_a"];

impl OAuth {
    fn advice(&self) -> &'static str {
        match self.handed {
            Handed::ClientCredentials => {
                "check `client_id` and `client_secret`, and whether the service wants them in the body or as Basic"
            }
            Handed::RefreshToken { .. } => {
                "the refresh token may be used up, revoked or too old: make a new one and put it where the connector reads it"
            }
        }
    }

    fn client_secret<'a>(&'a self, credential: &'a Secret) -> Option<&'a Secret> {
        match &self.handed {
            Handed::ClientCredentials => Some(credential),
            Handed::RefreshToken { client_secret } => client_secret.as_ref(),
        }
    }
}

impl Grant for OAuth {
    fn url(&self) -> Option<&str> {
        Some(&self.url)
    }

    fn written_out(&self) -> bool {
        self.written_out
    }

    fn request(&self, credential: &Secret) -> (Vec<(String, String)>, String) {
        let secret = self.client_secret(credential).map(Secret::expose);
        let mut fields = Vec::new();
        match &self.handed {
            Handed::ClientCredentials => fields.push(("grant_type", "client_credentials")),
            Handed::RefreshToken { .. } => {
                fields.extend([("grant_type", "refresh_token"), ("refresh_token", credential.expose())]);
            }
        }
        let mut headers = vec![
            ("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned()),
            ("accept".to_owned(), "application/json".to_owned()),
        ];
        match (self.client_auth, secret) {
            (ClientAuth::Basic, Some(secret)) => {
                let pair = STANDARD.encode(format!("{}:{}", percent(&self.client_id), percent(secret)));
                headers.push(("authorization".to_owned(), format!("Basic {pair}")));
            }
            (_, secret) => {
                fields.push(("client_id", &self.client_id));
                fields.extend(secret.map(|secret| ("client_secret", secret)));
            }
        }
        if !self.scope.trim().is_empty() {
            fields.push(("scope", self.scope.trim()));
        }
        fields.extend(self.extra.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        (headers, form(&fields))
    }

    fn read(&self, mut answer: Answer, credential: &Secret, now: Timestamp) -> Result<Granted, Failure> {
        let body: Option<Value> = serde_json::from_slice(answer.body.strip_prefix(b"\xef\xbb\xbf".as_slice()).unwrap_or(&answer.body)).ok();
        let secrets: Vec<&str> = std::iter::once(credential).chain(self.client_secret(credential)).map(Secret::expose).collect();
        mask_body(&mut answer, &secrets);
        let answer = &answer;
        let at = shown(&self.url);
        let hide = |message: String| mask(&message, &secrets);
        let fail = |class, message: String| Err(Failure { class, status: Some(answer.status), message: hide(message), retry_after: None });
        let said = body.as_ref().map(Said::read).unwrap_or_default();
        if let Some(refused) = refusal(answer, now) {
            let no = |class| Err(Failure { class, message: hide(format!("no token from `{at}`: {}", refused.message)), ..refused.clone() });
            return match answer.status {
                429 => no(Class::Throttled),
                408 | 425 | 500..=599 => no(Class::Connect),
                _ if said.error.is_some() || answer.status == 401 => self.refused(&at, &said, fail),
                _ => fail(Class::Configuration, format!("no token from `{at}`: {}; check `token_url`", refused.message)),
            };
        }
        let Some(body) = &body else {
            let kind = excerpt(answer.header("content-type").unwrap_or("no content type").as_bytes());
            let head = excerpt(&answer.body);
            return fail(Class::Connect, format!("no token from `{at}`: expected JSON, found `{kind}`: {head}; check `token_url`"));
        };
        // Some services refuse with 200.
        let Some(token) = text(body, "access_token") else {
            return match said.error {
                Some(_) => self.refused(&at, &said, fail),
                None => fail(Class::Connect, format!("no token from `{at}`: the answer has no `access_token`; check `token_url`")),
            };
        };
        if let Some(kind) = text(body, "token_type").filter(|kind| NOT_BEARER.iter().any(|not| kind.eq_ignore_ascii_case(not))) {
            let message =
                format!("no token from `{at}`: its tokens are of the type `{}`; only bearer tokens can be used", excerpt(kind.as_bytes()));
            return fail(Class::Configuration, message);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return fail(Class::Connect, format!("no token from `{at}`: what it gives cannot stand in a header; check `token_url`"));
        }
        let expires_in = body.get("expires_in").and_then(|v| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok()));
        let (lasts, good) = lifetime(expires_in);
        let next = match self.handed {
            Handed::ClientCredentials => None,
            Handed::RefreshToken { .. } => {
                text(body, "refresh_token").filter(|next| *next != credential.expose()).map(|next| Secret::new(next.to_owned()))
            }
        };
        Ok(Granted { token: Secret::new(token.to_owned()), lasts, good, next })
    }

    fn secrets(&self) -> Vec<&Secret> {
        match &self.handed {
            Handed::RefreshToken { client_secret: Some(secret) } => vec![secret],
            Handed::RefreshToken { client_secret: None } | Handed::ClientCredentials => Vec::new(),
        }
    }
}

/// What an endpoint says when it gives nothing (RFC 6749, section 5.2).
#[derive(Default)]
struct Said<'a> {
    error: Option<&'a str>,
    description: Option<&'a str>,
}

impl<'a> Said<'a> {
    fn read(body: &'a Value) -> Self {
        let inner = body.get("error").filter(|error| error.is_object());
        let error = text(body, "error").or_else(|| inner.and_then(|inner| text(inner, "code").or_else(|| text(inner, "type"))));
        let description = text(body, "error_description").or_else(|| text(inner.unwrap_or(body), "message"));
        Self { error: error.or(inner.and(Some("error"))), description }
    }
}

impl OAuth {
    fn refused(&self, at: &str, said: &Said<'_>, fail: impl Fn(Class, String) -> Result<Granted, Failure>) -> Result<Granted, Failure> {
        let error = said.error.unwrap_or("not authorised");
        let words = match said.description {
            Some(description) => format!("{} ({})", excerpt(description.as_bytes()), excerpt(error.as_bytes())),
            None => excerpt(error.as_bytes()),
        };
        match error {
            "invalid_scope" => {
                fail(Class::Configuration, format!("no token from `{at}`: {words}; ask for no more than is granted in `scope`"))
            }
            "unsupported_grant_type" | "unauthorized_client" => {
                fail(Class::Configuration, format!("no token from `{at}`: {words}; the service does not allow this grant to this client"))
            }
            "temporarily_unavailable" | "server_error" => fail(Class::Connect, format!("no token from `{at}`: {words}")),
            _ => fail(Class::Auth, format!("no token from `{at}`: {words}; {}", self.advice())),
        }
    }
}

/// A text field that says something.
fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn credentials(client_auth: ClientAuth) -> OAuth {
        OAuth {
            url: "https://id.example/token".into(),
            written_out: true,
            client_id: "app 1".into(),
            handed: Handed::ClientCredentials,
            scope: " a b ".into(),
            client_auth,
            extra: vec![("audience".into(), "https://api".into())],
        }
    }

    fn refresh() -> OAuth {
        OAuth {
            handed: Handed::RefreshToken { client_secret: Some(Secret::new("canary-client".into())) },
            scope: String::new(),
            extra: Vec::new(),
            ..credentials(ClientAuth::Body)
        }
    }

    fn secret() -> Secret {
        Secret::new("canary/s:1".into())
    }

    #[test]
    fn the_client_says_who_it_is_in_the_body_or_in_a_header() {
        let (headers, body) = credentials(ClientAuth::Body).request(&secret());
        assert_eq!(
            body,
            "grant_type=client_credentials&client_id=app%201&client_secret=canary%2Fs%3A1&scope=a%20b&audience=https%3A%2F%2Fapi"
        );
        assert!(headers.iter().all(|(name, _)| name != "authorization"));
        let (headers, body) = credentials(ClientAuth::Basic).request(&secret());
        assert_eq!(body, "grant_type=client_credentials&scope=a%20b&audience=https%3A%2F%2Fapi");
        let basic = format!("Basic {}", STANDARD.encode("app%201:canary%2Fs%3A1"));
        assert!(headers.contains(&("authorization".into(), basic)));
        assert_eq!(
            refresh().request(&secret()).1,
            "grant_type=refresh_token&refresh_token=canary%2Fs%3A1&client_id=app%201&client_secret=canary-client"
        );
        let public = OAuth { handed: Handed::RefreshToken { client_secret: None }, ..refresh() };
        assert_eq!(public.request(&secret()).1, "grant_type=refresh_token&refresh_token=canary%2Fs%3A1&client_id=app%201");
    }

    fn read(grant: &OAuth, status: u16, body: &str) -> Result<Granted, Failure> {
        let answer = Answer { status, headers: vec![("retry-after".into(), "7".into())], body: body.to_owned().into_bytes().into() };
        grant.read(answer, &secret(), Timestamp::EPOCH)
    }

    #[test]
    fn tokens_are_read_with_what_replaces_the_refresh_token() {
        let granted = read(&credentials(ClientAuth::Body), 200, r#"{"access_token":"t","expires_in":300,"token_type":"bearer"}"#).unwrap();
        assert_eq!((granted.token.expose(), granted.lasts, granted.next.is_none()), ("t", Duration::from_secs(240), true));
        // Of client credentials nothing can be refreshed, whatever the answer has.
        assert!(read(&credentials(ClientAuth::Body), 200, r#"{"access_token":"t","refresh_token":"r"}"#).unwrap().next.is_none());
        let granted = read(&refresh(), 200, "\u{feff}{\"access_token\":\"t\",\"refresh_token\":\"next\",\"token_type\":\"bot\"}").unwrap();
        assert_eq!(granted.next.as_ref().map(Secret::expose), Some("next"));
        assert!(read(&refresh(), 200, r#"{"access_token":"t","refresh_token":"canary/s:1"}"#).unwrap().next.is_none(), "the same again");
    }

    #[test]
    fn an_endpoint_that_gives_no_token_says_why_and_hides_the_secrets() {
        let check = |grant: &OAuth, status, body: &str, class, says: &str| {
            let failure = read(grant, status, body).expect_err("no token");
            assert_eq!(failure.class, class, "{status} {body}: {failure}");
            assert!(failure.message.contains(says), "`{says}` in: {failure}");
            assert!(!failure.message.contains("canary") && !failure.message.contains("eyJhbGciOi"), "{failure}");
            failure.retry_after
        };
        let cc = credentials(ClientAuth::Body);
        check(
            &cc,
            400,
            r#"{"error":"invalid_client","error_description":"no canary/s:1 canary%2Fs%3A1 here"}"#,
            Class::Auth,
            "no *** *** here",
        );
        check(&refresh(), 400, r#"{"error":"invalid_grant","error_description":"of canary-client"}"#, Class::Auth, "make a new one");
        check(&cc, 401, "", Class::Auth, "client_secret");
        check(&cc, 400, r#"{"error":"invalid_scope"}"#, Class::Configuration, "`scope`");
        check(&cc, 400, r#"{"error":"unsupported_grant_type"}"#, Class::Configuration, "grant");
        check(&cc, 404, "<html>canary/s:1", Class::Configuration, "token_url");
        assert_eq!(check(&cc, 429, "", Class::Throttled, "429"), Some(Duration::from_secs(7)));
        assert_eq!(check(&cc, 503, "busy", Class::Connect, "busy"), Some(Duration::from_secs(7)));
        // Refusals that say 200.
        check(
            &cc,
            200,
            r#"{"error":"bad_verification_code","error_description":"expired"}"#,
            Class::Auth,
            "expired (bad_verification_code)",
        );
        check(&cc, 200, r#"{"ok":false,"error":"invalid_client_id"}"#, Class::Auth, "invalid_client_id");
        check(&cc, 200, r#"{"error":{"message":"no such app","code":"E7"}}"#, Class::Auth, "no such app (E7)");
        check(&cc, 200, r#"{"error":{"message":"no such app","code":7}}"#, Class::Auth, "no such app");
        check(&cc, 200, "<html>Log in", Class::Connect, "Log in");
        check(&cc, 200, r#"{"id_token":"eyJhbGciOi"}"#, Class::Connect, "`access_token`");
        check(&cc, 200, r#"{"access_token":""}"#, Class::Connect, "`access_token`");
        check(&cc, 200, r#"{"access_token":"eyJhbGciOi\r\nX: y"}"#, Class::Connect, "header");
        check(&cc, 200, r#"{"access_token":"eyJhbGciOi","token_type":"DPoP"}"#, Class::Configuration, "DPoP");
        check(&cc, 200, "", Class::Connect, "expected JSON");
        check(&cc, 200, "[]", Class::Connect, "`access_token`");
    }
}
