//! Connectors: where their files are, what is set of them, and the values they are used with.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::World;
use super::files::{Base, FILE_UNREADABLE, is_connector_file, read_text};
use super::settings::Config;
use super::shapes::CONNECTORS;
use crate::connectors::limits::FILE_MAX;
use crate::connectors::{Access, AuthValue, ConfigValue, Connector, Connectors, Settings};
use crate::expr::{Scope, explain};
use crate::fault::{Fault, Faults, SourceText};
use crate::rules::Known;
use crate::secret::{Secret, SecretFrom, SecretRef};
use crate::yaml::{Fields, Node, Yaml};

/// The most connector files.
pub const CONNECTOR_FILES_MAX: usize = 1_000;

/// Where connectors are, and what is set of them.
#[derive(Clone, Debug, Default)]
pub struct ConnectorFiles {
    /// Folders and files, absolute.
    pub files: Vec<PathBuf>,
    /// Values of the fields of their `config`.
    pub settings: Settings,
}

/// Reads `connectors`: paths, or `{files, config}`.
pub(super) fn decode(fields: &Fields<'_>, base: &Base, faults: &mut Faults) -> ConnectorFiles {
    let Some(node) = fields.get("connectors") else { return ConnectorFiles::default() };
    let paths = |fields: &Fields<'_>, key: &str, faults: &mut Faults| {
        let written = fields.texts(key, faults).unwrap_or_default();
        for (_, place) in written.iter().filter(|(text, _)| text.is_empty()) {
            faults.push(Fault::error("empty", (*place).clone(), format!("`{key}` has an empty path; expected a folder or a file")));
        }
        written.into_iter().map(|(text, _)| base.resolve(text)).collect::<Vec<_>>()
    };
    if node.as_map().is_none() {
        return ConnectorFiles { files: paths(fields, "connectors", faults), settings: Settings::default() };
    }
    let Some(own) = Fields::read(node, "`connectors`", &CONNECTORS, faults) else { return ConnectorFiles::default() };
    own.require("files", "`connectors`", faults);
    let files = paths(&own, "files", faults);
    let mut settings = Settings::default();
    if let Some(config) = own.get("config") {
        let Some(entries) = config.as_map() else {
            let message = format!("`config` is {}; expected a mapping from connectors to their values", config.kind());
            faults.push(Fault::error("wrong-type", config.place.clone(), message));
            return ConnectorFiles { files, settings };
        };
        for (key, value) in entries {
            if !matches!(value.value, Yaml::Map(_) | Yaml::Null) {
                let message = format!("what is set of connector `{}` is {}; expected a mapping", key.name, value.kind());
                faults.push(Fault::error("wrong-type", value.place.clone(), message));
                continue;
            }
            settings.named.push((key.name.clone(), key.place.clone()));
            settings.fields.push(Node::clone(value));
        }
    }
    ConnectorFiles { files, settings }
}

impl Config {
    /// Reads the connectors.
    pub fn connectors(&self, world: &dyn World) -> (Connectors, Faults) {
        let (texts, mut faults) = self.connector_files(world);
        let (connectors, found) = Connectors::load(&texts, Some(&self.connectors.settings));
        faults.extend(found);
        let sites: Vec<_> = self.orchestrators.values().map(super::orchestrators::OrchestratorConfig::site).collect();
        (connectors.with_orchestrators(&sites), faults)
    }

    /// What rules may refer to, connectors among it.
    pub fn known_with_connectors(&self, world: &dyn World) -> (Known, Faults) {
        let (connectors, faults) = self.connectors(world);
        (Known { connectors, ..self.known() }, faults)
    }

    /// The folders and files whose change makes a new generation.
    #[must_use]
    pub fn watched(&self) -> Vec<PathBuf> {
        self.rules.iter().chain(&self.connectors.files).cloned().collect()
    }

    /// The connector files, sorted by path, with their texts. Folders are read for `*.yaml`, `*.yml` and `*.json`, not
    /// deeper; hidden files are left out.
    fn connector_files(&self, world: &dyn World) -> (Vec<Arc<SourceText>>, Faults) {
        let mut faults = Faults::new();
        let mut paths = Vec::new();
        for written in &self.connectors.files {
            let shown = written.display();
            match world.list(written) {
                Ok(files) => paths.extend(files.into_iter().filter(|file| is_connector_file(file))),
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => paths.push(written.clone()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let fault = Fault::general("connectors-missing", format!("`connectors`: `{shown}` does not exist"));
                    faults.push(fault.help("make the folder, or mend `connectors` in the configuration"));
                }
                Err(error) => faults.push(Fault::general(FILE_UNREADABLE, format!("`connectors`: `{shown}` cannot be listed: {error}"))),
            }
        }
        paths.sort();
        paths.dedup();
        if paths.len() > CONNECTOR_FILES_MAX {
            let message = format!("`connectors` names {} files; at most {CONNECTOR_FILES_MAX} are read", paths.len());
            faults.push(Fault::general("too-many-files", message).help("name the ones that are needed"));
            return (Vec::new(), faults);
        }
        let mut texts = Vec::with_capacity(paths.len());
        for path in paths {
            match read_text(&path, "connector file", FILE_MAX, world) {
                Ok(text) => texts.push(text),
                Err(fault) => faults.push(fault),
            }
        }
        (texts, faults)
    }
}

/// Reads the secrets of all connectors. What cannot be read is a fault, and its connector is left out.
pub fn accesses(connectors: &Connectors, world: &dyn World) -> (BTreeMap<Arc<str>, Arc<Access>>, Faults) {
    let mut faults = Faults::new();
    let all = connectors.iter().filter_map(|connector| Some((connector.name.clone(), Arc::new(access(connector, world, &mut faults)?))));
    let all = all.collect();
    (all, faults)
}

/// Reads the values that a connector is used with. Warnings besides a value are as for every secret.
pub fn access(connector: &Connector, world: &dyn World, faults: &mut Faults) -> Option<Access> {
    let name = &connector.name;
    let (mut config, mut hidden) = (Map::new(), Vec::new());
    for field in &connector.config {
        let value = match &field.value {
            None => Value::Null,
            Some(ConfigValue::Plain(value)) => value.clone(),
            Some(ConfigValue::Read(value)) => {
                let secret = read(value, &Value::Null, &format!("`config.{}` of connector `{name}`", field.name), world, faults)?;
                let text = Value::from(secret.expose());
                hidden.push(secret);
                text
            }
        };
        config.insert(field.name.to_string(), value);
    }
    let config = Value::Object(config);
    let mut auth = BTreeMap::new();
    for (key, value) in connector.auth.values() {
        let what = format!("`{key}` of `auth` of connector `{name}`");
        auth.insert(key, read(value, &config, &what, world, faults)?);
    }
    let access = Access::new(name.clone(), config, auth, hidden);
    if let Err(fault) = connector.base(access.config()) {
        let message = access.mask(&format!("connector `{name}`: {}", fault.message));
        faults.push(Fault::error("url", connector.place.clone(), message).help("mend `base_url`, or what is set of `config`"));
        return None;
    }
    Some(access)
}

fn read(value: &AuthValue, config: &Value, what: &str, world: &dyn World, faults: &mut Faults) -> Option<Secret> {
    match value {
        AuthValue::Secret(reference) => without_excerpt(reference).resolve(what, world, faults),
        AuthValue::Template(template) => match template.render_text(&Scope::new().bind("config", config), |_, value| value) {
            Ok(text) => Some(Secret::new(text)),
            Err(error) => {
                let message = format!("{what} cannot be made of `config`: {}", explain(error));
                faults.push(Fault::general("secret-template", message).help("set the fields of `config` that it names"));
                None
            }
        },
    }
}

/// The same reference; where the value is written out, the text that its place shows has stars for it.
fn without_excerpt(reference: &SecretRef) -> SecretRef {
    let mut reference = reference.clone();
    if let SecretFrom::Plain(secret) = &reference.from {
        let source = &reference.place.source;
        let text = source.text.replace(secret.expose(), &"*".repeat(secret.expose().chars().count()));
        reference.place.source = Arc::new(SourceText { path: source.path.clone(), text });
    }
    reference
}
