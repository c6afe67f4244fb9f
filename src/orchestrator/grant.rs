//! How a token is asked for and what the answer means: pure functions of the configuration and the answer.

use serde_json::{Value, json};

use super::answer::{ErrorBody, mask_refusal};
use super::json::{self, field, text};
use super::urls::{USER_KEY_URL, authenticate_url, token_url};
use crate::config::{AuthConfig, OrchestratorConfig};
use crate::http::client::{Answer, excerpt, refusal, shown};
use crate::http::encode::form;
use crate::http::mask::mask;
use crate::http::tokens::{Grant, Granted, lifetime};
use crate::runs::{Class, Failure};
use crate::secret::Secret;
use crate::time::Timestamp;

/// One of the ways to get a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The credential is the token; there is nothing to renew.
    Fixed,
    /// OAuth 2 client credentials, as a form.
    ClientCredentials {
        /// Token endpoint.
        url: String,
        /// App id.
        client_id: String,
        /// Scopes.
        scope: String,
    },
    /// A user key as refresh token, as JSON.
    UserKey {
        /// Token endpoint.
        url: String,
        /// Client id.
        client_id: String,
    },
    /// Name and password, as JSON.
    Password {
        /// `…/api/Account/Authenticate`.
        url: String,
        /// The tenant, where one is configured.
        tenant: Option<String>,
        /// User name.
        username: String,
    },
}

impl Flow {
    /// The way that the configuration names.
    pub fn of(config: &OrchestratorConfig) -> Self {
        match &config.auth {
            AuthConfig::Token(_) => Self::Fixed,
            AuthConfig::ClientCredentials { client_id, scope, token_url: own, .. } => Self::ClientCredentials {
                url: own.clone().unwrap_or_else(|| token_url(&config.url, config.edition)),
                client_id: client_id.clone(),
                scope: scope.clone(),
            },
            AuthConfig::UserKey { client_id, token_url: own, .. } => {
                Self::UserKey { url: own.clone().unwrap_or_else(|| USER_KEY_URL.to_owned()), client_id: client_id.clone() }
            }
            AuthConfig::Password { username, .. } => {
                Self::Password { url: authenticate_url(&config.url), tenant: config.tenant.clone(), username: username.clone() }
            }
        }
    }

    /// Content type and body of the request.
    fn body(&self, credential: &Secret) -> (&'static str, String) {
        let secret = credential.expose();
        match self {
            Self::Fixed => ("application/json", String::new()),
            Self::ClientCredentials { client_id, scope, .. } => {
                let mut fields = vec![("grant_type", "client_credentials"), ("client_id", client_id.as_str()), ("client_secret", secret)];
                if !scope.trim().is_empty() {
                    fields.push(("scope", scope.trim()));
                }
                ("application/x-www-form-urlencoded", form(&fields))
            }
            Self::UserKey { client_id, .. } => {
                ("application/json", json!({"grant_type": "refresh_token", "client_id": client_id, "refresh_token": secret}).to_string())
            }
            Self::Password { tenant, username, .. } => {
                let mut body = json!({"usernameOrEmailAddress": username, "password": secret});
                if let Some(tenant) = tenant {
                    body["tenancyName"] = json!(tenant);
                }
                ("application/json", body.to_string())
            }
        }
    }

    /// What to check when the endpoint refuses.
    fn advice(&self) -> &'static str {
        match self {
            Self::Fixed => "check `auth.token`",
            Self::ClientCredentials { .. } => "check `client_id`, `client_secret` and that the application is confidential",
            Self::UserKey { .. } => "check `client_id` and make a new user key: an old one may have been revoked",
            Self::Password { .. } => "check `username`, `password` and `tenant`, and that the user may sign in with a password",
        }
    }
}

impl Grant for Flow {
    fn url(&self) -> Option<&str> {
        match self {
            Self::Fixed => None,
            Self::ClientCredentials { url, .. } | Self::UserKey { url, .. } | Self::Password { url, .. } => Some(url),
        }
    }

    fn request(&self, credential: &Secret) -> (Vec<(String, String)>, String) {
        let (kind, body) = self.body(credential);
        (vec![("content-type".to_owned(), kind.to_owned()), ("accept".to_owned(), "application/json".to_owned())], body)
    }

    fn read(&self, mut answer: Answer, credential: &Secret, now: Timestamp) -> Result<Granted, Failure> {
        mask_refusal(&mut answer, &[credential.expose()]);
        let answer = &answer;
        let at = shown(self.url().unwrap_or_default());
        let hide = |message: String| mask(&message, &[credential.expose()]);
        let fail = |class, message: String| Err(Failure { class, status: Some(answer.status), message: hide(message), retry_after: None });
        let body = json::read(&answer.body).ok();
        if let Some(refused) = refusal(answer, now) {
            let error = body.as_ref().map(ErrorBody::read).unwrap_or_default();
            let code = body.as_ref().and_then(|b| text(b, "error")).unwrap_or_default();
            let said = error
                .message
                .as_deref()
                .map_or_else(|| refused.message.clone(), |m| format!("{} {}", answer.status, excerpt(m.as_bytes())));
            return match (answer.status, code) {
                (_, "invalid_scope") => fail(
                    Class::Configuration,
                    format!(
                        "no token from `{at}`: {said} (invalid_scope); ask for no more than the application's application scopes in `scope`"
                    ),
                ),
                (400 | 401 | 403, _) if body.is_some() || answer.status == 401 => {
                    let code = if code.is_empty() { String::new() } else { format!(" ({})", excerpt(code.as_bytes())) };
                    fail(Class::Auth, format!("no token from `{at}`: {said}{code}; {}", self.advice()))
                }
                (429, _) => {
                    let retry_after = refused.retry_after.max(error.retry_after);
                    Err(Failure { class: Class::Throttled, message: hide(format!("no token from `{at}`: {said}")), retry_after, ..refused })
                }
                (408 | 425 | 500..=599, _) => {
                    Err(Failure { class: Class::Connect, message: hide(format!("no token from `{at}`: {said}")), ..refused })
                }
                _ => fail(Class::Configuration, format!("no token from `{at}`: {said}; check `url`, `edition` and `token_url`")),
            };
        }
        let Some(body) = body else {
            let kind = excerpt(answer.header("content-type").unwrap_or("no content type").as_bytes());
            let head = excerpt(&answer.body);
            return fail(
                Class::Connect,
                format!("no token from `{at}`: expected JSON, found `{kind}`: {head}; check `url`, `edition` and `token_url`"),
            );
        };
        let granted = match self {
            // Authenticate says no with 200, too.
            Self::Password { .. } => {
                let error = field(&body, "error");
                if error.is_some() || field(&body, "success") == Some(&Value::Bool(false)) {
                    let said = ErrorBody::read(&body).message.unwrap_or_default();
                    return fail(Class::Auth, format!("no token from `{at}`: {}; {}", excerpt(said.as_bytes()), self.advice()));
                }
                text(&body, "result")
            }
            _ => text(&body, "access_token"),
        };
        match granted {
            Some(token) => {
                let expires_in = field(&body, "expires_in").and_then(|v| v.as_f64().or_else(|| v.as_str()?.trim().parse().ok()));
                let (lasts, good) = lifetime(expires_in);
                Ok(Granted { token: Secret::new(token.trim().to_owned()), lasts, good, next: None })
            }
            None => fail(Class::Connect, format!("no token from `{at}`: the answer has none; check `url`, `edition` and `token_url`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn credentials() -> Flow {
        Flow::ClientCredentials {
            url: "https://h/identity_/connect/token".into(),
            client_id: "id".into(),
            scope: "OR.Queues OR.Jobs".into(),
        }
    }

    fn password() -> Flow {
        Flow::Password { url: "https://h/api/Account/Authenticate".into(), tenant: Some("Default".into()), username: "u".into() }
    }

    fn read(flow: &Flow, status: u16, body: &str) -> Result<Granted, Failure> {
        let answer = Answer { status, headers: vec![("retry-after".into(), "7".into())], body: body.to_owned().into_bytes().into() };
        flow.read(answer, &Secret::new("canary/secret".into()), Timestamp::EPOCH)
    }

    #[test]
    fn each_way_asks_in_its_own_form() {
        let secret = Secret::new("s p/&".into());
        assert_eq!(
            credentials().body(&secret),
            (
                "application/x-www-form-urlencoded",
                "grant_type=client_credentials&client_id=id&client_secret=s%20p%2F%26&scope=OR.Queues%20OR.Jobs".to_owned()
            )
        );
        let (kind, body) = Flow::UserKey { url: String::new(), client_id: "id".into() }.body(&secret);
        assert_eq!(kind, "application/json");
        assert_eq!(
            json::read(body.as_bytes()).unwrap(),
            json!({"grant_type": "refresh_token", "client_id": "id", "refresh_token": "s p/&"})
        );
        let (_, body) = password().body(&secret);
        assert_eq!(
            json::read(body.as_bytes()).unwrap(),
            json!({"tenancyName": "Default", "usernameOrEmailAddress": "u", "password": "s p/&"})
        );
    }

    #[test]
    fn tokens_are_read_from_each_answer() {
        let token = |flow: &Flow, body: &str| read(flow, 200, body).map(|g| (g.token.expose().to_owned(), g.lasts.as_secs())).unwrap();
        assert_eq!(token(&credentials(), r#"{"access_token":"t","expires_in":300,"token_type":"Bearer"}"#), ("t".into(), 240));
        assert_eq!(token(&credentials(), r#"{"access_token":"t","expires_in":"300"}"#), ("t".into(), 240));
        assert_eq!(token(&credentials(), r#"{"access_token":"t","expires_in":10000000000}"#), ("t".into(), 86_400));
        assert_eq!(token(&password(), r#"{"result":"t","success":true,"error":null,"__abp":true}"#), ("t".into(), 3540));
    }

    #[test]
    fn an_endpoint_that_gives_no_token_says_why_and_hides_the_secret() {
        let check = |flow: &Flow, status, body: &str, class, says: &str| {
            let failure = read(flow, status, body).expect_err("no token");
            assert_eq!(failure.class, class, "{status} {body}: {failure}");
            assert!(failure.message.contains(says), "`{says}` in: {failure}");
            assert!(!failure.message.contains("canary"), "{failure}");
            assert!(!failure.message.contains("eyJhbGciOi"), "{failure}");
            failure.retry_after
        };
        let cc = credentials();
        check(&cc, 400, r#"{"error":"invalid_client"}"#, Class::Auth, "client_secret");
        check(
            &cc,
            401,
            r#"{"error":"invalid_client","error_description":"bad canary/secret canary%2Fsecret"}"#,
            Class::Auth,
            "bad *** ***",
        );
        check(&cc, 401, "", Class::Auth, "client_secret");
        check(&cc, 400, r#"{"error":"invalid_scope"}"#, Class::Configuration, "`scope`");
        check(&cc, 400, "<html>canary/secret", Class::Configuration, "token_url");
        check(&cc, 404, "<html>", Class::Configuration, "token_url");
        assert_eq!(check(&cc, 429, "", Class::Throttled, "429"), Some(Duration::from_secs(7)));
        assert_eq!(check(&cc, 503, "busy", Class::Connect, "busy"), Some(Duration::from_secs(7)));
        check(&cc, 500, "", Class::Connect, "500");
        check(&cc, 200, "<html>Log in</html>", Class::Connect, "Log in");
        check(&cc, 200, r#"{"id_token":"eyJhbGciOi"}"#, Class::Connect, "has none");
        check(&cc, 200, r#"{"access_token":""}"#, Class::Connect, "has none");
        check(&cc, 200, "", Class::Connect, "expected JSON");
        check(&cc, 200, "[]", Class::Connect, "has none");
        for status in [200, 400, 401, 403] {
            let body = r#"{"result":null,"success":false,"error":{"code":0,"message":"Login failed!","details":"Invalid user name"},"unAuthorizedRequest":false}"#;
            check(&password(), status, body, Class::Auth, "Login failed! (Invalid user name)");
        }
        check(
            &Flow::UserKey { url: "https://h/t".into(), client_id: "id".into() },
            403,
            r#"{"error":"invalid_grant"}"#,
            Class::Auth,
            "new user key",
        );
    }
}
