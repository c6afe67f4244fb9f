//! From YAML to branches: objects are walked, `$or` multiplies what is there, leaves become conditions.

use std::collections::HashSet;
use std::sync::Arc;

use super::condition::{Branch, Condition};
use super::leaf::{self, OPERATORS};
use crate::fault::{Fault, Faults, Place};
use crate::yaml::{KeyNode, Node, Yaml};

/// The most branches that the `$or`s of one pattern may multiply to.
pub const BRANCHES_MAX: usize = 1_000;

const OR: &str = "$or";

/// Names that mean something elsewhere in patterns and are no fields inside `$or`.
const RESERVED: &[&str] = &[
    "=",
    "<",
    "<=",
    ">",
    ">=",
    "regex",
    "not-wildcard",
    "not-equals-ignore-case",
    "date-after",
    "date-on-or-after",
    "date-before",
    "date-on-or-before",
    "in-date-range",
    "ip-address-in-range",
    "ip-address-not-in-range",
];

pub(super) fn compile(node: &Node, faults: &mut Faults) -> Option<Vec<Branch>> {
    let mut own = Faults::new();
    let mut compiler = Compiler { faults: &mut own, written: 0, outside: HashSet::new(), overflow: false };
    let mut branches = vec![Branch::default()];
    match &node.value {
        Yaml::Map(entries) => compiler.object(entries, &node.place, &Path::default(), &mut branches),
        _ => {
            let message = format!("`match` is {}; expected fields of the event", node.kind());
            compiler.faults.push(
                Fault::error("pattern-shape", node.place.clone(), message).help("write for example: match: {Queue: {Name: [Invoices]}}"),
            );
        }
    }
    let refused = own.any_error();
    faults.extend(own);
    (!refused).then_some(branches)
}

/// Where in the pattern the compiler is.
#[derive(Clone, Debug, Default)]
struct Path {
    /// Field names joined by dots.
    fields: String,
    /// Whether a `$or` is around it.
    inside_or: bool,
}

impl Path {
    fn then(&self, name: &str) -> Self {
        let fields = if self.fields.is_empty() { name.to_owned() } else { format!("{}.{name}", self.fields) };
        Self { fields, inside_or: self.inside_or }
    }

    /// For messages: `match.Queue.Name`.
    fn shown(&self) -> String {
        if self.fields.is_empty() { "match".to_owned() } else { format!("match.{}", self.fields) }
    }
}

struct Compiler<'f> {
    faults: &'f mut Faults,
    written: usize,
    /// Paths that stand outside every `$or`.
    outside: HashSet<Box<str>>,
    overflow: bool,
}

impl Compiler<'_> {
    fn object(&mut self, entries: &[(KeyNode, Node)], place: &Place, path: &Path, branches: &mut Vec<Branch>) {
        if entries.is_empty() {
            let message = format!("`{}` is an empty object and would match nothing in particular", path.shown());
            self.faults.push(Fault::error("pattern-empty", place.clone(), message).help("name a field in it, or remove it"));
        }
        for (key, value) in entries {
            if key.name == OR && self.is_alternatives(value) {
                self.alternatives(value, path, branches);
                continue;
            }
            let inner = path.then(&key.name);
            if path.inside_or && (RESERVED.contains(&key.name.as_str()) || OPERATORS.contains(&key.name.as_str())) {
                let message = format!("`{}` is the name of an operator and no field inside `$or`", key.name);
                self.faults.push(
                    Fault::error("pattern-reserved", key.place.clone(), format!("{message} (`{}`)", inner.shown()))
                        .help("name the field first: {Field: [{prefix: …}]}"),
                );
                continue;
            }
            match &value.value {
                Yaml::Map(inner_entries) => self.object(inner_entries, &value.place, &inner, branches),
                Yaml::List(items) => self.leaf(key, value, items, &inner, branches),
                _ => self.scalar(key, value, &inner),
            }
        }
    }

    fn leaf(&mut self, key: &KeyNode, node: &Node, items: &[Node], path: &Path, branches: &mut [Branch]) {
        let shown = path.shown();
        if items.is_empty() {
            let message = format!("`{shown}` is an empty list and would never match");
            self.faults.push(Fault::error("pattern-empty", node.place.clone(), message).help("list what it may be, or [{exists: true}]"));
            return;
        }
        let Some((tests, absent)) = leaf::alternatives(items, &shown, self.faults) else { return };
        let condition =
            Arc::new(Condition { path: path.fields.as_str().into(), tests, absent, expected: node.to_json(), written: self.written });
        self.written += 1;
        if !path.inside_or && !self.outside.insert(condition.path.clone()) {
            let message = format!("`{shown}` is written twice, with a dot and without");
            self.faults.push(Fault::error("pattern-duplicate", key.place.clone(), message).help("keep one of them"));
            return;
        }
        let mut replaced = false;
        for branch in branches {
            replaced |= branch.put(Arc::clone(&condition)).is_some();
        }
        if replaced {
            let message = format!("`{shown}` is asked for twice; only the later condition counts where both apply");
            self.faults.push(
                Fault::warning("pattern-replaced", key.place.clone(), message)
                    .help("repeat the condition in each branch of `$or`, or list all values in one place"),
            );
        }
    }

    /// A scalar where a list of alternatives belongs: the corrected line is printed.
    fn scalar(&mut self, key: &KeyNode, node: &Node, path: &Path) {
        let message = format!("`{}` is {}; a pattern lists what a field may be", path.shown(), node.kind());
        let written = match &node.value {
            Yaml::Text(text) if text.contains("${") => format!("\"{text}\""),
            Yaml::Text(text) => leaf::quoted(text),
            other => leaf::shown(other),
        };
        let help = format!("write: {}: [{written}]", key.name);
        self.faults.push(Fault::error("pattern-scalar", node.place.clone(), message).help(help));
    }

    /// Whether the value of `$or` is a list of branches. Event-ruler takes any other well-formed value for a field that
    /// is called `$or`, and so does this compiler, with a warning.
    fn is_alternatives(&mut self, node: &Node) -> bool {
        let plain = match &node.value {
            Yaml::Map(_) => true,
            Yaml::List(items) => !items.is_empty() && items.iter().all(leaf::is_alternative),
            _ => false,
        };
        if plain {
            let message = "`$or` in `match` is no list of branches and is taken for a field of that name";
            self.faults.push(Fault::warning("pattern-or", node.place.clone(), message).help("write branches: $or: [{A: [1]}, {B: [2]}]"));
        }
        !plain
    }

    fn alternatives(&mut self, node: &Node, path: &Path, branches: &mut Vec<Branch>) {
        let help = "write at least two branches: $or: [{A: [1]}, {B: [2]}]";
        let items = match node.as_list() {
            Some(items) if items.len() >= 2 => items,
            _ => {
                let message = format!("`$or` in `{}` needs a list of at least two objects", path.shown());
                self.faults.push(Fault::error("pattern-or", node.place.clone(), message).help(help));
                return;
            }
        };
        let inner = Path { inside_or: true, ..path.clone() };
        let before = std::mem::take(branches);
        for item in items {
            let Yaml::Map(entries) = &item.value else {
                let message = format!("a branch of `$or` in `{}` is {}; expected an object", path.shown(), item.kind());
                self.faults.push(Fault::error("pattern-or", item.place.clone(), message).help(help));
                continue;
            };
            let mut own = before.clone();
            self.object(entries, &item.place, &inner, &mut own);
            branches.append(&mut own);
            if branches.len() > BRANCHES_MAX {
                if !self.overflow {
                    let message = format!("the `$or`s of `match` multiply to more than {BRANCHES_MAX} branches");
                    let fault = Fault::error("pattern-branches", node.place.clone(), message);
                    self.faults.push(fault.help("split the rule, or list alternatives of one field in one list"));
                }
                self.overflow = true;
                branches.truncate(1);
            }
        }
        if branches.is_empty() {
            *branches = before;
        }
    }
}
