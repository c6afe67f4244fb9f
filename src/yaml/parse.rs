//! Text to tree.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Location, Spanned};

use super::{KeyNode, Node, Yaml};
use crate::fault::{Fault, Faults, Place, SourceText};

/// The longest text that is read, in bytes: a file beyond it is no configuration.
pub const TEXT_MAX: usize = 64 << 20;

/// The most nodes of one text, aliases expanded: what stops a bomb.
pub const NODES_MAX: usize = 20_000_000;

/// Reads a text of one or more documents; empty documents are left out.
///
/// # Errors
/// Faults with their places: bad syntax (the first one), duplicate keys (all of them).
pub fn parse(source: &Arc<SourceText>) -> Result<Vec<Node>, Faults> {
    if source.text.len() > TEXT_MAX {
        let mut faults = Faults::new();
        let whole = Place { source: Arc::clone(source), line: 0, column: 0, length: 0 };
        faults.push(Fault::error(
            "file-too-large",
            whole,
            format!("the file has {} bytes; at most {TEXT_MAX} are read", source.text.len()),
        ));
        return Err(faults);
    }
    match read(source, DEPTH_NEAR) {
        Err(error) if is_too_deep(&error) => {
            with_room(|| told(read(source, DEPTH_MAX), source)).unwrap_or_else(|| told(Err(error), source))
        }
        read => told(read, source),
    }
}

/// Nesting that is read where the caller stands: more than most people write. A level takes tens of KiB of stack without
/// optimisation, and few with it.
const DEPTH_NEAR: usize = if cfg!(debug_assertions) { 12 } else { 48 };

/// The deepest nesting that is read.
const DEPTH_MAX: usize = 200;

/// Enough stack for it with a wide margin. Only what is touched costs memory.
const STACK_BYTES: usize = 64 << 20;

/// Does `work` on a thread with a stack for deep nesting; `None` where there is no such thread.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES).name("yaml".to_owned());
        thread.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

fn is_too_deep(mut error: &serde_saphyr::Error) -> bool {
    while let serde_saphyr::Error::AliasError { error: inner, .. } | serde_saphyr::Error::WithSnippet { error: inner, .. } = error {
        error = inner;
    }
    matches!(error, serde_saphyr::Error::Budget { breach: serde_saphyr::budget::BudgetBreach::Depth { .. }, .. })
}

fn read(source: &SourceText, depth: usize) -> Result<Vec<Spanned<Raw>>, serde_saphyr::Error> {
    let text = without_mark(&source.text);
    serde_saphyr::from_multiple_with_options(text, options(text.len(), depth))
}

/// What was read, as trees or faults.
fn told(read: Result<Vec<Spanned<Raw>>, serde_saphyr::Error>, source: &Arc<SourceText>) -> Result<Vec<Node>, Faults> {
    let mut faults = Faults::new();
    match read {
        Ok(documents) => {
            let nodes =
                documents.into_iter().map(|raw| build(raw, source, &mut faults)).filter(|n| !matches!(n.value, Yaml::Null)).collect();
            if faults.any_error() { Err(faults) } else { Ok(nodes) }
        }
        Err(error) => {
            let whole = Place { source: Arc::clone(source), line: 0, column: 0, length: 0 };
            let place = error.location().map_or(whole, |at| place(source, at));
            faults.push(syntax_fault(place, &error));
            Err(faults)
        }
    }
}

/// Without the byte order mark that some editors put first.
fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

fn options(bytes: usize, depth: usize) -> serde_saphyr::Options {
    // Aliases may repeat what is written a few times over, not blow it up.
    let nodes = (bytes + 10_000).min(NODES_MAX);
    let mut budget = serde_saphyr::budget::Budget::default();
    budget.max_nodes = nodes;
    budget.max_events = nodes * 2;
    budget.max_depth = depth;
    budget.max_total_scalar_bytes = (bytes * 4).max(1 << 20);
    budget.max_reader_input_bytes = None;
    budget.max_documents = budget.max_documents.max(nodes);
    serde_saphyr::options! {
        budget: Some(budget),
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        // A tag means nothing here, and `!has(x)` reads as one: ignored, the condition would be gone.
        reject_unsupported_tags: true,
        with_snippet: false
    }
}

fn syntax_fault(place: Place, error: &serde_saphyr::Error) -> Fault {
    let message = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
    // The location is in `place`; the library appends it to some texts.
    let message = match message.find(" at line ") {
        Some(cut) => message[..cut].to_owned(),
        None => message,
    };
    let place = at_its_tab(at_its_tag(place, &message), &message);
    let line = place.source.text.lines().nth(place.line.saturating_sub(1) as usize).unwrap_or_default().to_owned();
    let here = line.chars().skip(place.column.saturating_sub(1) as usize).collect::<String>();
    let fault = Fault::error("yaml", place, message.trim_end_matches('.').to_owned());
    match trap(&line, &here) {
        Some(help) => fault.help(help),
        None => fault,
    }
}

/// A tag is reported where its value stands, which may be nothing on the next line: the tag itself is what to look at.
fn at_its_tag(place: Place, message: &str) -> Place {
    let Some(tag) = message.strip_prefix("unsupported tag `").and_then(|rest| rest.split('`').next()) else { return place };
    let lines = place.source.text.lines().enumerate();
    let above = lines.take(place.line as usize).filter_map(|(at, line)| line.find(tag).map(|byte| (at, line[..byte].chars().count())));
    match above.last() {
        Some((line, column)) => {
            Place { line: line as u32 + 1, column: column as u32 + 1, length: tag.chars().count() as u32, source: place.source.clone() }
        }
        None => place,
    }
}

/// A tab is reported where the value before it begins; the tab is what to look at.
fn at_its_tab(place: Place, message: &str) -> Place {
    if !message.contains("tab") {
        return place;
    }
    let lines = place.source.text.lines().enumerate().skip(place.line.saturating_sub(1) as usize);
    let indented = |line: &str| line.find('\t').is_some_and(|byte| line[..byte].trim().is_empty());
    let found = lines.take(TAB_LINES_MAX).find(|(_, line)| indented(line)).map(|(at, line)| (at, line.find('\t').unwrap_or(0)));
    match found {
        Some((line, column)) => Place { line: line as u32 + 1, column: column as u32 + 1, length: 1, source: place.source.clone() },
        None => place,
    }
}

/// How many lines below a place a tab is looked for.
const TAB_LINES_MAX: usize = 50;

/// A named hint where the line, or what stands `here` in it, shows one of the well-known traps.
fn trap(line: &str, here: &str) -> Option<String> {
    let value = line.split_once(':').map_or(line.trim(), |(_, v)| v.trim());
    let dash = line.trim_start().strip_prefix("- ").map(str::trim);
    if here.starts_with('\t') || line.starts_with('\t') {
        return Some("YAML is indented with spaces; replace the tab".to_owned());
    }
    if value.starts_with('*') || here.starts_with('*') || dash.is_some_and(|d| d.starts_with('*')) {
        return Some("an unquoted `*` begins an alias; write \"*\" in quotes".to_owned());
    }
    if here.starts_with('!') {
        let in_flow = line.strip_suffix(here).is_some_and(|before| before.contains(['{', '[']));
        let whole = if in_flow { here.split([',', '}', ']']).next().unwrap_or(here) } else { here };
        return Some(tag_help(whole.trim_end()));
    }
    if is_bare_template_in_flow(value) {
        return Some("`${…}` inside `{ }` or `[ ]`: put it in quotes, as in {id: \"${item.Id}\"}".to_owned());
    }
    if value.starts_with("{{") {
        return Some("templates are written `${…}` here, in quotes".to_owned());
    }
    if let Some(help) = quote_too_many(value) {
        return Some(help);
    }
    if value.contains(": ") && value.chars().nth(QUOTED_MAX).is_none() && !value.starts_with(['"', '\'', '{', '[']) {
        return Some(format!(
            "a colon and a space inside a plain value begin a mapping; quote the whole value: '{}'",
            value.replace('\'', "''")
        ));
    }
    None
}

/// The longest value that a hint repeats, in characters.
const QUOTED_MAX: usize = 120;

/// A value in quotes with something behind the closing one: a quote too many, or one inside that is not doubled.
fn quote_too_many(value: &str) -> Option<String> {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = &value[1..];
    let mut chars = inner.char_indices().peekable();
    let end = loop {
        match chars.next()? {
            (_, '\\') if quote == '"' => drop(chars.next()),
            (_, c) if c == quote => match chars.peek() {
                Some((_, next)) if quote == '\'' && *next == quote => drop(chars.next()),
                _ => break chars.peek().map(|(at, _)| *at)?,
            },
            _ => {}
        }
    };
    let rest = inner[end..].trim_start();
    if rest.is_empty() || rest.starts_with(['#', ',', '}', ']', ':']) {
        return None;
    }
    let inside = if quote == '"' { "\\\" inside a value in double quotes" } else { "'' inside a value in single quotes" };
    Some(format!("the value ends at the second quote, and something stands behind it: remove a quote too many, or write {inside}"))
}

/// Whether an unquoted `${` stands inside a flow mapping or list.
fn is_bare_template_in_flow(value: &str) -> bool {
    let even = |text: &str, quote: char| text.matches(quote).count().is_multiple_of(2);
    value.match_indices("${").any(|(at, _)| {
        let before = &value[..at];
        before.replace("${", "").contains(['{', '[']) && even(before, '"') && even(before, '\'')
    })
}

fn tag_help(value: &str) -> String {
    format!("an unquoted `!` begins a tag; quote the whole value: '{}'", value.replace('\'', "''"))
}

/// Whether a `!` of its own stands before a value: YAML takes it for a tag and drops it, its writer meant "not".
///
/// Looks back from the value and no further than the blanks before it, however long line and file are.
fn negated(text: &str, at: Location) -> bool {
    let before = at.span().byte_offset().and_then(|offset| text.as_bytes().get(..usize::try_from(offset).ok()?));
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut back = before.unwrap_or_default().iter().rev().skip_while(|byte| is_blank(byte));
    back.next() == Some(&b'!') && back.next().is_none_or(|byte| is_blank(byte) || *byte == b'\n')
}

fn place(source: &Arc<SourceText>, at: Location) -> Place {
    Place {
        source: Arc::clone(source),
        line: u32::try_from(at.line()).unwrap_or(0),
        column: u32::try_from(at.column()).unwrap_or(0),
        length: u32::try_from(at.span().len()).unwrap_or(0),
    }
}

fn build(raw: Spanned<Raw>, source: &Arc<SourceText>, faults: &mut Faults) -> Node {
    let at = place(source, raw.referenced);
    let value = match raw.value {
        Raw::Null => Yaml::Null,
        Raw::Bool(b) => Yaml::Bool(b),
        Raw::Number(n) => Yaml::Number(n),
        Raw::Text(text) => {
            if negated(without_mark(&source.text), raw.referenced) {
                let help = tag_help(&format!("!{text}"));
                faults.push(Fault::error("yaml", at.clone(), "the `!` before the value is a tag, not a negation").help(help));
            }
            Yaml::Text(text)
        }
        Raw::NotFinite(text) => {
            faults.push(
                Fault::error("not-finite", at.clone(), format!("`{text}` is no finite number")).help("quote it if a string is meant"),
            );
            Yaml::Null
        }
        Raw::List(items) => Yaml::List(items.into_iter().map(|item| build(item, source, faults)).collect()),
        Raw::Map(entries) => {
            let mut seen = HashSet::new();
            let mut nodes = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key_place = place(source, key.referenced);
                let node = build(value, source, faults);
                if seen.insert(key.value.0.clone()) {
                    nodes.push((KeyNode { name: key.value.0, place: key_place }, node));
                } else {
                    let first = nodes.iter().find(|(k, _)| k.name == key.value.0).map_or(0, |(k, _)| k.place.line);
                    let message = format!("duplicate key `{}`, first in line {first}", key.value.0);
                    faults.push(Fault::error("duplicate-key", key_place, message).help("keep one of them"));
                }
            }
            Yaml::Map(nodes)
        }
    };
    Node { place: at, value }
}

enum Raw {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    NotFinite(String),
    List(Vec<Spanned<Self>>),
    Map(Vec<(Spanned<Name>, Spanned<Self>)>),
}

/// A key: any scalar, taken as the text written.
struct Name(String);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Name)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(serde_json::Number::from_f64(value).map_or_else(|| Raw::NotFinite(value.to_string()), Raw::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(text: &str) -> Result<Vec<Node>, Faults> {
        parse(&Arc::new(SourceText { path: PathBuf::from("t.yaml"), text: text.to_owned() }))
    }

    #[test]
    fn words_of_yaml_1_1_stay_strings() {
        let nodes = read("a: no\nb: on\nc: 0123\nd: 1_000\ne: true\nf: 5\ng: 1.5\nh: '5'\non: x\n").expect("reads");
        let json = nodes[0].to_json();
        assert_eq!(
            json,
            serde_json::json!({"a": "no", "b": "on", "c": "0123", "d": "1_000", "e": true, "f": 5, "g": 1.5, "h": "5", "on": "x"})
        );
    }

    #[test]
    fn every_node_has_its_place() {
        let nodes = read("a: 1\nb:\n  c: [x, yy]\n---\nd: 2\n").expect("reads");
        assert_eq!(nodes.len(), 2);
        let item = &nodes[0].get("b").and_then(|b| b.get("c")).and_then(Node::as_list).expect("a list")[1];
        assert_eq!((item.place.line, item.place.column), (3, 10));
        assert_eq!(nodes[1].get("d").expect("d").place.line, 5);
    }

    #[test]
    fn all_duplicate_keys_are_reported_at_once() {
        let faults = read("a: 1\na: 2\nb:\n  c: 1\n  c: 2\n").expect_err("duplicates");
        let lines: Vec<_> = faults.iter().map(|f| f.place.as_ref().expect("placed").line).collect();
        assert_eq!(lines, [2, 5]);
    }

    #[test]
    fn traps_have_names() {
        for (text, hint) in [
            ("events: *\n", "alias"),
            ("when: !has(x) && y\n", "tag"),
            ("steps:\n  - if: !has(x)\n", "tag"),
            ("a: {id: ${item.Id}}\n", "{id: \"${item.Id}\"}"),
            ("a: [{b: \"c: d\", id: ${item.Id}}]\n", "{id: \"${item.Id}\"}"),
            ("match: {QueueItem: {Id: *x}}\n", "alias"),
            ("when: !has(x)\nx: 1\n", "tag; quote the whole value: '!has(x)'"),
            ("when: !x.y\n", "tag"),
            ("when: ! has(x)\n", "tag; quote the whole value: '!has(x)'"),
            ("- {if: !has(x), a: 1}\n", "tag; quote the whole value: '!has(x)'"),
            ("- !has(x)\n", "tag"),
            ("when: a ? b : c\n", "quote the whole value: 'a ? b : c'"),
            ("a:\n\tb: 1\n", "tab"),
            ("a: b: c\n", "quote"),
            ("a: \"b\"\"\nc: 1\n", "a quote too many"),
            ("a: 'it's'\nc: 1\n", "'' inside"),
            ("a: {{ b }}\n", "`${…}`"),
            ("a: {b: ${c}}\n", "put it in quotes"),
            ("a: [{b: {c: https://x/${d}, e: 1}}]\n", "put it in quotes"),
        ] {
            let faults = read(text).expect_err(text);
            let help = faults.iter().filter_map(|f| f.help.clone()).collect::<String>();
            assert!(help.contains(hint), "{text}: {faults:?}");
        }
    }

    #[test]
    fn a_quoted_exclamation_mark_is_text() {
        for text in
            ["when: '!has(x)'\n", "when: \"! has(x)\"\n", "a: not ! a tag\n", "a: wow!\n", "a: |\n  ! x\n", "'!': b\n", "a: [b!, \"!\"]\n"]
        {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    /// A look back over line or file for each value would take hours here.
    #[test]
    fn long_lines_and_long_files_are_read_in_one_pass() {
        let line = format!("a: [{}x]\n", "x, ".repeat(200_000));
        assert_eq!(read(&line).expect("reads")[0].get("a").and_then(Node::as_list).map(<[Node]>::len), Some(200_001));
        let file = "- é\n".repeat(200_000) + "- ! x\n";
        let faults = read(&file).expect_err("a negation");
        assert_eq!(faults.iter().filter_map(|fault| Some(fault.place.as_ref()?.line)).collect::<Vec<_>>(), [200_001]);
        assert!(read("\u{feff}a: ! x\n").is_err() && read("\u{feff}a: é x\n").is_ok());
    }

    fn inner(node: &Node) -> Option<&Node> {
        match &node.value {
            Yaml::List(items) => items.first(),
            Yaml::Map(entries) => entries.last().map(|(_, node)| node),
            _ => None,
        }
    }

    /// In a thread with as little stack as the workers of the runtime have.
    #[test]
    fn deep_nesting_is_read_on_a_small_stack() {
        let nested = |depth: usize, open: &str, close: &str| format!("a: {}x{}\n", open.repeat(depth), close.repeat(depth));
        let block = |depth: usize| (0..depth).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
        let alias = format!("a: &a {}x{}\nb: {}*a{}\n", "[".repeat(100), "]".repeat(100), "[".repeat(90), "]".repeat(90));
        let fine = [nested(1, "[", "]"), nested(DEPTH_NEAR, "[", "]"), nested(190, "[", "]"), nested(190, "{a: ", "}"), block(190), alias];
        let bad = [
            nested(DEPTH_MAX, "[", "]"),
            nested(3_000, "[", "]"),
            nested(3_000, "{a: ", "}"),
            block(DEPTH_MAX + 1),
            nested(100, "[", "]") + "a: [\n",
        ];
        let reading = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            let depth = |node: &Node| std::iter::successors(inner(node), |node| inner(node)).count();
            let read = |text: &String| read(text).map(|nodes| nodes.iter().map(depth).max());
            (fine.each_ref().map(read), bad.each_ref().map(read))
        });
        let (fine, bad) = reading.expect("a thread").join().expect("the stack is enough");
        assert_eq!(fine.map(|read| read.expect("reads")), [Some(2), Some(DEPTH_NEAR + 1), Some(191), Some(191), Some(190), Some(190 + 1)]);
        for faults in bad {
            assert_eq!(faults.expect_err("too deep, or open").iter().count(), 1);
        }
    }

    #[test]
    fn a_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for i in 1..10 {
            let p = format!("*a{}", i - 1);
            text.push_str(&format!("a{i}: &a{i} [{p},{p},{p},{p},{p},{p},{p},{p},{p},{p}]\n"));
        }
        assert!(read(&text).is_err());
    }
}
