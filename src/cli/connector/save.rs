//! A call and its answer as a test in the connector's file: appended as text, so that comments and order stay.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::used::Used;
use crate::cli::output::{Stop, clean};
use crate::clock::Clock;
use crate::connectors::{Access, CallResponse, Caller, Connector, Connectors, MASK, Meaning, Operation};
use crate::expr::At;
use crate::fault::SourceText;

/// The largest answer that becomes a test, in bytes.
const ANSWER_MAX: usize = 64 << 10;

/// Headers of an answer that tests may need; the rest is of that moment.
const HEADERS: &[&str] = &["content-type", "link", "location", "retry-after"];

/// Fields whose values are secrets whoever sends them.
const SECRET_FIELDS: &[&str] = &[
    "password",
    "secret",
    "token",
    "access_token",
    "refresh_token",
    "id_token",
    "client_secret",
    "api_key",
    "apikey",
    "authorization",
    "private_key",
];

/// Appends a test; its file.
pub(super) fn append(
    used: &Used,
    operation: &Operation,
    name: &str,
    said: &Map<String, Value>,
    response: &CallResponse,
) -> Result<PathBuf, Stop> {
    let connector = &used.connector;
    let file = connector.place.source.path.clone();
    let no = |why: String| Stop::no(format!("no test is saved: {why}"));
    if !file.is_file() {
        return Err(no(format!("connector `{}` has no file", connector.name)));
    }
    if connector.tests.iter().any(|test| test.name == name) {
        return Err(no(format!("there is a test `{}` already", clean(name))));
    }
    let access = used.access()?;
    let test = test(connector, operation, name, &used.without_secrets(), &access, said, response).map_err(no)?;
    let before = std::fs::read_to_string(&file).map_err(|error| Stop::unknown(format!("cannot read `{}`: {error}", file.display())))?;
    let after = with_test(&before, &connector.name, &test).map_err(no)?;
    // What is written must be read again, as one more test that passes.
    proved(&after, &file, connector, name).map_err(no)?;
    replace(&file, &after)?;
    Ok(file)
}

/// The test as the lines of a list's element, the first of them with its dash.
fn test(
    connector: &Connector,
    operation: &Operation,
    name: &str,
    plain: &Access,
    access: &Access,
    said: &Map<String, Value>,
    response: &CallResponse,
) -> Result<String, String> {
    let hide = |value: &Value| without_secrets(access.mask_value(value));
    let said = hide(&Value::Object(said.clone()));
    let headers: Map<String, Value> = response
        .headers()
        .filter(|(name, _)| HEADERS.contains(name))
        .map(|(name, value)| (name.to_owned(), Value::String(access.mask(value))))
        .collect();
    let body = hide(response.body());
    if body.to_string().len() > ANSWER_MAX {
        return Err(format!("the answer is larger than {ANSWER_MAX} bytes; ask for less of it"));
    }
    // What the test itself will see: no secret is read there.
    let now = Clock::system().now();
    let map = said.as_object().cloned().unwrap_or_default();
    let input = operation.input(&map, plain.config(), &At::root("with")).map_err(|fault| fault.to_string())?;
    let caller = Caller { run: "test".to_owned(), rule: "test".to_owned(), idempotency_key: Some("test:1".to_owned()), now };
    let request = connector.request(operation, &input, plain.config(), &caller).map_err(|fault| fault.to_string())?;
    let seen = response.with_body(body.clone());
    let mut expect = json!({"method": request.method, "url": request.url});
    match connector.outcome(operation, &input, plain, &seen, now) {
        Meaning::Value(value) => expect["output"] = value,
        Meaning::Retry(_) => {
            expect["error"] = json!(true);
            expect["retry"] = json!(true);
        }
        Meaning::Dead(_) | Meaning::Refused(_) => expect["error"] = json!(true),
    }
    let answer = json!({"status": response.status, "headers": headers, "body": body});
    // JSON is YAML as well, on one line.
    Ok(format!("- name: {}\n  call: {}\n  with: {said}\n  response: {answer}\n  expect: {expect}\n", Value::from(name), operation.name))
}

fn without_secrets(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(name, value)| {
                    let secret = value.is_string() && SECRET_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field));
                    let value = if secret { Value::from(MASK) } else { without_secrets(value) };
                    (name, value)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_secrets).collect()),
        other => other,
    }
}

/// The text with a test more at the end of the connector's `tests`, or with a `tests` of its own.
fn with_test(text: &str, connector: &str, test: &str) -> Result<String, String> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let begins = |line: &str| line.starts_with("---") || line.starts_with("...");
    let mut starts: Vec<usize> = std::iter::once(0).chain((0..lines.len()).filter(|at| begins(lines[*at]))).collect();
    starts.push(lines.len());
    let names = |line: &&str| {
        let value = line.strip_prefix("connector:").map(|rest| rest.split(" #").next().unwrap_or_default().trim());
        value.map(|value| value.trim_matches(['"', '\''])) == Some(connector)
    };
    let document = starts.windows(2).find(|ends| lines[ends[0]..ends[1]].iter().any(&names));
    let Some(&[begin, end]) = document.and_then(|ends| <&[usize; 2]>::try_from(ends).ok()) else {
        return Err("its `connector:` line was not found; is the file in another form than block YAML?".to_owned());
    };
    let is_key = |line: &str| !line.starts_with([' ', '\t', '#', '-', '\n', '\r']);
    let (at, indent, head) = match (begin..end).find(|at| lines[*at].starts_with("tests:")) {
        None => (filled(&lines, begin, end), "  ".to_owned(), "tests:\n"),
        Some(tests) => {
            let rest = lines[tests]["tests:".len()..].split('#').next().unwrap_or_default().trim();
            if !rest.is_empty() {
                return Err("`tests` is written on one line; write it as a list of lines first".to_owned());
            }
            let stop = (tests + 1..end).find(|at| is_key(lines[*at])).unwrap_or(end);
            let dash = (tests + 1..stop).find_map(|at| lines[at].trim_start().starts_with("- ").then(|| indent_of(lines[at])));
            (filled(&lines, tests, stop), dash.unwrap_or_else(|| "  ".to_owned()), "")
        }
    };
    let mut out: String = lines[..at].concat();
    if !out.is_empty() && !out.ends_with('\n') {
        out.push('\n');
    }
    out.push_str(head);
    for line in test.lines() {
        out.push_str(&indent);
        out.push_str(line);
        out.push('\n');
    }
    out.push_str(&lines[at..].concat());
    Ok(out)
}

/// Behind the last line from `begin` to `end` that says something.
fn filled(lines: &[&str], begin: usize, end: usize) -> usize {
    (begin..end).rev().find(|at| !lines[*at].trim().is_empty()).map_or(end, |at| at + 1)
}

fn indent_of(line: &str) -> String {
    line.chars().take_while(|c| *c == ' ').collect()
}

/// Whether the text is the connector as before with one test more, which passes.
fn proved(text: &str, file: &Path, connector: &Connector, name: &str) -> Result<(), String> {
    let source = Arc::new(SourceText { path: file.to_owned(), text: text.to_owned() });
    let (read, faults) = Connectors::load(&[source], None);
    let found = read.get(&connector.name).ok_or_else(|| {
        let first = faults.iter().next().map(crate::fault::Fault::one_line).unwrap_or_default();
        format!("the file would have a fault: {first}")
    })?;
    if found.tests.len() != connector.tests.len() + 1 {
        return Err("the file would not have one test more; write it in by hand".to_owned());
    }
    match found.test(Clock::system().now()).into_iter().find(|report| report.name == name) {
        Some(report) if report.passed => Ok(()),
        Some(report) => Err(format!("the test would not pass: {}", report.why.unwrap_or_default())),
        None => Err("the test would not be there".to_owned()),
    }
}

/// Writes the file whole or not at all: a daemon may be watching its folder.
fn replace(file: &Path, text: &str) -> Result<(), Stop> {
    let fail = |error: std::io::Error| Stop::unknown(format!("cannot write `{}`: {error}", file.display()));
    let folder = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::fs::metadata(file).map_err(fail)?.permissions();
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tripline-test-").suffix(".tmp");
    let mut fresh = builder.tempfile_in(folder).map_err(fail)?;
    fresh.write_all(text.as_bytes()).map_err(fail)?;
    fresh.as_file().set_permissions(permissions).map_err(fail)?;
    fresh.persist(file).map_err(|error| fail(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: &str = "- name: \"new\"\n  call: x\n";

    #[test]
    fn a_test_is_appended_where_tests_are_and_nothing_else_changes() {
        let check = |before: &str, after: &str| assert_eq!(with_test(before, "one", TEST).as_deref(), Ok(after), "{before}");
        check("connector: one\nbase_url: x\n", "connector: one\nbase_url: x\ntests:\n  - name: \"new\"\n    call: x\n");
        check("connector: one # c\nbase_url: x", "connector: one # c\nbase_url: x\ntests:\n  - name: \"new\"\n    call: x\n");
        check(
            "connector: \"one\"\ntests: # of ours\n- name: a\n  call: x # why\n\n# the end\n",
            "connector: \"one\"\ntests: # of ours\n- name: a\n  call: x # why\n\n# the end\n- name: \"new\"\n  call: x\n",
        );
        check(
            "connector: one\ntests:\n    - name: a\n\nauth: none\n---\nconnector: two\n",
            "connector: one\ntests:\n    - name: a\n    - name: \"new\"\n      call: x\n\nauth: none\n---\nconnector: two\n",
        );
        check(
            "connector: two\ntests:\n  - name: a\n---\nconnector: one\nx: y\n---\nconnector: three\n",
            "connector: two\ntests:\n  - name: a\n---\nconnector: one\nx: y\ntests:\n  - name: \"new\"\n    call: x\n---\nconnector: three\n",
        );
        assert!(with_test("connector: one\ntests: []\n", "one", TEST).is_err());
        assert!(with_test("{connector: one}\n", "one", TEST).is_err());
    }

    #[test]
    fn fields_that_hold_secrets_are_masked() {
        let hidden = without_secrets(json!({"a": [{"Access_Token": "x", "token": 5}], "secret": "y", "b": "z"}));
        assert_eq!(hidden, json!({"a": [{"Access_Token": "***", "token": 5}], "secret": "***", "b": "z"}));
    }
}
