use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::connectors::{Content, Errors, Output};
use crate::expr::Template;
use crate::fault::{Place, SourceText};

fn operation(by: PageBy, until: Option<&str>, max_pages: u32) -> Operation {
    let source = Arc::new(SourceText { path: "x.yaml".into(), text: String::new() });
    Operation {
        name: "list".into(),
        title: None,
        description: None,
        method: "GET",
        path: Template::parse("/items").unwrap(),
        input: Vec::new(),
        query: Vec::new(),
        headers: Vec::new(),
        body: None,
        before: Vec::new(),
        after: Vec::new(),
        output: Output::default(),
        paginate: Some(Paginate { by, max_pages, until: until.map(|text| Expression::compile(text).unwrap()) }),
        errors: Errors::default(),
        lookup: None,
        idempotent: true,
        idempotency_header: None,
        timeout: None,
        place: Place { source, line: 1, column: 1, length: 0 },
    }
}

fn request(query: &[(&str, &str)]) -> CallRequest {
    CallRequest {
        connector: "c".into(),
        operation: "list".into(),
        method: "GET",
        url: "https://api.example/v1/items".into(),
        written_out: true,
        query: query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        headers: BTreeMap::new(),
        content: Content::Empty,
        idempotent: true,
    }
}

/// Walks over a service that is a function of the URL, and answers what was asked and how it ended.
fn walk(
    operation: &Operation,
    first: CallRequest,
    service: impl Fn(&str) -> (Value, Value, &'static str),
) -> (Vec<String>, Result<Next, PageFault>) {
    let mut pages = Pages::of(operation, first).expect("it has pages");
    let (config, input) = (json!({}), json!({}));
    let mut asked = Vec::new();
    loop {
        let url = pages.request().full_url();
        let (body, rows, link) = service(&url);
        asked.push(url.replace("https://api.example/v1/items", ""));
        let headers = if link.is_empty() { BTreeMap::new() } else { BTreeMap::from([("link".to_owned(), link.to_owned())]) };
        let response = CallResponse::new(200, headers, body);
        let scope = Scope::new().bind("config", &config).bind("input", &input);
        match pages.after(&response, &rows, &scope) {
            Ok(Next::Ask(next)) => assert_eq!(&*next, pages.request()),
            end => return (asked, end),
        }
        assert!(asked.len() < 1000, "without end");
    }
}

fn size(param: Option<&str>, rows: u64) -> PageSize {
    PageSize { param: param.map(str::to_owned), rows }
}

fn rows(from: u64, count: u64) -> Value {
    Value::Array((from..from + count).map(|id| json!({ "id": id })).collect())
}

/// The number that a parameter has in a URL.
fn number(url: &str, name: &str) -> u64 {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(found, _)| found == name).and_then(|(_, value)| value.parse().ok()).unwrap()
}

#[test]
fn numbered_pages_end_at_a_short_or_an_empty_one() {
    let by_page = |size| PageBy::Page { param: "page".into(), start: 1, size };
    let sized = operation(by_page(Some(size(Some("per_page"), 2))), None, 100);
    let five = |url: &str| {
        let page = number(url, "page");
        (Value::Null, rows(page * 2, [2, 2, 1][page as usize - 1]), "")
    };
    let (asked, end) = walk(&sized, request(&[("q", "x")]), five);
    assert_eq!(asked, ["?q=x&per_page=2&page=1", "?q=x&per_page=2&page=2", "?q=x&per_page=2&page=3"]);
    assert_eq!(end, Ok(Next::End));
    let (asked, end) = walk(&operation(by_page(None), None, 100), request(&[]), |url| {
        let page = number(url, "page");
        (Value::Null, if page < 4 { rows(page * 9, 9 - page) } else { json!([]) }, "")
    });
    assert_eq!((asked.len(), end), (4, Ok(Next::End)), "without a size only an empty page is the last");
    let (asked, _) = walk(&sized, request(&[("per_page", "1"), ("page", "3")]), |_| (Value::Null, json!([]), ""));
    assert_eq!(asked, ["?per_page=1&page=3"], "what a call says itself stays");
}

#[test]
fn offsets_go_on_by_what_came() {
    let by = PageBy::Offset { param: "$skip".into(), start: 0, size: size(Some("$top"), 3) };
    let (asked, end) = walk(&operation(by, None, 100), request(&[]), |url| {
        let skip = number(url, "$skip");
        (Value::Null, rows(skip, (7 - skip).min(3)), "")
    });
    assert_eq!(asked.iter().map(|url| number(&format!("https://h/{url}"), "$skip")).collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!(end, Ok(Next::End));
}

#[test]
fn cursors_go_on_until_there_is_none_or_the_file_says_so() {
    let by = PageBy::Cursor { param: "after".into(), from: Expression::compile("response.body.last_id").unwrap(), size: None };
    let service = |url: &str| {
        let n = if url.contains("after=") { number(url, "after") } else { 0 };
        let last = if n < 3 { json!(n + 1) } else { json!("") };
        // An empty page in between is not the end.
        (json!({"last_id": last, "has_more": n < 2}), if n == 1 { json!([]) } else { rows(n, 1) }, "")
    };
    let (asked, end) = walk(&operation(by.clone(), None, 100), request(&[]), service);
    assert_eq!(asked, ["", "?after=1", "?after=2", "?after=3"]);
    assert_eq!(end, Ok(Next::End));
    let (asked, end) = walk(&operation(by.clone(), Some("!response.body.has_more"), 100), request(&[]), service);
    assert_eq!((asked.len(), end), (3, Ok(Next::End)));
    let (asked, end) = walk(&operation(by.clone(), None, 2), request(&[]), service);
    assert_eq!((asked.len(), end), (2, Ok(Next::Enough)), "no more pages than the file allows");
    for body in [json!({}), json!({"last_id": null}), json!({"last_id": false}), json!({"last_id": " "})] {
        let (asked, end) = walk(&operation(by.clone(), None, 9), request(&[]), |_| (body.clone(), json!([1]), ""));
        assert_eq!((asked.len(), end), (1, Ok(Next::End)), "{body}");
    }
}

#[test]
fn links_and_urls_are_followed_on_the_same_host_only() {
    let (asked, end) = walk(&operation(PageBy::NextLink, None, 100), request(&[]), |url| {
        (Value::Null, json!([1]), if url.contains("page=2") { "<x>; rel=prev" } else { "</v1/items?page=2&q=a%20b>; rel=\"next\"" })
    });
    assert_eq!((asked, end), (vec![String::new(), "?page=2&q=a+b".to_owned()], Ok(Next::End)));
    let by = || PageBy::NextUrl { from: Expression::compile("body.next").unwrap() };
    for (next, fault) in [
        ("https://evil.example/v1/items", "Elsewhere"),
        ("http://api.example/v1/items", "Elsewhere"),
        ("https://api.example:444/v1/items", "Elsewhere"),
        ("//evil.example/x", "Elsewhere"),
        ("https://api.example@evil.example/", "Elsewhere"),
        ("https://user:pass@api.example/v1", "Elsewhere"),
        ("\\\\evil.example\\x", "Elsewhere"),
        ("javascript:alert(1)", "Elsewhere"),
        ("https://", "Unusable"),
        ("/v1/items", "Circle"),
    ] {
        let (asked, end) = walk(&operation(by(), None, 100), request(&[]), |_| (json!({ "next": next }), json!([1]), ""));
        let named = format!("{:?}", end.expect_err(next));
        assert!(named.starts_with(fault) && asked.len() == 1, "{next}: {named}");
    }
    let long = format!("/v1/items?x={}", "y".repeat(NEXT_MAX));
    let (_, end) = walk(&operation(by(), None, 100), request(&[]), |_| (json!({ "next": long }), json!([1]), ""));
    assert!(matches!(end, Err(PageFault::Unusable { .. })));
}

#[test]
fn a_service_that_goes_in_a_circle_is_named() {
    let cursor = PageBy::Cursor { param: "after".into(), from: Expression::compile("body.c").unwrap(), size: None };
    let (asked, end) = walk(&operation(cursor, None, 100), request(&[]), |url| {
        (json!({"c": if url.contains("after=a") { "b" } else { "a" }}), json!([1]), "")
    });
    assert_eq!(asked.len(), 3);
    assert_eq!(end, Err(PageFault::Circle { page: 3, what: "cursor", again: "a".into() }));
    let page = PageBy::Page { param: "page".into(), start: 1, size: None };
    let (asked, end) = walk(&operation(page, None, 100), request(&[]), |_| (Value::Null, rows(0, 3), ""));
    assert_eq!((asked.len(), end), (2, Err(PageFault::Unheeded { page: 2, param: "page".into() })));
}

#[test]
fn what_is_no_page_says_so() {
    let page = || PageBy::Page { param: "page".into(), start: 1, size: None };
    let (_, end) = walk(&operation(page(), None, 9), request(&[]), |_| (Value::Null, json!({"a": 1}), ""));
    assert_eq!(end, Err(PageFault::NoList { page: 1, kind: "a mapping" }));
    let (_, end) = walk(&operation(page(), Some("response.body.n > 1"), 9), request(&[]), |_| (json!({"n": "x"}), json!([1]), ""));
    assert!(matches!(end, Err(PageFault::Expression { .. })), "{end:?}");
    let cursor = PageBy::Cursor { param: "after".into(), from: Expression::compile("body.c").unwrap(), size: None };
    let (_, end) = walk(&operation(cursor, None, 9), request(&[]), |_| (json!({"c": {"x": 1}}), json!([1]), ""));
    assert!(matches!(end, Err(PageFault::Unusable { .. })), "{end:?}");
}

#[test]
fn link_headers_are_read_as_written() {
    for (header, next) in [
        ("<https://h/2>; rel=\"next\"", Some("https://h/2")),
        ("<https://h/1>; rel=prev, <https://h/3?a=1,2;b>; rel=next; title=\"a, b; rel=last\"", Some("https://h/3?a=1,2;b")),
        ("<https://h/1>; title=\"x, <no>; rel=next\"; rel=prev", None),
        ("<a>; rel=\"last next\"", Some("a")),
        ("<a>; REL=Next", Some("a")),
        ("<a>;rel=next,<b>;rel=next", Some("a")),
        ("<a>, <b>; rel=next", Some("b")),
        ("", None),
        ("<a; rel=next", None),
        ("<a>; rel=\"next", Some("a")),
        ("<a>; rel", None),
    ] {
        assert_eq!(next_link(header), next, "{header}");
    }
}
