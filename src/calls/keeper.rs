//! Where refresh tokens that a service changes are kept: in the journal, sealed.
//!
//! What is kept is sealed (ChaCha20-Poly1305) with a key made of the refresh token that the files name, so that neither the
//! state folder nor a dump of it gives a token away, and a new one in the files takes over by itself: what was kept for
//! the one before cannot be opened with it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::http::tokens::Keeper;
use crate::journal::{Journal, Kept, Space};
use crate::secret::Secret;

/// The refresh token of one connector.
pub(super) struct Sealed {
    journal: Journal,
    name: String,
    key: LessSafeKey,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Sealed {
    /// For a connector whose files name this refresh token. `None` where there is no cipher, which does not happen.
    pub(super) fn of(journal: Journal, connector: &Arc<str>, written: &Secret) -> Option<Self> {
        let mut mac = Hmac::<Sha256>::new_from_slice(written.expose().as_bytes()).ok()?;
        mac.update(b"tripline refresh token of ");
        mac.update(connector.as_bytes());
        let key = UnboundKey::new(&CHACHA20_POLY1305, &mac.finalize().into_bytes()).ok()?;
        Some(Self { journal, name: format!("connector:{connector}"), key: LessSafeKey::new(key) })
    }

    fn seal(&self, token: &Secret) -> Result<Vec<u8>, String> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|error| format!("no randomness: {error}"))?;
        let mut sealed = token.expose().as_bytes().to_vec();
        let aad = Aad::from(self.name.as_bytes());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .map_err(|_| "it cannot be sealed".to_owned())?;
        Ok(json!({"nonce": STANDARD.encode(nonce), "sealed": STANDARD.encode(sealed)}).to_string().into_bytes())
    }

    /// The token, if it was sealed for the refresh token that the files name now.
    fn open(&self, kept: &[u8]) -> Option<Secret> {
        let row: Value = serde_json::from_slice(kept).ok()?;
        let field = |name: &str| STANDARD.decode(row.get(name)?.as_str()?).ok();
        let nonce = Nonce::try_assume_unique_for_key(&field("nonce")?).ok()?;
        let mut sealed = field("sealed")?;
        let opened = self.key.open_in_place(nonce, Aad::from(self.name.as_bytes()), &mut sealed).ok()?;
        String::from_utf8(opened.to_vec()).ok().map(Secret::new)
    }
}

impl Keeper for Sealed {
    fn load(&self) -> Result<Option<Secret>, String> {
        let kept = self.journal.kept(Space::Token, &self.name).map_err(|error| error.to_string())?;
        let token = kept.as_ref().and_then(|kept| self.open(kept));
        if kept.is_some() && token.is_none() {
            tracing::info!(name = self.name, "the files name another refresh token than before: the kept one is given up");
        }
        Ok(token)
    }

    fn keep<'a>(&'a self, credential: &'a Secret) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            let value = Some(self.seal(credential)?.into());
            let kept = Kept { space: Space::Token, key: self.name.clone(), value };
            self.journal.keep(vec![kept]).await.map_err(|error| error.to_string())
        })
    }
}
