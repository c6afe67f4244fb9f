//! Secrets: values that never print and are wiped when dropped.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};

use crate::fault::Place;

/// A secret text. `Debug` and `Display` print `***`; the value leaves only through [`Secret::expose`].
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The value itself: for the one place that signs or sends it, never for output.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Length in bytes; the only thing about a secret that may be shown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.expose().len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.expose().is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from; its value is not kept here unless it was written so.
#[derive(Clone, Debug)]
pub struct SecretRef {
    /// The kind and name.
    pub from: SecretFrom,
    /// Where it is written.
    pub place: Place,
}

/// The places a secret may come from.
#[derive(Clone, Debug)]
pub enum SecretFrom {
    /// An environment variable.
    Env(String),
    /// A file, absolute; one newline at its end is trimmed.
    File(PathBuf),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// Written in the file itself.
    Plain(Secret),
}

impl SecretFrom {
    /// The name by which events and metrics speak of it: `env:HOOK_SECRET`, `secret 2`.
    #[must_use]
    pub fn name(&self, number: usize) -> String {
        match self {
            Self::Env(name) => format!("env:{name}"),
            Self::File(path) => format!("file:{}", path.file_name().unwrap_or_default().to_string_lossy()),
            Self::Credential(name) => format!("credential:{name}"),
            Self::Plain(_) => format!("secret {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("canary-value".to_owned());
        assert!(!format!("{secret} {secret:?}").contains("canary"));
        assert_eq!(secret.expose(), "canary-value");
    }
}
