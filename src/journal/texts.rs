//! Rule texts as JSON: what a generation was made of.
//!
//! ```text
//! {"files": [{"path", "text"}], "known": {"orchestrators": [], "sources": [{"name", "unsigned", "reconciles", "orchestrator"}], "vars": {}},
//!  "connectors": [{"path", "text"}]}
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::connectors::{Connectors, OrchestratorSite};
use crate::fault::{Faults, SourceText};
use crate::journal::carried::Carried;
use crate::journal::codec;
use crate::journal::format::Kind;
use crate::journal::words::RuleTexts;
use crate::rules::{Known, KnownSource, RuleSet};

#[derive(Serialize, Deserialize)]
struct Stored {
    files: Vec<StoredFile>,
    known: StoredKnown,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    connectors: Vec<StoredFile>,
}

#[derive(Serialize, Deserialize)]
struct StoredFile {
    path: String,
    text: String,
}

#[derive(Serialize, Deserialize)]
struct StoredKnown {
    orchestrators: Vec<Arc<str>>,
    sources: Vec<StoredSource>,
    vars: Value,
}

#[derive(Serialize, Deserialize)]
struct StoredSource {
    name: Arc<str>,
    unsigned: bool,
    reconciles: Option<Arc<str>>,
    orchestrator: Option<Arc<str>>,
}

impl RuleTexts {
    /// The rules again. Samples of their own tests play no part.
    ///
    /// # Errors
    /// Faults: an older version may have taken what this one refuses.
    pub fn compile(&self) -> Result<RuleSet, Faults> {
        let (set, faults) = RuleSet::load(&self.files, &self.known, &|_| Ok(r#"{"type":"test","data":{}}"#.to_owned()));
        set.ok_or(faults)
    }
}

/// The JSON of rule texts and its SHA-256.
pub(super) fn to_json(texts: &RuleTexts) -> serde_json::Result<(Vec<u8>, [u8; 32])> {
    let stored = |file: &Arc<SourceText>| StoredFile { path: file.path.to_string_lossy().into_owned(), text: file.text.clone() };
    let files = texts.files.iter().map(stored);
    let connectors = texts.known.connectors.files().iter().map(stored).collect();
    let sources = texts.known.sources.iter().map(|source| StoredSource {
        name: source.name.clone(),
        unsigned: source.unsigned,
        reconciles: source.reconciles.clone(),
        orchestrator: source.orchestrator.clone(),
    });
    let known =
        StoredKnown { orchestrators: texts.known.orchestrators.clone(), sources: sources.collect(), vars: texts.known.vars.clone() };
    let json = serde_json::to_vec(&Stored { files: files.collect(), known, connectors })?;
    let hash = Sha256::digest(&json).into();
    Ok((json, hash))
}

/// The texts in a record, written for the first time or again.
pub(super) fn of_record(kind: Kind, payload: &[u8]) -> io::Result<Option<RuleTexts>> {
    let rules = match kind {
        Kind::Carried => match Carried::decode(payload)? {
            Carried::Rules(rules) => rules,
            _ => return Ok(None),
        },
        _ => payload,
    };
    Ok(Some(from_json(codec::rules(rules)?.2)?))
}

/// The texts again.
pub(super) fn from_json(json: &[u8]) -> serde_json::Result<RuleTexts> {
    let stored: Stored = serde_json::from_slice(json)?;
    let read = |file: StoredFile| Arc::new(SourceText { path: PathBuf::from(file.path), text: file.text });
    let files = stored.files.into_iter().map(read);
    let connector_files: Vec<_> = stored.connectors.into_iter().map(read).collect();
    // What they are set to is what the configuration says now; their faults show where a rule needs one that is not there.
    let (connectors, _) = Connectors::load(&connector_files, None);
    let sites: Vec<_> =
        stored.known.orchestrators.iter().map(|name| OrchestratorSite { name: Arc::clone(name), ..OrchestratorSite::default() }).collect();
    let connectors = connectors.with_orchestrators(&sites);
    let sources = stored.known.sources.into_iter().map(|source| KnownSource {
        name: source.name,
        unsigned: source.unsigned,
        reconciles: source.reconciles,
        orchestrator: source.orchestrator,
    });
    let known =
        Known { orchestrators: stored.known.orchestrators, sources: sources.collect(), vars: stored.known.vars, connectors, ingress: None };
    Ok(RuleTexts { files: files.collect(), known })
}
