//! Lists in pages, where it is sure: `$skip` with `$top`, `page` with `per_page`, a `Link` header.
//!
//! A page with fewer rows than were asked for is taken for the last, so a number of rows is only asked for when the
//! description says how many there may be. Where the rows stand must be plain too: the answer is a list, or an object with one.

use serde_json::Value;

use super::document::Document;
use super::draft::{Operation, Paging};
use super::schema::{Kind, look};

/// The most rows that are asked for: services that say less of their limits often stop there.
const ROWS_MAX: u64 = 100;

/// Names of a number of rows to skip, with names of how many are asked for.
const OFFSETS: &[(&str, &[&str])] =
    &[("$skip", &["$top"]), ("skip", &["top", "limit"]), ("offset", &["limit"]), ("startAt", &["maxResults"])];

/// Names of a page's number, with names of how many rows are asked for.
const PAGES: &[(&str, &[&str])] = &[("page", &["per_page", "perPage", "page_size", "pageSize", "limit"])];

/// How the pages are walked, and where in the answer the rows stand (empty for the answer itself).
pub(super) fn read(document: &Document, operation: &Value, parameters: &[&Value], draft: &Operation) -> Option<(Paging, String)> {
    if draft.method != "GET" {
        return None;
    }
    let answer = answer(document, operation)?;
    let root = rows(document, answer)?;
    let is_number = |name: &str| numbered(document, parameters, name);
    for (skip, sizes) in OFFSETS {
        if let Some(size) = sizes.iter().find(|size| is_number(skip).is_some() && is_number(size).is_some()) {
            let per_page = is_number(size).and_then(|parameter| rows_per_page(document, parameter))?;
            return Some((Paging::Offset { param: (*skip).to_owned(), size: (*size).to_owned(), per_page }, root));
        }
    }
    for (page, sizes) in PAGES {
        let Some(parameter) = is_number(page) else { continue };
        let sized = sizes.iter().find_map(|size| Some(((*size).to_owned(), rows_per_page(document, is_number(size)?)?)));
        let start = schema_number(document, parameter, "default").or(schema_number(document, parameter, "minimum")).unwrap_or(1).min(1);
        if links(document, operation) && root.is_empty() {
            return Some((Paging::Link, root));
        }
        return sized.map(|(size, per_page)| (Paging::Page { param: (*page).to_owned(), start, size, per_page }, root));
    }
    (links(document, operation) && root.is_empty()).then_some((Paging::Link, root))
}

/// The parameter of the query, where it is a whole number.
fn numbered<'a>(document: &Document, parameters: &[&'a Value], name: &str) -> Option<&'a Value> {
    let of = |parameter: &&&Value| {
        parameter.get("name").and_then(Value::as_str) == Some(name) && parameter.get("in").and_then(Value::as_str) == Some("query")
    };
    let parameter = parameters.iter().find(of)?;
    let seen = look(document, parameter.get("schema")?).ok()?;
    seen.kinds.iter().all(|kind| matches!(kind, Kind::Integer | Kind::Number)).then_some(*parameter)
}

fn schema_number(document: &Document, parameter: &Value, key: &str) -> Option<u64> {
    let seen = look(document, parameter.get("schema")?).ok()?;
    match key {
        "default" => seen.default?.as_u64(),
        "maximum" => seen.maximum?.as_u64(),
        _ => seen.minimum?.as_u64(),
    }
}

/// How many rows may be asked for, where the description says a number.
fn rows_per_page(document: &Document, parameter: &Value) -> Option<u64> {
    let most = schema_number(document, parameter, "maximum").or_else(|| said(parameter.get("description")?.as_str()?));
    let rows = most.or_else(|| schema_number(document, parameter, "default"))?;
    Some(rows.min(ROWS_MAX)).filter(|rows| *rows > 0)
}

/// The number behind the word `maximum` or `max` in a sentence.
fn said(description: &str) -> Option<u64> {
    let lower = description.to_ascii_lowercase();
    let behind = &lower[lower.find("max")?..];
    let digits = behind.find(|c: char| c.is_ascii_digit()).filter(|at| *at <= 40)?;
    behind[digits..].chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// The schema of the answer when all is well.
fn answer<'a>(document: &'a Document, operation: &'a Value) -> Option<&'a Value> {
    let responses = operation.get("responses")?.as_object()?;
    let response = ["200", "2XX", "2xx", "206"].iter().find_map(|status| responses.get(*status))?;
    let content = document.resolve(response).ok()?.get("content")?.as_object()?;
    content.iter().find(|(media, _)| super::body::is_json(media)).and_then(|(_, body)| body.get("schema"))
}

/// Where the rows stand: nowhere in particular, or under the one property that is a list.
fn rows(document: &Document, answer: &Value) -> Option<String> {
    let seen = look(document, answer).ok()?;
    if seen.kinds.iter().all(|kind| *kind == Kind::List) && !seen.kinds.is_empty() {
        return Some(String::new());
    }
    let mut lists =
        seen.properties.iter().filter(|(_, schema)| look(document, schema).is_ok_and(|inner| inner.kinds.contains(&Kind::List)));
    let (name, _) = lists.next()?;
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (plain && lists.next().is_none()).then(|| (*name).to_owned())
}

/// Whether the answer carries a `Link` header.
fn links(document: &Document, operation: &Value) -> bool {
    let Some(response) = operation.get("responses").and_then(|responses| responses.get("200")) else { return false };
    let headers = document.resolve(response).ok().and_then(|response| response.get("headers")).and_then(Value::as_object);
    headers.is_some_and(|headers| headers.keys().any(|name| name.eq_ignore_ascii_case("link")))
}
