//! The connectors of a configuration.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::limits::{CONNECTORS_MAX, DEPTH_MAX, FILE_MAX};
use super::model::{ConfigValue, Connector};
use super::{Auth, AuthValue, read};
use crate::fault::{Fault, Faults, Place, SourceText, nearest};
use crate::secret::{SecretFrom, SecretRef};
use crate::yaml::{Node, Yaml, hide, hide_in_faults, parse};

/// Keys whose values are secrets, so that no report shows them.
const SECRET_KEYS: [&str; 8] = ["bearer", "password", "secret", "client_secret", "refresh_token", "token", "api_key", "value"];

/// The connectors of a configuration, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Connectors {
    all: Arc<BTreeMap<Arc<str>, Arc<Connector>>>,
    files: Arc<[Arc<SourceText>]>,
    /// Names of those with an error, which are left out.
    broken: Arc<[String]>,
}

impl PartialEq for Connectors {
    /// Whether both are the same set, read once.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all) || (self.all.is_empty() && other.all.is_empty())
    }
}

impl Connectors {
    /// Reads connector files. `settings` is `connectors.config` of the configuration: values by connector and field;
    /// without it nothing is said of fields that are not set. Whatever is wrong is a fault; connectors with an error are
    /// left out.
    #[must_use]
    pub fn load(files: &[Arc<SourceText>], settings: Option<&Settings>) -> (Self, Faults) {
        let mut faults = Faults::new();
        let mut all: BTreeMap<Arc<str>, Arc<Connector>> = BTreeMap::new();
        let mut broken: Vec<String> = Vec::new();
        for file in files {
            for node in documents(file, &mut faults) {
                let base = file.path.parent().unwrap_or(Path::new("/"));
                let Some(connector) = read::connector(&node, base, &mut faults) else {
                    broken.extend(node.get("connector").and_then(Node::as_text).map(str::to_owned));
                    continue;
                };
                let name = Arc::clone(&connector.name);
                let Some(connector) = settle(connector, settings, &mut faults) else {
                    broken.push(name.to_string());
                    continue;
                };
                if let Some(other) = all.get(&connector.name) {
                    let message = format!(
                        "connector `{}` is there twice; the other one is in {}:{}",
                        connector.name,
                        other.place.source.path.display(),
                        other.place.line
                    );
                    faults.push(Fault::error("duplicate-connector", connector.place.clone(), message).help("rename or remove one"));
                    continue;
                }
                all.insert(connector.name.clone(), connector);
            }
        }
        if all.len() > CONNECTORS_MAX {
            let message = format!("{} connectors; at most {CONNECTORS_MAX} are read", all.len());
            faults.push(Fault::general("too-many", message));
        }
        for (name, place) in settings.into_iter().flat_map(|settings| &settings.named) {
            if !all.contains_key(name.as_str()) && !broken.contains(name) {
                let fault = Fault::error("unknown-connector", place.clone(), format!("there is no connector `{name}`"));
                faults.push(match nearest(name, all.keys().map(|name| &**name)) {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None => fault.help("its file must be where `connectors` says"),
                });
            }
        }
        let files = files.iter().map(|file| without_secrets(file, &all)).collect();
        (Self { all: Arc::new(all), files, broken: broken.into() }, faults)
    }

    /// The texts they were read from, with stars in place of secrets that are written out: what a generation keeps.
    #[must_use]
    pub fn files(&self) -> &[Arc<SourceText>] {
        &self.files
    }

    /// With further ones, in place of those that have their names.
    pub(super) fn and(self, more: impl Iterator<Item = Arc<Connector>>) -> Self {
        let mut all = BTreeMap::clone(&self.all);
        all.extend(more.map(|connector| (Arc::clone(&connector.name), connector)));
        Self { all: Arc::new(all), files: self.files, broken: self.broken }
    }

    /// A connector by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Connector>> {
        self.all.get(name)
    }

    /// Whether there is one of this name that was left out for its faults: nothing more is to be said of it.
    #[must_use]
    pub fn is_broken(&self, name: &str) -> bool {
        !self.all.contains_key(name) && self.broken.iter().any(|broken| broken == name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.all.values()
    }

    /// Those of files: without those that are always there.
    pub fn of_files(&self) -> impl Iterator<Item = &Arc<Connector>> {
        self.iter().filter(|connector| !matches!(connector.auth, Auth::Orchestrator))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// What the configuration sets of the fields of `config`: as written, read when the connector is known.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The names of connectors, and where they are written.
    pub named: Vec<(String, Place)>,
    /// The mapping of each, in the same order.
    pub fields: Vec<Node>,
}

/// Puts what the configuration sets into a connector.
fn settle(connector: Arc<Connector>, settings: Option<&Settings>, faults: &mut Faults) -> Option<Arc<Connector>> {
    let Some(settings) = settings else { return Some(connector) };
    let before = faults.len();
    let at = settings.named.iter().position(|(name, _)| **name == *connector.name);
    let written = at.and_then(|at| settings.fields.get(at));
    let mut connector = Arc::unwrap_or_clone(connector);
    for (key, value) in written.and_then(Node::as_map).unwrap_or_default() {
        let Some(field) = connector.config.iter_mut().find(|field| *field.name == *key.name) else {
            let fault = Fault::error("unknown-field", key.place.clone(), format!("`{}` has no `config.{}`", connector.name, key.name));
            faults.push(match nearest(&key.name, connector.config.iter().map(|field| &*field.name)) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help(format!("`tripline connector show {}` lists what it has", connector.name)),
            });
            continue;
        };
        let base = key.place.source.path.parent().unwrap_or(Path::new("/")).to_owned();
        let Some(read) = read::config_value(value, &key.name, field.secret, &base, faults) else { continue };
        if let ConfigValue::Plain(plain) = &read
            && let Err(message) = field.accepts(plain)
        {
            faults.push(Fault::error("bad-value", value.place.clone(), message));
            continue;
        }
        field.value = Some(read);
    }
    for field in connector.config.iter().filter(|field| field.required && field.value.is_none()) {
        let place = at.and_then(|at| settings.named.get(at)).map_or(&field.place, |(_, place)| place);
        let message = format!("connector `{}` needs `config.{}`, which is not set", connector.name, field.name);
        let help = format!("set it in the configuration: connectors: {{files: …, config: {{{}: {{{}: …}}}}}}", connector.name, field.name);
        faults.push(Fault::error("missing-config", place.clone(), message).help(help));
    }
    let plain: Option<serde_json::Map<_, _>> = connector
        .config
        .iter()
        .map(|field| match &field.value {
            Some(ConfigValue::Plain(value)) => Some((field.name.to_string(), value.clone())),
            None => Some((field.name.to_string(), serde_json::Value::Null)),
            Some(ConfigValue::Read(_)) => None,
        })
        .collect();
    let clean = !faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error);
    if let Some(config) = plain.filter(|_| clean && connector.base_url.constant().is_none())
        && let Err(fault) = connector.base(&config.into())
    {
        faults.push(Fault::error("url", connector.place.clone(), fault.message).help("mend `base_url`, or what is set of `config`"));
        return None;
    }
    clean.then(|| Arc::new(connector))
}

/// A text with stars in place of the secrets that are written out in it.
fn without_secrets(file: &Arc<SourceText>, all: &BTreeMap<Arc<str>, Arc<Connector>>) -> Arc<SourceText> {
    let values = |connector: &'_ Arc<Connector>| {
        let of_config = connector.config.iter().filter_map(|field| match &field.value {
            Some(ConfigValue::Read(value)) => Some(value.clone()),
            _ => None,
        });
        connector.auth.values().into_iter().map(|(_, value)| value.clone()).chain(of_config).collect::<Vec<_>>()
    };
    let plain = all.values().flat_map(values).filter_map(|value| match value {
        AuthValue::Secret(SecretRef { from: SecretFrom::Plain(secret), .. }) => Some(secret),
        _ => None,
    });
    let mut text = None;
    for secret in plain {
        let current: &str = text.as_deref().unwrap_or(&file.text);
        if current.contains(secret.expose()) {
            text = Some(current.replace(secret.expose(), &"*".repeat(secret.expose().chars().count())));
        }
    }
    text.map_or_else(|| Arc::clone(file), |text| Arc::new(SourceText { path: file.path.clone(), text }))
}

/// The documents of a file, within its limits.
fn documents(file: &Arc<SourceText>, faults: &mut Faults) -> Vec<Node> {
    let whole = || Place { source: Arc::clone(file), line: 0, column: 0, length: 0 };
    if file.text.len() > FILE_MAX {
        let message = format!("the file has {} bytes; at most {FILE_MAX} are read of a connector", file.text.len());
        faults.push(Fault::error("file-too-large", whole(), message).help("keep the operations that are needed"));
        return Vec::new();
    }
    let mut nodes = match parse(file) {
        Ok(nodes) => nodes,
        Err(found) => {
            faults.extend(hide_in_faults(found, file, &SECRET_KEYS));
            return Vec::new();
        }
    };
    hide(&mut nodes, file, &SECRET_KEYS);
    if nodes.is_empty() {
        faults.push(Fault::warning("no-connectors", whole(), "the file has 0 connectors"));
    }
    nodes
        .into_iter()
        .filter(|node| {
            let deep = too_deep(node);
            if let Some(place) = &deep {
                let message = format!("nested deeper than {DEPTH_MAX} levels");
                faults.push(Fault::error("too-deep", place.clone(), message));
            }
            deep.is_none()
        })
        .collect()
}

/// The first place that is nested too deep.
fn too_deep(root: &Node) -> Option<Place> {
    let mut open = vec![(root, 1)];
    while let Some((node, depth)) = open.pop() {
        if depth > DEPTH_MAX {
            return Some(node.place.clone());
        }
        match &node.value {
            Yaml::List(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Yaml::Map(entries) => open.extend(entries.iter().map(|(_, value)| (value, depth + 1))),
            _ => {}
        }
    }
    None
}
