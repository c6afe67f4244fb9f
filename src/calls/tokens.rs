//! The tokens of each connector, made when they are first needed. They outlive a reload that does not change what they are
//! asked with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::keeper::Sealed;
use crate::connectors::auth::{ClientAuth, Grant, OAuth2};
use crate::connectors::{Access, Connector};
use crate::expr::{Scope, Template};
use crate::http::oauth::{self, Handed, OAuth};
use crate::http::tokens::Tokens;
use crate::journal::Journal;
use crate::secret::Secret;

/// Tokens by connector.
#[derive(Debug, Default)]
pub(super) struct TokensByConnector(Mutex<BTreeMap<Arc<str>, Made>>);

#[derive(Debug)]
struct Made {
    /// A hash of all that they are asked with.
    print: [u8; 32],
    tokens: Arc<Tokens>,
}

impl TokensByConnector {
    /// The tokens of a connector.
    ///
    /// # Errors
    /// What is missing or cannot be rendered.
    pub(super) fn of(
        &self,
        connector: &Connector,
        oauth2: &OAuth2,
        access: &Access,
        journal: Option<&Journal>,
    ) -> Result<Arc<Tokens>, String> {
        let (grant, credential) = grant(oauth2, access)?;
        let print = print(&grant, &credential);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = all.get(&connector.name).filter(|made| made.print == print) {
            return Ok(Arc::clone(&made.tokens));
        }
        let changes = matches!(grant.handed, Handed::RefreshToken { .. });
        let mut tokens = Tokens::new(Box::new(grant), credential.clone());
        if changes {
            let journal = journal.ok_or("a refresh token may change with each use, and there is no journal to keep it in")?;
            let keeper = Sealed::of(journal.clone(), &connector.name, &credential).ok_or("the refresh token cannot be sealed")?;
            tokens = tokens.kept_by(Arc::new(keeper));
        }
        let tokens = Arc::new(tokens);
        all.insert(Arc::clone(&connector.name), Made { print, tokens: Arc::clone(&tokens) });
        Ok(tokens)
    }
}

/// The way to a token, and the credential that is handed in.
fn grant(oauth2: &OAuth2, access: &Access) -> Result<(OAuth, Secret), String> {
    let value = |name: &str| access.auth.get(name).cloned();
    let needed = |name: &str| value(name).ok_or_else(|| format!("`auth.oauth2.{name}` has no value"));
    let scope = Scope::new().bind("config", access.config());
    let render = |what: &str, template: &Template| match template.render(&scope) {
        Ok(Value::String(text)) => Ok(text),
        Ok(Value::Null) => Ok(String::new()),
        Ok(other) => Ok(other.to_string()),
        Err(error) => Err(format!("`auth.oauth2.{what}`: {error}")),
    };
    let url = render("token_url", &oauth2.token_url)?;
    let parsed = url::Url::parse(&url).map_err(|error| format!("`auth.oauth2.token_url` is no URL: {error}"))?;
    if !matches!(parsed.scheme(), "https" | "http") {
        return Err("`auth.oauth2.token_url` is neither https nor http".to_owned());
    }
    let client_secret = value("client_secret");
    let (handed, credential) = match oauth2.grant {
        Grant::ClientCredentials => (Handed::ClientCredentials, needed("client_secret")?),
        Grant::RefreshToken(_) => (Handed::RefreshToken { client_secret }, needed("refresh_token")?),
    };
    let grant = OAuth {
        url,
        // Only `config` may stand in it.
        written_out: true,
        client_id: needed("client_id")?.expose().to_owned(),
        handed,
        scope: oauth2.scope.as_ref().map(|scope| render("scope", scope)).transpose()?.unwrap_or_default(),
        client_auth: match oauth2.client_auth {
            ClientAuth::Body => oauth::ClientAuth::Body,
            ClientAuth::Basic => oauth::ClientAuth::Basic,
        },
        extra: oauth2.params.iter().map(|(name, value)| Ok((name.clone(), render(name, value)?))).collect::<Result<_, String>>()?,
    };
    Ok((grant, credential))
}

fn print(grant: &OAuth, credential: &Secret) -> [u8; 32] {
    let mut hash = Sha256::new();
    let secret = match &grant.handed {
        Handed::ClientCredentials => None,
        Handed::RefreshToken { client_secret } => Some(client_secret.as_ref().map_or("", Secret::expose)),
    };
    let fixed = [
        grant.url.as_str(),
        &grant.client_id,
        &grant.scope,
        credential.expose(),
        if grant.client_auth == oauth::ClientAuth::Basic { "basic" } else { "body" },
    ];
    let extra = grant.extra.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    for text in fixed.into_iter().chain(secret).chain(extra) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}
