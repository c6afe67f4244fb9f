//! What an error of `cel` means for the person who wrote the expression: which path is missing, what does not fit.
//!
//! The library names the last field or the types only, so the tree is searched for the part that fits.

use cel::ExecutionError;
use cel::common::ast::{Expr, IdedExpr, LiteralValue, operators};
use serde_json::Value;

use super::compile::{TYPES, dotted, visit};
use super::eval::kind;
use super::functions::people;
use super::{EvalError, Scope};

/// Turns an error into ours.
pub(super) fn explain(error: &ExecutionError, tree: &IdedExpr, text: &str, scope: &Scope<'_>) -> EvalError {
    match error {
        ExecutionError::NoSuchKey(key) => EvalError::Missing { path: missing_path(tree, scope, key) },
        ExecutionError::UndeclaredReference(name) => EvalError::Missing { path: name.to_string() },
        ExecutionError::IndexOutOfBounds(index) => {
            let number = match index {
                cel::Value::Int(n) => n.to_string(),
                cel::Value::UInt(n) => n.to_string(),
                _ => "…".to_owned(),
            };
            EvalError::Missing { path: format!("{}[{number}]", indexed_path(tree).unwrap_or_default()) }
        }
        ExecutionError::NoSuchOverload(overload) => no_overload(overload.function(), overload.argument_types(), tree, text, scope),
        ExecutionError::UnexpectedType { got, .. } if got == "null_type" => null_path(tree, text, scope),
        ExecutionError::UnexpectedType { got, want } => EvalError::of_type(format!("{} where {} is expected", people(got), people(want))),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => EvalError::of_type("division by zero"),
        ExecutionError::Overflow(..) => EvalError::of_type("the number is too large"),
        ExecutionError::DuplicateKey(_) => EvalError::of_type("a key stands twice in `{…}`"),
        ExecutionError::FunctionError { function, message } => {
            EvalError::of_type(format!("{function}: {}", message.lines().next().unwrap_or_default()))
        }
        _ => EvalError::of_type("the values do not fit the expression"),
    }
}

fn no_overload(function: &str, types: &[String], tree: &IdedExpr, text: &str, scope: &Scope<'_>) -> EvalError {
    if types.iter().any(|t| t == "null_type") {
        return null_path(tree, text, scope);
    }
    let names: Vec<&str> = types.iter().map(|t| people(t)).collect();
    let has = |name: &str| names.contains(&name);
    if matches!(function, "_._" | "_?._" | "_[_]" | "_[?_]") {
        let of = names.first().copied().unwrap_or("it");
        let message = match field_owner(tree, scope) {
            // A body that is no object has none of the fields that rules ask for.
            Some((path, _)) if !path.contains('.') => return EvalError::Missing { path: first_field(tree, &path) },
            Some((path, found)) => format!("`{path}` is {found}; it has no such field"),
            None => format!("{of} has no such field"),
        };
        let help = (of == "a list").then(|| "take one element with [0], or test them with exists(x, …)".to_owned());
        return EvalError::Type { message, help };
    }
    let shown = match function.strip_prefix('@').unwrap_or(function) {
        "in" => "in".to_owned(),
        other => other.trim_matches('_').to_owned(),
    };
    let message = match text_operand(tree, function, scope) {
        Some(path) if has("text") && has("a number") => format!("`{path}` is text, but `{shown}` needs a number beside a number"),
        _ => format!("`{shown}` does not go with {}", names.join(" and ")),
    };
    let help = match (has("text"), has("a number"), has("a timestamp")) {
        (true, true, _) if function == "_+_" => Some("convert one of them: double(…) for the text, string(…) for the number".to_owned()),
        (true, true, _) => Some("convert the text: double(…)".to_owned()),
        (true, _, true) => Some("convert the text: timestamp(…)".to_owned()),
        _ => None,
    };
    EvalError::Type { message, help }
}

/// What stands under a plain path, as far as it goes.
fn resolve<'a>(path: &str, scope: &Scope<'a>) -> Option<&'a Value> {
    let mut names = path.split('.');
    let mut value = scope.get(names.next()?)?;
    for name in names {
        value = value.get(name)?;
    }
    Some(value)
}

/// All plain paths in the tree, the longest of each chain.
fn paths(tree: &IdedExpr) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    visit(tree, &mut |node| {
        if let Some(path) = dotted(node)
            && !path.starts_with('@')
            && !found.iter().any(|longer| longer.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with('.')))
        {
            found.push(path);
        }
    });
    found
}

/// The path as written whose last known step lacks `key`.
fn missing_path(tree: &IdedExpr, scope: &Scope<'_>, key: &str) -> String {
    let all = paths(tree);
    for path in &all {
        let names: Vec<&str> = path.split('.').collect();
        for (at, name) in names.iter().enumerate().skip(1) {
            let parent = resolve(&names[..at].join("."), scope);
            if *name == key && parent.is_some_and(|value| value.get(key).is_none()) {
                return names[..=at].join(".");
            }
        }
    }
    // A field of a loop's variable, or of something computed: as far as it is written.
    let written = all.iter().find_map(|path| {
        let names: Vec<&str> = path.split('.').collect();
        names.iter().skip(1).position(|name| *name == key).map(|at| names[..=at + 1].join("."))
    });
    written.unwrap_or_else(|| key.to_owned())
}

/// A path that is null where a value is needed.
fn null_path(tree: &IdedExpr, text: &str, scope: &Scope<'_>) -> EvalError {
    for path in paths(tree) {
        let names: Vec<&str> = path.split('.').collect();
        for upto in 1..=names.len() {
            let short = names[..upto].join(".");
            if resolve(&short, scope).is_some_and(Value::is_null) {
                // What is asked of a null is missing; the null itself where nothing is asked of it.
                return EvalError::Missing { path: names[..(upto + 1).min(names.len())].join(".") };
            }
        }
    }
    EvalError::Missing { path: text.trim().to_owned() }
}

fn indexed_path(tree: &IdedExpr) -> Option<String> {
    let mut found = None;
    visit(tree, &mut |node| {
        if let Expr::Call(call) = &node.expr
            && matches!(call.func_name.as_str(), operators::INDEX | operators::OPT_INDEX)
            && found.is_none()
        {
            found = call.args.first().and_then(dotted);
        }
    });
    found
}

/// A path that is no object but is asked for a field.
fn field_owner(tree: &IdedExpr, scope: &Scope<'_>) -> Option<(String, &'static str)> {
    for path in paths(tree) {
        let names: Vec<&str> = path.split('.').collect();
        for upto in 1..names.len() {
            let short = names[..upto].join(".");
            match resolve(&short, scope) {
                Some(Value::Object(_)) | None => {}
                Some(other) => return Some((short, kind(other))),
            }
        }
    }
    None
}

/// The first field that is asked of a name, as written.
fn first_field(tree: &IdedExpr, root: &str) -> String {
    let of_root = paths(tree).into_iter().find_map(|path| {
        let mut names = path.split('.');
        let (first, second) = (names.next()?, names.next()?);
        (first == root).then(|| format!("{first}.{second}"))
    });
    of_root.unwrap_or_else(|| root.to_owned())
}

/// An operand of `function` that is text, as written.
fn text_operand(tree: &IdedExpr, function: &str, scope: &Scope<'_>) -> Option<String> {
    let own = match function {
        "_+_" => "@add",
        "_-_" => "@sub",
        "_*_" => "@mul",
        "_/_" => "@div",
        "_==_" => "@eq",
        "_!=_" => "@ne",
        other => other,
    };
    let mut found = None;
    visit(tree, &mut |node| {
        let Expr::Call(call) = &node.expr else { return };
        if found.is_none() && call.func_name == own {
            let is_number = |arg: &IdedExpr| match &arg.expr {
                Expr::Literal(literal) => matches!(literal, LiteralValue::Int(_) | LiteralValue::UInt(_) | LiteralValue::Double(_)),
                _ => dotted(arg).is_none_or(|path| resolve(&path, scope).is_none_or(Value::is_number)),
            };
            let text = call.args.iter().filter_map(dotted).find(|path| resolve(path, scope).is_some_and(Value::is_string));
            if call.args.iter().any(is_number) {
                found = text;
            }
        }
    });
    found.filter(|path| !TYPES.contains(&path.as_str()))
}
