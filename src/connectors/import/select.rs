//! Which operations are wanted: `create_issue,GET /pets/*`.

use crate::fault::nearest;

/// The most patterns of one `--operations`.
const PATTERNS_MAX: usize = 1_000;

/// What to pick from a description; everything where nothing is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection(Vec<Pattern>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    written: String,
    /// In capitals; nothing stands for every method.
    method: Option<String>,
    /// A path with its method, or else a name.
    text: String,
}

/// An operation that may be picked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'a> {
    /// Its name in the connector.
    pub(super) name: &'a str,
    /// Its `operationId`, where it has one.
    pub(super) id: Option<&'a str>,
    /// In capitals.
    pub(super) method: &'a str,
    /// As the description has it.
    pub(super) path: &'a str,
}

impl Selection {
    /// Reads what stands behind `--operations`: names, `operationId`s or paths with or without a method, with `,` between
    /// them; `*` stands for any text.
    ///
    /// # Errors
    /// An empty list, or one that is too long.
    pub fn parse(text: &str) -> Result<Self, String> {
        let patterns: Vec<Pattern> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Pattern::parse).collect();
        if patterns.is_empty() {
            return Err("no operation is named; write names or paths, as in `create_issue,GET /pets/*`".to_owned());
        }
        if patterns.len() > PATTERNS_MAX {
            return Err(format!("{} patterns are too many; at most {PATTERNS_MAX} are read", patterns.len()));
        }
        Ok(Self(patterns))
    }

    /// Whether an operation is wanted.
    pub(super) fn picks(&self, candidate: Candidate<'_>) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.meets(candidate))
    }

    /// The patterns that pick nothing, each with the nearest name there is.
    pub(super) fn unmet<'a>(&self, candidates: &[Candidate<'a>]) -> Vec<(String, Option<&'a str>)> {
        let unmet = self.0.iter().filter(|pattern| !candidates.iter().any(|candidate| pattern.meets(*candidate)));
        unmet
            .map(|pattern| {
                let names = candidates.iter().map(|candidate| candidate.name);
                let paths = candidates.iter().map(|candidate| candidate.path);
                let near = if pattern.text.starts_with('/') { nearest(&pattern.text, paths) } else { nearest(&pattern.text, names) };
                (pattern.written.clone(), near)
            })
            .collect()
    }
}

impl Pattern {
    fn parse(written: &str) -> Self {
        let (method, text) = match written.split_once(char::is_whitespace) {
            Some((method, path)) if path.trim_start().starts_with(['/', '*']) => (Some(method.to_ascii_uppercase()), path.trim_start()),
            _ => (None, written),
        };
        Self { written: written.to_owned(), method: method.filter(|method| method != "*"), text: text.to_owned() }
    }

    fn meets(&self, candidate: Candidate<'_>) -> bool {
        if self.method.as_deref().is_some_and(|method| method != candidate.method) {
            return false;
        }
        let is_path = self.method.is_some() || self.text.starts_with('/');
        if is_path {
            return like(&self.text, candidate.path);
        }
        like(&self.text, candidate.name) || candidate.id.is_some_and(|id| like(&self.text, id))
    }
}

/// Whether a text has the form of a pattern in which `*` stands for any text. Takes no longer than the product of the
/// lengths.
fn like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    if !pattern.contains('*') {
        return rest.is_empty();
    }
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return true };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PETS: &[Candidate<'static>] = &[
        Candidate { name: "list_pets", id: Some("listPets"), method: "GET", path: "/pets" },
        Candidate { name: "get_pet", id: Some("getPet"), method: "GET", path: "/pets/{id}" },
        Candidate { name: "delete_pet", id: None, method: "DELETE", path: "/pets/{id}" },
    ];

    fn picked(text: &str) -> Vec<&'static str> {
        let selection = Selection::parse(text).expect("reads");
        PETS.iter().filter(|pet| selection.picks(**pet)).map(|pet| pet.name).collect()
    }

    #[test]
    fn names_ids_and_paths_pick() {
        assert_eq!(picked("list_pets"), ["list_pets"]);
        assert_eq!(picked("getPet, delete_pet,"), ["get_pet", "delete_pet"]);
        assert_eq!(picked("get /pets/*"), ["get_pet"]);
        assert_eq!(picked("/pets*"), ["list_pets", "get_pet", "delete_pet"]);
        assert_eq!(picked("* /pets/{id}"), ["get_pet", "delete_pet"]);
        assert_eq!(picked("*_pet"), ["get_pet", "delete_pet"]);
        assert_eq!(picked("GET *"), ["list_pets", "get_pet"]);
        assert!(PETS.iter().all(|pet| Selection::default().picks(*pet)));
        assert!(Selection::parse(" , ").is_err());
        assert!(Selection::parse(&"a,".repeat(1_001)).is_err());
    }

    #[test]
    fn what_picks_nothing_is_named_with_the_nearest() {
        let selection = Selection::parse("list_pet,GET /pet,delete_*,nothing_like_it").expect("reads");
        let unmet = selection.unmet(PETS);
        assert_eq!(
            unmet,
            [("list_pet".to_owned(), Some("list_pets")), ("GET /pet".to_owned(), Some("/pets")), ("nothing_like_it".to_owned(), None)]
        );
    }
}
