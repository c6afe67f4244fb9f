//! The alternatives of a leaf: literals and operators, each checked at its place.

use super::address::{self, Block};
use super::number::{Number, Range};
use super::test::Test;
use super::text::{AnyCase, Wildcard};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::yaml::{Node, Yaml};

/// The operators, as written.
pub(super) const OPERATORS: &[&str] = &["exactly", PREFIX, SUFFIX, IGNORE_CASE, WILDCARD, "anything-but", "numeric", "cidr", "exists"];

const IGNORE_CASE: &str = "equals-ignore-case";
const PREFIX: &str = "prefix";
const SUFFIX: &str = "suffix";
const WILDCARD: &str = "wildcard";

/// Compiles the alternatives of one leaf; the second value says whether having no value is one of them.
pub(super) fn alternatives(items: &[Node], shown: &str, faults: &mut Faults) -> Option<(Vec<Test>, bool)> {
    let mut leaf = Leaf { shown, faults };
    let tests: Vec<Option<Test>> = items.iter().map(|item| leaf.alternative(item)).collect();
    let tests: Vec<Test> = tests.into_iter().collect::<Option<_>>()?;
    let absent = tests.contains(&Test::Absent);
    Some((tests.into_iter().filter(|test| *test != Test::Absent).collect(), absent))
}

/// Whether a node is well-formed as an alternative.
pub(super) fn is_alternative(node: &Node) -> bool {
    Leaf { shown: "", faults: &mut Faults::new() }.alternative(node).is_some()
}

/// A scalar as YAML shows it.
pub(super) fn shown(value: &Yaml) -> String {
    match value {
        Yaml::Null => "null".to_owned(),
        Yaml::Bool(b) => b.to_string(),
        Yaml::Number(n) => n.to_string(),
        Yaml::Text(text) => quoted(text),
        Yaml::List(_) | Yaml::Map(_) => "…".to_owned(),
    }
}

/// A string, in quotes where YAML or a reader would take it for something else.
pub(super) fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'))
        && text.starts_with(char::is_alphabetic)
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_lowercase().as_str());
    if plain { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}

struct Leaf<'a> {
    shown: &'a str,
    faults: &'a mut Faults,
}

impl Leaf<'_> {
    fn refuse<T>(&mut self, code: &'static str, place: &Place, what: &str, help: &str) -> Option<T> {
        let message = format!("`{}`: {what}", self.shown);
        self.faults.push(Fault::error(code, place.clone(), message).help(help));
        None
    }

    fn alternative(&mut self, node: &Node) -> Option<Test> {
        match &node.value {
            Yaml::Null => Some(Test::Null),
            Yaml::Bool(b) => Some(Test::Bool(*b)),
            Yaml::Number(n) => Some(Test::Number(Number::of(n))),
            Yaml::Text(text) => Some(literal(text)),
            Yaml::List(_) => {
                self.refuse("pattern-nested", &node.place, "a list inside a list", "write the alternatives in one list: [a, b]")
            }
            Yaml::Map(entries) => match entries.as_slice() {
                [(key, value)] => self.operator(&key.name, &key.place, value),
                [] => self.refuse("pattern-operator", &node.place, "an empty object", &known()),
                [_, (second, _), ..] => {
                    let what = format!("a second operator `{}`", second.name);
                    self.refuse(
                        "pattern-operator",
                        &second.place,
                        &what,
                        "write each operator in its own braces; they are alternatives: [{prefix: a}, {suffix: b}]",
                    )
                }
            },
        }
    }

    fn operator(&mut self, name: &str, place: &Place, value: &Node) -> Option<Test> {
        match name {
            "exactly" => self.text(name, value).map(|text| Test::Text(text.into())),
            PREFIX | SUFFIX => self.affix(name, value),
            IGNORE_CASE => self.text(name, value).map(|text| Test::AnyCase(AnyCase::new(text))),
            WILDCARD => self.wildcard(value).map(Test::Wildcard),
            "anything-but" => self.anything_but(value),
            "numeric" => self.numeric(value).map(Test::Range),
            "cidr" => {
                let text = self.text(name, value)?;
                match Block::parse(text) {
                    Ok(block) => Some(Test::Block(block)),
                    Err(message) => self.refuse("pattern-cidr", &value.place, &message, "write for example {cidr: 10.0.0.0/8}"),
                }
            }
            "exists" => match value.value {
                Yaml::Bool(true) => Some(Test::Exists),
                Yaml::Bool(false) => Some(Test::Absent),
                _ => self.refuse(
                    "pattern-exists",
                    &value.place,
                    &format!("`exists` is {}", value.kind()),
                    "write {exists: true} or {exists: false}",
                ),
            },
            _ => {
                let help = match nearest(name, OPERATORS.iter().copied()) {
                    Some(candidate) => format!("did you mean `{candidate}`?"),
                    None => known(),
                };
                self.refuse("pattern-operator", place, &format!("unknown operator `{name}`"), &help)
            }
        }
    }

    fn text<'n>(&mut self, name: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Yaml::Text(text) => Some(text),
            Yaml::Number(n) => self.refuse(
                "pattern-text",
                &node.place,
                &format!("`{name}` is a number; it compares strings"),
                &format!("quote it: {{{name}: \"{n}\"}}"),
            ),
            _ => self.refuse(
                "pattern-text",
                &node.place,
                &format!("`{name}` is {}; expected a string", node.kind()),
                &format!("write {{{name}: text}}"),
            ),
        }
    }

    fn affix(&mut self, name: &str, value: &Node) -> Option<Test> {
        let is_prefix = name == PREFIX;
        let Yaml::Map(entries) = &value.value else {
            let text = self.text(name, value)?;
            return Some(if is_prefix { Test::Prefix(text.into()) } else { Test::Suffix(text.into()) });
        };
        match entries.as_slice() {
            [(key, inner)] if key.name == IGNORE_CASE => {
                let any_case = AnyCase::new(self.text(IGNORE_CASE, inner)?);
                Some(if is_prefix { Test::PrefixAnyCase(any_case) } else { Test::SuffixAnyCase(any_case) })
            }
            _ => self.refuse(
                "pattern-operator",
                &value.place,
                &format!("`{name}` is an object of another shape"),
                &format!("write {{{name}: text}} or {{{name}: {{{IGNORE_CASE}: text}}}}"),
            ),
        }
    }

    fn wildcard(&mut self, node: &Node) -> Option<Wildcard> {
        let text = self.text(WILDCARD, node)?;
        match Wildcard::parse(text) {
            Ok(wildcard) => Some(wildcard),
            Err(message) => {
                let what = format!("`{text}`: {message}");
                self.refuse("pattern-wildcard", &node.place, &what, "`*` stands for any text, `\\*` for a star")
            }
        }
    }

    fn anything_but(&mut self, node: &Node) -> Option<Test> {
        const HELP: &str = "write a string, a number, a list of one kind, or one of prefix, suffix, equals-ignore-case, wildcard";
        let tests = match &node.value {
            Yaml::Map(entries) => match entries.as_slice() {
                [(key, _)] if ![PREFIX, SUFFIX, WILDCARD, IGNORE_CASE].contains(&key.name.as_str()) => {
                    let what = format!("`anything-but` cannot hold `{}`", key.name);
                    return self.refuse("pattern-anything-but", &key.place, &what, HELP);
                }
                [(key, value)] => {
                    let items = self.one_or_more(value)?;
                    let tests: Vec<_> = items.iter().map(|item| self.excluded(&key.name, item)).collect();
                    tests.into_iter().collect::<Option<Vec<_>>>()?
                }
                _ => return self.refuse("pattern-anything-but", &node.place, "`anything-but` does not hold exactly one operator", HELP),
            },
            _ => {
                let items = self.one_or_more(node)?;
                let mut tests = Vec::with_capacity(items.len());
                for item in items {
                    tests.push(match &item.value {
                        Yaml::Text(text) => Test::Text(text.as_str().into()),
                        Yaml::Number(n) => Test::Number(Number::of(n)),
                        _ => return self.refuse("pattern-anything-but", &item.place, &format!("`anything-but` of {}", item.kind()), HELP),
                    });
                }
                let numbers = tests.iter().filter(|test| matches!(test, Test::Number(_))).count();
                if numbers != 0 && numbers != tests.len() {
                    let help = "write two alternatives only if either may hold; strings and numbers are not mixed in one list";
                    return self.refuse("pattern-anything-but", &node.place, "strings and numbers in one `anything-but`", help);
                }
                tests
            }
        };
        Some(Test::AnythingBut(tests))
    }

    fn one_or_more<'n>(&mut self, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Yaml::List(items) if items.is_empty() => self.refuse(
                "pattern-empty",
                &node.place,
                "`anything-but` of an empty list",
                "name what is excluded, or write [{exists: true}]",
            ),
            Yaml::List(items) => Some(items),
            _ => Some(std::slice::from_ref(node)),
        }
    }

    fn excluded(&mut self, operator: &str, item: &Node) -> Option<Test> {
        match operator {
            PREFIX | SUFFIX => {
                let text = self.text(operator, item)?;
                if text.is_empty() {
                    let what = format!("`anything-but` of an empty {operator} would exclude every string");
                    return self.refuse("pattern-empty", &item.place, &what, "write the text that is excluded");
                }
                Some(if operator == PREFIX { Test::Prefix(text.into()) } else { Test::Suffix(text.into()) })
            }
            WILDCARD => self.wildcard(item).map(Test::Wildcard),
            _ => self.text(operator, item).map(|text| Test::AnyCase(AnyCase::new(text))),
        }
    }

    fn numeric(&mut self, node: &Node) -> Option<Range> {
        const HELP: &str = "write [\"=\", 5], [\">\", 5] or [\">=\", 5, \"<\", 10]: the lower bound first";
        let items = node.as_list().unwrap_or_default();
        let bound = |leaf: &mut Self, at: usize| -> Option<(String, f64)> {
            let (Some(operator), Some(value)) = (items.get(at).and_then(Node::as_text), items.get(at + 1)) else {
                return leaf.refuse("pattern-numeric", &node.place, "`numeric` is no list of comparisons", HELP);
            };
            let Yaml::Number(number) = &value.value else {
                return leaf.refuse("pattern-numeric", &value.place, &format!("`{operator}` is followed by {}", value.kind()), HELP);
            };
            match Number::of(number).double() {
                Some(double) => Some((operator.to_owned(), double)),
                None => leaf.refuse(
                    "pattern-numeric",
                    &value.place,
                    &format!("`{number}` has more digits than a comparison can tell apart"),
                    "compare it as a literal, or with a rounder number",
                ),
            }
        };
        let (operator, value) = bound(self, 0)?;
        let first = match operator.as_str() {
            "=" => Range { low: Some((value, true)), high: Some((value, true)) },
            ">" | ">=" => Range { low: Some((value, operator == ">=")), high: None },
            "<" | "<=" => Range { low: None, high: Some((value, operator == "<=")) },
            _ => return self.refuse("pattern-numeric", &items[0].place, &format!("unknown comparison `{operator}`"), HELP),
        };
        if items.len() == 2 {
            return Some(first);
        }
        if first.high.is_some() || items.len() != 4 {
            return self.refuse("pattern-numeric", &node.place, "too many terms of `numeric`", HELP);
        }
        let (operator, top) = bound(self, 2)?;
        if !["<", "<="].contains(&operator.as_str()) {
            return self.refuse("pattern-numeric", &items[2].place, &format!("`{operator}` as an upper bound"), HELP);
        }
        if value >= top {
            return self.refuse("pattern-numeric", &node.place, &format!("nothing is above {value} and below {top}"), HELP);
        }
        Some(Range { high: Some((top, operator == "<=")), ..first })
    }
}

/// A string that looks like an address is compared as one, any other by its characters.
fn literal(text: &str) -> Test {
    address::parse(text).map_or_else(|| Test::Text(text.into()), Test::Address)
}

fn known() -> String {
    format!("operators are: {}", OPERATORS.join(", "))
}
