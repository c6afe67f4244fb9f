//! Secrets: how they are written, and how they are read once when the daemon starts. No message carries a value.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::World;
use super::settings::Config;
use crate::event::SourceName;
use crate::fault::{Fault, Faults};
use crate::secret::{Secret, SecretFrom, SecretRef};
use crate::signature::{NamedSecret, check_secret};

/// The code of a secret whose variable, file or credential is not there: an error for `run`, a warning for `check`.
pub const SECRET_UNRESOLVED: &str = "secret-unresolved";

/// Below this many bytes a secret is guessed too easily.
pub const SECRET_BYTES_ADVISED: usize = 16;

/// The longest secret that is read, in bytes: whatever is longer is another file.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// The longest secret that Orchestrator takes for a webhook, in characters (`WebhookDto.Secret`).
pub const WEBHOOK_SECRET_CHARS_MAX: usize = 100;

/// Secret values, read once.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// Of each webhook source, in the order written.
    pub sources: BTreeMap<SourceName, Vec<NamedSecret>>,
    /// Of each orchestrator: client secret, token, user key or password.
    pub orchestrators: BTreeMap<Arc<str>, Secret>,
    /// Of the admin API.
    pub admin_token: Option<Secret>,
}

impl SecretRef {
    /// Whether both read the same place.
    pub(super) fn same_place(&self, other: &Self) -> bool {
        match (&self.from, &other.from) {
            (SecretFrom::Env(a), SecretFrom::Env(b)) | (SecretFrom::Credential(a), SecretFrom::Credential(b)) => a == b,
            (SecretFrom::File(a), SecretFrom::File(b)) => a == b,
            (SecretFrom::Plain(a), SecretFrom::Plain(b)) => a.expose() == b.expose(),
            _ => false,
        }
    }

    /// Reads the value. `what` names it in messages: `the secret of source `x``.
    ///
    /// Warnings besides a value: it is short, written out, or readable by others. Without a value there is an error,
    /// [`SECRET_UNRESOLVED`] where the place itself is missing.
    pub fn resolve(&self, what: &str, world: &dyn World, faults: &mut Faults) -> Option<Secret> {
        let place = || self.place.clone();
        let value = match &self.from {
            SecretFrom::Env(name) => match world.var(name) {
                Some(value) => value,
                None => {
                    let message = format!("{what}: environment variable `{name}` is not set");
                    faults.push(Fault::error(SECRET_UNRESOLVED, place(), message).help(format!("set `{name}` for the daemon")));
                    return None;
                }
            },
            SecretFrom::File(path) => self.read(what, path, world, faults)?,
            SecretFrom::Credential(name) => match world.var("CREDENTIALS_DIRECTORY") {
                Some(folder) => self.read(what, &Path::new(&folder).join(name), world, faults)?,
                None => {
                    let message = format!("{what}: credential `{name}` cannot be read, $CREDENTIALS_DIRECTORY is not set");
                    let help = format!("run under systemd with `LoadCredential={name}:PATH`, or write `{{file: PATH}}`");
                    faults.push(Fault::error(SECRET_UNRESOLVED, place(), message).help(help));
                    return None;
                }
            },
            SecretFrom::Plain(secret) => {
                let message = format!("{what} is written in the file itself");
                let help = "use `{env: NAME}`, `{file: PATH}` or `{credential: NAME}`";
                faults.push(Fault::warning("secret-plain", place(), message).help(help));
                secret.expose().to_owned()
            }
        };
        if value.is_empty() {
            faults.push(Fault::error("secret-empty", place(), format!("{what} is empty")).help("an empty secret protects nothing"));
            return None;
        }
        if value.len() < SECRET_BYTES_ADVISED {
            let message = format!("{what} is shorter than the {SECRET_BYTES_ADVISED} bytes that are advised");
            faults.push(Fault::warning("secret-short", place(), message).help("make one with `openssl rand -hex 32`"));
        }
        if value.trim() != value {
            let message = format!("{what} begins or ends with white space, which is part of it");
            faults.push(Fault::warning("secret-white-space", place(), message).help("one newline at a file's end is trimmed, no more"));
        }
        Some(Secret::new(value))
    }

    fn read(&self, what: &str, path: &Path, world: &dyn World, faults: &mut Faults) -> Option<String> {
        let place = || self.place.clone();
        let shown = path.display();
        let bytes = match world.read(path) {
            Ok(bytes) => bytes,
            Err(error) => {
                let (message, help) = match error.kind() {
                    io::ErrorKind::NotFound => (format!("{what}: `{shown}` does not exist"), "make the file, mode 0600".to_owned()),
                    io::ErrorKind::PermissionDenied => {
                        (format!("{what}: `{shown}` may not be read"), "give the file to the daemon's user, mode 0600".to_owned())
                    }
                    _ => (format!("{what}: `{shown}` cannot be read: {error}"), "expected a file with the secret in it".to_owned()),
                };
                faults.push(Fault::error(SECRET_UNRESOLVED, place(), message).help(help));
                return None;
            }
        };
        if let Some(mode) = world.mode(path).filter(|mode| mode & 0o007 != 0) {
            let message = format!("{what}: `{shown}` is readable by others (mode {mode:04o})");
            faults.push(Fault::warning("secret-readable", place(), message).help(format!("chmod 600 {shown}")));
        }
        if bytes.len() > SECRET_BYTES_MAX {
            let message = format!("{what}: `{shown}` has {} bytes; at most {SECRET_BYTES_MAX} are read", bytes.len());
            faults.push(Fault::error("secret-too-long", place(), message));
            return None;
        }
        let Ok(mut text) = String::from_utf8(bytes) else {
            faults.push(Fault::error("secret-encoding", place(), format!("{what}: `{shown}` is no UTF-8 text")));
            return None;
        };
        if text.ends_with('\n') {
            text.pop();
            if text.ends_with('\r') {
                text.pop();
            }
        }
        Some(text)
    }
}

impl Config {
    /// Reads every secret. `run` treats [`SECRET_UNRESOLVED`] as an error, `check` as a warning; short, plain and
    /// world-readable secrets are warnings in both.
    pub fn resolve(&self, world: &dyn World) -> (Secrets, Faults) {
        let mut faults = Faults::new();
        let mut secrets = Secrets::default();
        if let Some(token) = &self.admin_token {
            secrets.admin_token = token.resolve("`admin_token`", world, &mut faults);
        }
        for (name, orchestrator) in &self.orchestrators {
            let (what, reference) = orchestrator.auth.secret();
            if let Some(secret) = reference.resolve(&format!("`{what}` of orchestrator `{name}`"), world, &mut faults) {
                secrets.orchestrators.insert(Arc::clone(name), secret);
            }
        }
        for (name, source) in &self.sources {
            let mut resolved: Vec<NamedSecret> = Vec::new();
            for (index, reference) in source.secrets.iter().enumerate() {
                let number = index + 1;
                let what = format!("secret {number} of source `{name}`");
                let Some(value) = reference.resolve(&what, world, &mut faults) else { continue };
                if let Some(first) = resolved.iter().find(|first| first.value.expose() == value.expose()) {
                    let message = format!("{what} is equal to `{}`", first.name);
                    faults.push(Fault::error("secret-duplicate", reference.place.clone(), message).help("remove one of them"));
                    continue;
                }
                if let Err(message) = check_secret(&source.scheme, value.expose()) {
                    let message = format!("{what} is none of `scheme: {}`: {message}", source.scheme.name());
                    faults.push(
                        Fault::error("secret-form", reference.place.clone(), message).help("copy it whole from the service's console"),
                    );
                    continue;
                }
                if source.service.is_none() && value.expose().chars().count() > WEBHOOK_SECRET_CHARS_MAX {
                    let message = format!("{what} is longer than the {WEBHOOK_SECRET_CHARS_MAX} characters that Orchestrator takes");
                    faults.push(Fault::warning("secret-long", reference.place.clone(), message));
                }
                let label = reference.from.name(number);
                let taken = resolved.iter().any(|other| *other.name == *label);
                let label = if taken { format!("secret {number}") } else { label };
                resolved.push(NamedSecret { name: Arc::from(label), value });
            }
            secrets.sources.insert(Arc::clone(name), resolved);
        }
        (secrets, faults)
    }
}
