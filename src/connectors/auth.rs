//! How a connector's requests are authorised, as its file says it.

use crate::expr::Template;
use crate::secret::SecretRef;

/// A value of `auth`: rendered from `config`, or read from where secrets are kept.
#[derive(Clone, Debug)]
pub enum AuthValue {
    /// A text in which `${config.…}` may stand.
    Template(Template),
    /// An environment variable, a file, a credential, or (with a warning) written out.
    Secret(SecretRef),
}

/// How requests are authorised.
#[derive(Clone, Debug)]
pub enum Auth {
    /// Not at all.
    None,
    /// `Authorization: Bearer …`.
    Bearer {
        /// The token.
        secret: AuthValue,
    },
    /// `Authorization: Basic …`.
    Basic {
        /// The name.
        username: AuthValue,
        /// The password.
        password: AuthValue,
    },
    /// A key in a header or in the query.
    ApiKey {
        /// Where.
        place: KeyPlace,
        /// The header or parameter.
        name: String,
        /// The key, with whatever the service wants around it (`Token ${config.key}`).
        value: AuthValue,
    },
    /// OAuth 2.0: a token of a token endpoint, sent as a bearer.
    OAuth2(Box<OAuth2>),
    /// The request is signed.
    Hmac(Box<HmacAuth>),
    /// As the configured orchestrator is: no file says it, only the connector that is built in.
    Orchestrator,
}

/// Where an API key goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPlace {
    /// A header.
    Header,
    /// A query parameter.
    Query,
}

/// OAuth 2.0 without a browser.
#[derive(Clone, Debug)]
pub struct OAuth2 {
    /// Which grant.
    pub grant: Grant,
    /// The token endpoint: an absolute URL. Only `config` may stand in it.
    pub token_url: Template,
    /// The client.
    pub client_id: AuthValue,
    /// Its secret; public clients have none.
    pub client_secret: Option<AuthValue>,
    /// The scopes, separated by spaces.
    pub scope: Option<Template>,
    /// How the client proves itself.
    pub client_auth: ClientAuth,
    /// Further parameters of the token request (`audience`, `resource`).
    pub params: Vec<(String, Template)>,
}

/// The grants.
#[derive(Clone, Debug)]
pub enum Grant {
    /// `client_credentials`.
    ClientCredentials,
    /// `refresh_token`.
    RefreshToken(AuthValue),
}

/// How a client proves itself to a token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// `client_id` and `client_secret` in the body.
    Body,
    /// `Authorization: Basic …`.
    Basic,
}

/// A signature over the request.
#[derive(Clone, Debug)]
pub struct HmacAuth {
    /// The key.
    pub secret: AuthValue,
    /// The hash.
    pub algorithm: HmacAlgorithm,
    /// The header that carries the signature.
    pub header: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What stands before it (`sha256=`).
    pub prefix: String,
    /// What is signed: sees `request` `{method, url, path, query, headers, body}` (`body` as the text that is sent) and
    /// `timestamp`, the seconds since 1970.
    pub content: Template,
    /// The header that carries `timestamp`, where the service wants it.
    pub timestamp_header: Option<String>,
}

/// The hashes of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// For services that never moved on.
    Sha1,
    /// The usual one.
    Sha256,
    /// The long one.
    Sha512,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower-case hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
    /// Base64 for URLs, without padding.
    Base64Url,
}

impl Auth {
    /// The values it needs, each under the name it has in the file; [`super::Access`] has their texts under these names.
    #[must_use]
    pub fn values(&self) -> Vec<(&'static str, &AuthValue)> {
        match self {
            Self::None | Self::Orchestrator => Vec::new(),
            Self::Bearer { secret } => vec![("bearer", secret)],
            Self::Basic { username, password } => vec![("username", username), ("password", password)],
            Self::ApiKey { value, .. } => vec![("value", value)],
            Self::OAuth2(oauth2) => {
                let refresh = match &oauth2.grant {
                    Grant::ClientCredentials => None,
                    Grant::RefreshToken(token) => Some(("refresh_token", token)),
                };
                let secret = oauth2.client_secret.as_ref().map(|secret| ("client_secret", secret));
                std::iter::once(("client_id", &oauth2.client_id)).chain(secret).chain(refresh).collect()
            }
            Self::Hmac(hmac) => vec![("secret", &hmac.secret)],
        }
    }

    /// As written.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::ApiKey { .. } => "api_key",
            Self::OAuth2(_) => "oauth2",
            Self::Hmac(_) => "hmac",
            Self::Orchestrator => "orchestrator",
        }
    }
}
