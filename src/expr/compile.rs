//! From text to something that evaluates: plain paths as they are, the rest through the parser of `cel`, checked
//! for unknown functions and regular expressions, and rewritten to the forms in `functions`.

use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::CelInt;
use cel::parser::ParseErrors;

use super::functions::{GLOBAL, MACROS, MEMBERS, env, pattern};
use super::{SyntaxError, scan, stack};
use crate::fault::nearest;

/// A compiled text.
#[derive(Clone, Debug)]
pub(super) enum Code {
    /// `item.Reference`: looked up in the JSON, without CEL.
    Path(Arc<[String]>),
    /// Anything else.
    Cel {
        /// The tree, rewritten.
        tree: Arc<IdedExpr>,
        /// Whether it needs a big stack.
        deep: bool,
    },
}

/// Words that are no names.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Types, which are values too.
pub(super) const TYPES: &[&str] = &["int", "uint", "double", "string", "bytes", "bool", "list", "map", "null_type", "type", "google"];

/// Compiles one expression.
pub(super) fn compile(text: &str) -> Result<Code, SyntaxError> {
    let shape = scan::measure(text)?;
    if let Some(path) = plain_path(text.trim()) {
        return Ok(Code::Path(path.into()));
    }
    let deep = shape.is_deep();
    match stack::run(deep, || parse(text)) {
        Ok(Ok(tree)) => Ok(Code::Cel { tree: Arc::new(tree), deep }),
        Ok(Err(error)) => Err(error),
        Err(stack::Broken) => Err(SyntaxError::new("the expression cannot be read", 0)),
    }
}

fn plain_path(text: &str) -> Option<Vec<String>> {
    let is_name = |name: &str| {
        name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !RESERVED.contains(&name)
    };
    let names: Vec<&str> = text.split('.').collect();
    (names.iter().all(|name| is_name(name)) && !TYPES.contains(&names[0])).then(|| names.into_iter().map(str::to_owned).collect())
}

fn parse(text: &str) -> Result<IdedExpr, SyntaxError> {
    let mut tree = env().parser().enable_ident_escape_syntax(true).parse(text).map_err(|errors| syntax(text, &errors))?;
    check(&tree, text)?;
    rewrite(&mut tree);
    Ok(tree)
}

/// The first error of the parser in words for people.
fn syntax(text: &str, errors: &ParseErrors) -> SyntaxError {
    let Some(first) = errors.errors.first() else { return SyntaxError::new("the expression cannot be read", 0) };
    let (line, column) = (usize::try_from(first.pos.0).unwrap_or(0), usize::try_from(first.pos.1).unwrap_or(0));
    let before: usize = text.split('\n').take(line.saturating_sub(1)).map(|l| l.chars().count() + 1).sum();
    let offset = (before + column.saturating_sub(1)).min(text.chars().count());
    let raw = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    let raw = raw.split(" expecting ").next().unwrap_or(raw).replace('\n', " ");
    let message = if raw.contains("<EOF>") || offset >= text.trim_end().chars().count() {
        "the expression ends too early".to_owned()
    } else if let Some(rest) = raw.strip_prefix("mismatched input ").or_else(|| raw.strip_prefix("extraneous input ")) {
        format!("unexpected {}", rest.replace('\'', "`"))
    } else if let Some(rest) = raw.strip_prefix("token recognition error at: ") {
        format!("unexpected `{}`", rest.trim_matches(['\'', ' ']))
    } else {
        raw.replace('\'', "`")
    };
    let error = SyntaxError::new(message, offset);
    match remedy(text, offset) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// What people write when they mean something CEL spells differently.
fn remedy(text: &str, offset: usize) -> Option<&'static str> {
    let start = offset.saturating_sub(2);
    let near: String = text.chars().skip(start).take(8).collect();
    let word: String = text.chars().skip(offset).take_while(char::is_ascii_alphabetic).collect();
    let single = |c: char| near.chars().filter(|x| *x == c).count() == 1;
    match word.as_str() {
        "and" => return Some("write `&&`"),
        "or" => return Some("write `||`"),
        "not" => return Some("write `!`"),
        _ => {}
    }
    if text.trim_start().starts_with("not ") {
        return Some("write `!`");
    }
    if text.contains("{{") || text.contains("${") {
        return Some("a bare expression has no `${…}` or `{{…}}` around it");
    }
    if near.contains('=') && !near.contains("==") && !near.contains("!=") && !near.contains(">=") && !near.contains("<=") {
        return Some("compare with `==`");
    }
    if near.contains('&') && single('&') {
        return Some("write `&&`");
    }
    (near.contains('|') && single('|')).then_some("write `||`")
}

/// Every function must be known, every written-out regular expression must compile.
fn check(tree: &IdedExpr, text: &str) -> Result<(), SyntaxError> {
    let mut first = Ok(());
    visit(tree, &mut |node| {
        if first.is_ok()
            && let Expr::Call(call) = &node.expr
        {
            first = check_call(call, text);
        }
    });
    first
}

fn check_call(call: &CallExpr, text: &str) -> Result<(), SyntaxError> {
    let name = call.func_name.as_str();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Ok(());
    }
    let qualified = call.target.as_ref().and_then(|target| dotted(target)).map(|path| format!("{path}.{name}"));
    let known = match (&call.target, &qualified) {
        (None, _) => GLOBAL.contains(&name),
        (Some(_), Some(full)) if GLOBAL.contains(&full.as_str()) => true,
        (Some(_), _) => MEMBERS.contains(&name),
    };
    if !known {
        let error = SyntaxError::new(format!("unknown function `{name}`"), place_of_call(text, name));
        let all = MEMBERS.iter().chain(GLOBAL).chain(MACROS).copied();
        return Err(match (call.target.is_none() && MEMBERS.contains(&name), nearest(name, all)) {
            (true, _) => error.help(format!("it is called on a value: x.{name}(…)")),
            (false, Some(near)) if near == name => error.help(format!("it is called as {near}(…)")),
            (false, Some(near)) => error.help(format!("did you mean `{near}`?")),
            (false, None) => error,
        });
    }
    if name == "matches"
        && let Some(Expr::Literal(LiteralValue::String(wanted))) = call.args.last().map(|arg| &arg.expr)
        && let Err(message) = pattern(wanted.inner())
    {
        return Err(SyntaxError::new(message, place_of_call(text, name)));
    }
    Ok(())
}

/// Where `name(` stands, in characters.
fn place_of_call(text: &str, name: &str) -> usize {
    let found = text.match_indices(name).find(|(at, _)| text[at + name.len()..].trim_start().starts_with('('));
    found.map_or(0, |(at, _)| text[..at].chars().count())
}

/// `a.b.c` of a chain of selections on a name.
pub(super) fn dotted(tree: &IdedExpr) -> Option<String> {
    match &tree.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) => Some(format!("{}.{}", dotted(&select.operand)?, select.field)),
        Expr::Call(call) if call.func_name == operators::INDEX => match call.args.as_slice() {
            [target, IdedExpr { expr: Expr::Literal(LiteralValue::String(key)), .. }] => {
                Some(format!("{}.{}", dotted(target)?, key.inner()))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Calls `see` on every node, outer ones first, in the order of the text.
pub(super) fn visit<'t>(tree: &'t IdedExpr, see: &mut dyn FnMut(&'t IdedExpr)) {
    see(tree);
    match &tree.expr {
        Expr::Call(call) => {
            if let Some(target) = &call.target {
                visit(target, see);
            }
            call.args.iter().for_each(|arg| visit(arg, see));
        }
        Expr::Comprehension(loop_) => {
            for part in [&loop_.iter_range, &loop_.accu_init, &loop_.loop_cond, &loop_.loop_step, &loop_.result] {
                visit(part, see);
            }
        }
        Expr::List(list) => list.elements.iter().for_each(|item| visit(item, see)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| visit_entry(&entry.expr, see)),
        Expr::Struct(value) => value.entries.iter().for_each(|entry| visit_entry(&entry.expr, see)),
        Expr::Select(select) => visit(&select.operand, see),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn visit_entry<'t>(entry: &'t EntryExpr, see: &mut dyn FnMut(&'t IdedExpr)) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            visit(&entry.key, see);
            visit(&entry.value, see);
        }
        EntryExpr::StructField(field) => visit(&field.value, see),
    }
}

/// Puts our own forms in place of the standard ones.
fn rewrite(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Call(call) => {
            if let Some(target) = &mut call.target {
                rewrite(target);
            }
            call.args.iter_mut().for_each(rewrite);
            rewrite_call(tree);
        }
        Expr::Comprehension(loop_) => {
            for part in [&mut loop_.iter_range, &mut loop_.accu_init, &mut loop_.loop_cond, &mut loop_.loop_step, &mut loop_.result] {
                rewrite(part);
            }
            let mut nodes = 0_i64;
            visit(&loop_.loop_step, &mut |_| nodes += 1);
            let weight = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(CelInt::from(nodes))) };
            let range = std::mem::take(&mut loop_.iter_range);
            loop_.iter_range = call("@range", vec![range, weight]);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(rewrite),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| rewrite_entry(&mut entry.expr)),
        Expr::Struct(value) => value.entries.iter_mut().for_each(|entry| rewrite_entry(&mut entry.expr)),
        Expr::Select(select) => rewrite(&mut select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn rewrite_entry(entry: &mut EntryExpr) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            rewrite(&mut entry.key);
            rewrite(&mut entry.value);
        }
        EntryExpr::StructField(field) => rewrite(&mut field.value),
    }
}

fn rewrite_call(tree: &mut IdedExpr) {
    let Expr::Call(found) = &mut tree.expr else { return };
    // `@result + [x]` is how the macros collect; the evaluator knows that form and does it in place.
    let collects = matches!(found.args.first().map(|arg| &arg.expr), Some(Expr::Ident(name)) if name.starts_with('@'));
    let own = match found.func_name.as_str() {
        operators::ADD if !collects => Some("@add"),
        operators::SUBSTRACT => Some("@sub"),
        operators::MULTIPLY => Some("@mul"),
        operators::DIVIDE => Some("@div"),
        operators::EQUALS => Some("@eq"),
        operators::NOT_EQUALS => Some("@ne"),
        "matches" => Some("@matches"),
        "timestamp" if found.target.is_none() => Some("@timestamp"),
        "duration" if found.target.is_none() => Some("@duration"),
        _ => None,
    };
    if let Some(own) = own {
        own.clone_into(&mut found.func_name);
        return;
    }
    match found.func_name.as_str() {
        operators::OPT_SELECT | operators::OPT_INDEX => {
            let inner = std::mem::take(tree);
            *tree = call("@some", vec![inner]);
        }
        "or" | "orValue" | "hasValue" | "value" => {
            if let Some(target) = &mut found.target {
                let inner = std::mem::take(target.as_mut());
                **target = call("@some", vec![inner]);
            }
        }
        _ => {}
    }
}

fn call(name: &str, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }) }
}

/// The plain paths of an expression, without the variables of its own loops.
pub(super) fn references(code: &Code) -> Vec<String> {
    let mut found = Vec::new();
    match code {
        Code::Path(path) => found.push(path.join(".")),
        Code::Cel { tree, .. } => collect(tree, &mut Vec::new(), &mut found),
    }
    found
}

fn collect<'t>(tree: &'t IdedExpr, bound: &mut Vec<&'t str>, found: &mut Vec<String>) {
    if let Some(path) = dotted(tree) {
        let root = path.split('.').next().unwrap_or_default();
        if !root.starts_with('@') && !bound.contains(&root) && !TYPES.contains(&root) && !found.contains(&path) {
            found.push(path);
        }
        return;
    }
    match &tree.expr {
        Expr::Comprehension(loop_) => {
            collect(&loop_.iter_range, bound, found);
            collect(&loop_.accu_init, bound, found);
            let before = bound.len();
            bound.extend([loop_.iter_var.as_str(), loop_.accu_var.as_str()]);
            for part in [&loop_.loop_cond, &loop_.loop_step, &loop_.result] {
                collect(part, bound, found);
            }
            bound.truncate(before);
        }
        Expr::Call(call) => {
            // The name in front of a qualified function is no variable.
            let qualified = call.target.as_ref().and_then(|target| dotted(target)).map(|path| format!("{path}.{}", call.func_name));
            if let Some(target) = &call.target
                && !qualified.is_some_and(|full| GLOBAL.contains(&full.as_str()))
            {
                collect(target, bound, found);
            }
            call.args.iter().for_each(|arg| collect(arg, bound, found));
        }
        Expr::List(list) => list.elements.iter().for_each(|item| collect(item, bound, found)),
        Expr::Map(map) => map.entries.iter().for_each(|entry| collect_entry(&entry.expr, bound, found)),
        Expr::Struct(value) => value.entries.iter().for_each(|entry| collect_entry(&entry.expr, bound, found)),
        Expr::Select(select) => collect(&select.operand, bound, found),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

fn collect_entry<'t>(entry: &'t EntryExpr, bound: &mut Vec<&'t str>, found: &mut Vec<String>) {
    match entry {
        EntryExpr::MapEntry(entry) => {
            collect(&entry.key, bound, found);
            collect(&entry.value, bound, found);
        }
        EntryExpr::StructField(field) => collect(&field.value, bound, found),
    }
}

/// A path that must equal two different literals at once, so that the condition never holds.
pub(super) fn contradiction(code: &Code) -> Option<String> {
    let Code::Cel { tree, .. } = code else { return None };
    let mut wanted: Vec<(String, &LiteralValue)> = Vec::new();
    let mut open: Vec<&IdedExpr> = vec![tree.as_ref()];
    while let Some(next) = open.pop() {
        let Expr::Call(call) = &next.expr else { continue };
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND, args) => open.extend(args),
            ("@eq", [left, right]) => {
                let (path, literal) = match (&left.expr, &right.expr) {
                    (_, Expr::Literal(literal)) => (dotted(left), literal),
                    (Expr::Literal(literal), _) => (dotted(right), literal),
                    _ => continue,
                };
                let Some(path) = path else { continue };
                if wanted.iter().any(|(known, value)| *known == path && differs(value, literal)) {
                    return Some(path);
                }
                wanted.push((path, literal));
            }
            _ => {}
        }
    }
    None
}

/// Whether two literals of one kind are different values.
fn differs(a: &LiteralValue, b: &LiteralValue) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b) && a != b
}
