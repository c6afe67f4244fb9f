//! Expressions and templates where they stand in YAML: compiled, every fault with its place inside the string. Whoever reads
//! knows which names there are.

use crate::expr::{Expression, SyntaxError, Template, Tree};
use crate::fault::{Fault, Faults};
use crate::yaml::{Node, Yaml};

/// Who reads: faults go there, and each name is looked at there.
pub trait Reader {
    /// Where faults go.
    fn faults(&mut self) -> &mut Faults;

    /// Looks at the paths of an expression or template, which stand in `text`; `false` where it cannot be used.
    fn names(&mut self, node: &Node, text: &str, references: &[String]) -> bool;

    /// Looks at the text of a template that can be read.
    fn template_text(&mut self, _node: &Node, _text: &str) {}
}

/// A bare expression that gives a value.
pub fn expression(reader: &mut impl Reader, node: &Node, what: &str) -> Option<Expression> {
    let text = match &node.value {
        Yaml::Text(text) => text.clone(),
        Yaml::Bool(b) => b.to_string(),
        _ => return wrong_type(reader, node, what, "an expression"),
    };
    match Expression::compile(&text) {
        Ok(expression) => reader.names(node, &text, &expression.references()).then_some(expression),
        Err(error) => syntax(reader, node, error),
    }
}

/// A text with `${…}` that may be written as a number or true/false too.
pub fn template(reader: &mut impl Reader, node: &Node, what: &str) -> Option<Template> {
    match &node.value {
        Yaml::Text(written) => text(reader, node, written),
        Yaml::Number(number) => node.exact(reader.faults()).then(|| text(reader, node, &number.to_string()))?,
        Yaml::Bool(b) => text(reader, node, &b.to_string()),
        _ => wrong_type(reader, node, what, "a string"),
    }
}

/// A text with `${…}`.
pub fn text(reader: &mut impl Reader, node: &Node, text: &str) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => {
            let fine = reader.names(node, text, &template.references());
            reader.template_text(node, text);
            fine.then_some(template)
        }
        Err(error) if text.contains("${{") => {
            let help = Some("templates are written `${…}` here, with one pair of braces".to_owned());
            syntax(reader, node, SyntaxError { help, ..error })
        }
        Err(error) => syntax(reader, node, error),
    }
}

/// Any value whose strings may hold `${…}`. All of it is read, whatever is wrong with a part.
pub fn tree(reader: &mut impl Reader, node: &Node) -> Option<Tree> {
    match &node.value {
        Yaml::Text(written) => {
            let template = text(reader, node, written)?;
            Some(match template.constant() {
                Some(constant) => Tree::Constant(constant.into()),
                None => Tree::Text(template),
            })
        }
        Yaml::List(items) => {
            let trees: Vec<_> = items.iter().map(|item| tree(reader, item)).collect();
            trees.into_iter().collect::<Option<Vec<_>>>().map(Tree::List)
        }
        Yaml::Map(entries) => {
            let trees: Vec<_> = entries.iter().map(|(key, value)| tree(reader, value).map(|tree| (key.name.clone(), tree))).collect();
            trees.into_iter().collect::<Option<Vec<_>>>().map(Tree::Map)
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Number(_) => node.exact(reader.faults()).then(|| Tree::Constant(node.to_json())),
    }
}

fn wrong_type<T>(reader: &mut impl Reader, node: &Node, what: &str, expected: &str) -> Option<T> {
    reader.faults().error("wrong-type", &node.place, format!("`{what}` is {}; expected {expected}", node.kind()));
    None
}

fn syntax<T>(reader: &mut impl Reader, node: &Node, error: SyntaxError) -> Option<T> {
    let fault = Fault::error("expression", node.place_of(error.offset), error.message);
    let help = if node.has_comment() {
        Some("an unquoted ` #` begins a comment; quote the whole value, or write it with `|`".to_owned())
    } else {
        error.help
    };
    reader.faults().push(match help {
        Some(help) => fault.help(help),
        None => fault,
    });
    None
}
