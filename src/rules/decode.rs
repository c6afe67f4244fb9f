//! Reading expressions and templates out of YAML: every fault with its place inside the string, every name checked.

use std::collections::HashSet;
use std::sync::Arc;

use super::Known;
use crate::embedded::{self, Reader};
use crate::expr::{Expression, Scope, Template, Tree, explain};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::time::Timestamp;
use crate::yaml::{Node, Yaml};

/// The names that expressions see.
pub(super) const NAMES: &[&str] = &["event", "data", "item", "content", "queue", "job", "steps", "vars", "rule", "run", "now"];

/// What is known while a rule is read.
pub(super) struct Decoder<'a> {
    /// The configuration's names.
    pub(super) known: &'a Known,
    /// Where faults go.
    pub(super) faults: &'a mut Faults,
    /// All step ids of the rule.
    pub(super) ids: Vec<Arc<str>>,
    /// How many steps run before this place, with their ids; `None` where no step has run (`when`).
    pub(super) earlier: Option<Vec<Arc<str>>>,
    /// Ids that steps have taken already.
    pub(super) taken: HashSet<Arc<str>>,
    /// Names of elements that are known here.
    pub(super) bound: Vec<Arc<str>>,
    /// Inside of a step or a list of steps that takes no further lists.
    pub(super) nested: bool,
    /// Whether `error` is known here.
    pub(super) has_error: bool,
}

impl<'a> Decoder<'a> {
    /// At the top of a rule.
    pub(super) fn new(known: &'a Known, faults: &'a mut Faults) -> Self {
        Self { known, faults, ids: Vec::new(), earlier: None, taken: HashSet::new(), bound: Vec::new(), nested: false, has_error: false }
    }
}

impl Decoder<'_> {
    /// Reports an error.
    pub(super) fn error(&mut self, code: &'static str, place: &Place, message: impl Into<String>) {
        self.faults.error(code, place, message);
    }

    /// Reports an error with its remedy.
    pub(super) fn error_help(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.error_help(code, place, message, help);
    }

    /// Reports a warning.
    pub(super) fn warning(&mut self, code: &'static str, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        self.faults.warning(code, place, message, help);
    }

    /// A bare expression that is a condition: `when`, `if`.
    pub(super) fn expression(&mut self, node: &Node, what: &str) -> Option<Expression> {
        let expression = self.value(node, what)?;
        self.constant(node, &expression, what);
        Some(expression)
    }

    /// A bare expression that gives a value: `for_each`.
    pub(super) fn value(&mut self, node: &Node, what: &str) -> Option<Expression> {
        embedded::expression(self, node, what)
    }

    /// Conditions that can be judged without any event.
    fn constant(&mut self, node: &Node, expression: &Expression, what: &str) {
        if let Some(path) = expression.contradiction() {
            let message = format!("`{what}` can never hold: `{path}` would have to be two things at once");
            self.warning("never-matches", &node.place, message, "use `||`, or path in [a, b]");
        }
        for part in expression.conditions().iter().filter(|part| part.references().is_empty()) {
            let shown = part.text().trim();
            let what = if shown == expression.text().trim() { format!("`{what}`") } else { format!("`{shown}` in `{what}`") };
            match part.holds(&Scope::new().at(Timestamp::EPOCH)) {
                Ok(true) => self.warning("always-matches", &node.place, format!("{what} always holds"), "remove it"),
                Ok(false) => {
                    let message = format!("{what} can never hold");
                    self.warning("never-matches", &node.place, message, "use `mode: off` to switch a rule off");
                }
                Err(error) => self.error("expression", &node.place, format!("{what}: {}", explain(error))),
            }
        }
    }

    /// A text with `${…}`.
    pub(super) fn template(&mut self, node: &Node, what: &str) -> Option<Template> {
        let Yaml::Text(text) = &node.value else {
            let fault = Fault::error("wrong-type", node.place.clone(), format!("`{what}` is {}; expected a string", node.kind()));
            self.faults.push(match &node.value {
                Yaml::Number(number) => fault.help(format!("quote it: \"{number}\"")),
                Yaml::Bool(b) => fault.help(format!("quote it: \"{b}\"")),
                _ => fault,
            });
            return None;
        };
        embedded::text(self, node, text)
    }

    /// A text with `${…}` that may be written as a number or true/false too.
    pub(super) fn scalar(&mut self, node: &Node, what: &str) -> Option<Template> {
        embedded::template(self, node, what)
    }

    /// Any value whose strings may hold `${…}`.
    pub(super) fn tree(&mut self, node: &Node) -> Option<Tree> {
        embedded::tree(self, node)
    }

    fn has_run(&self, id: &str) -> bool {
        self.earlier.iter().flatten().any(|known| **known == *id)
    }

    fn wrong_name(&mut self, root: &str, next: Option<&str>, place: &Place) {
        match (root, next) {
            ("steps", _) if self.earlier.is_none() => {
                self.error_help("unknown-name", place, "`steps` is not known here: no step has run", "use `data`, `item`, `content`, …");
            }
            ("run", _) => self.error("unknown-name", place, "`run` is not known here: there is no run yet"),
            ("steps", Some(id)) => self.step_name(id, place),
            ("vars", Some(name)) => self.var_name(name, place),
            ("error", _) => {
                self.error_help("unknown-name", place, "`error` is known in `on_give_up` only", "remove it");
            }
            _ => {
                let fault = Fault::error("unknown-name", place.clone(), format!("unknown name `{root}`"));
                self.faults.push(match nearest(root, NAMES.iter().copied().chain(self.bound.iter().map(|name| &**name))) {
                    Some(near) => fault.help(format!("did you mean `{near}`?")),
                    None => fault.help(format!(
                        "fields of the event are `data.{root}`, of its item `item.{root}`, of the item's content `content.{root}`"
                    )),
                });
            }
        }
    }

    fn step_name(&mut self, id: &str, place: &Place) {
        let earlier = self.earlier.as_deref().unwrap_or_default();
        let fault = if self.ids.iter().any(|known| &**known == id) {
            Fault::error("step-order", place.clone(), format!("step `{id}` is referred to before it has run"))
                .help("move this step behind it")
        } else {
            let fault = Fault::error("unknown-step", place.clone(), format!("no step has the id `{id}`"));
            match nearest(id, earlier.iter().map(|known| &**known)) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help(format!("give the step that is meant `id: {id}`")),
            }
        };
        self.faults.push(fault);
    }

    fn var_name(&mut self, name: &str, place: &Place) {
        let fault = Fault::error("unknown-var", place.clone(), format!("`vars` has no `{name}`"));
        let names = self.known.vars.as_object().into_iter().flat_map(|vars| vars.keys().map(String::as_str));
        self.faults.push(match nearest(name, names) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("add it to `vars` of the configuration"),
        });
    }
}

impl Reader for Decoder<'_> {
    fn faults(&mut self) -> &mut Faults {
        self.faults
    }

    /// Every path must begin with a known name; steps must have run, vars must exist.
    fn names(&mut self, node: &Node, text: &str, references: &[String]) -> bool {
        for path in references {
            let mut parts = path.split('.');
            let root = parts.next().unwrap_or_default();
            let next = parts.next();
            let fine = match (root, next) {
                ("steps" | "run", _) if self.earlier.is_none() => false,
                ("error", _) => self.has_error,
                ("steps", Some(id)) => self.has_run(id),
                ("vars", Some(name)) => self.known.vars.get(name).is_some(),
                _ => NAMES.contains(&root) || self.bound.iter().any(|name| **name == *root),
            };
            // The place is looked for only where there is something to say: that reads the file up to it.
            if !fine {
                self.wrong_name(root, next, &node.place_of(offset_of(text, path, root)));
            }
        }
        true
    }

    fn template_text(&mut self, node: &Node, text: &str) {
        if is_foreign(text) {
            let message = "`{{…}}` is not evaluated: it is sent as it stands";
            self.warning("foreign-template", &node.place, message, "templates are written `${…}` here");
        }
    }
}

/// Whether a text has a template of other tools in it: `{{ x }}`, closed behind it.
fn is_foreign(text: &str) -> bool {
    text.find("{{").is_some_and(|at| !text[..at].ends_with('$') && text[at..].contains("}}"))
}

/// Where a path stands in a text, in characters.
fn offset_of(text: &str, path: &str, root: &str) -> usize {
    let whole = |word: &str| {
        text.match_indices(word).map(|(at, _)| at).find(|at| {
            let before = text[..*at].chars().next_back();
            let after = text[at + word.len()..].chars().next();
            let inside = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            !inside(before) && before != Some('.') && !inside(after)
        })
    };
    let at = whole(path).or_else(|| whole(root)).unwrap_or(0);
    text[..at].chars().count()
}
