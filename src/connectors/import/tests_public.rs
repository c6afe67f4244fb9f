//! What large public descriptions have, in samples of our own: each is imported as it should be sent.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Import, Options, import};
use crate::fault::SourceText;

fn done(text: &str) -> (Import, Value) {
    let source = Arc::new(SourceText { path: "api.yaml".into(), text: text.to_owned() });
    let done = import(&source, &Options::default()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let written = Arc::new(SourceText { path: "a.yaml".into(), text: done.text.clone() });
    let tree = crate::yaml::parse(&written).unwrap_or_else(|faults| panic!("{}\n{faults:?}", done.text))[0].to_json();
    (done, tree)
}

/// The one operation of a description with this operation at `/x`, and the reasons of what is not as described.
fn of(operation: Value) -> (Value, Vec<&'static str>) {
    let (done, tree) = done(&described(json!({"/x": {"post": operation}})).to_string());
    let left: Vec<_> = done.report.left_out.iter().chain(&done.report.held_back).map(|part| part.reason).collect();
    let operation = tree["operations"].as_object().and_then(|all| all.values().next()).cloned();
    (operation.unwrap_or_default(), left)
}

fn described(paths: Value) -> Value {
    json!({"openapi": "3.1.0", "info": {"title": "Public", "version": "1"}, "servers": [{"url": "https://public.example"}], "paths": paths})
}

fn body(media: &str, content: Value) -> Value {
    json!({"operationId": "x", "requestBody": {"required": true, "content": {media: content}}})
}

#[test]
fn objects_in_a_form_stand_in_brackets_where_the_description_says_so() {
    let schema = json!({"type": "object", "required": ["currency"], "properties": {
        "currency": {"type": "string"}, "expand": {"type": "array", "items": {"type": "string"}},
        "line_items": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "string"}}}},
        "metadata": {"anyOf": [{"type": "object", "additionalProperties": {"type": "string"}}, {"type": "string", "enum": [""]}]},
        "card": {"type": "object", "properties": {"number": {"type": "string"}, "checks": {"type": "object"}}},
        "address": {"type": "object", "properties": {"city": {"type": "string"}}}}});
    let deep = json!({"style": "deepObject", "explode": true});
    let encoding = json!({"expand": deep, "line_items": deep, "metadata": deep, "card": deep, "address": deep});
    let (operation, left) = of(body("application/x-www-form-urlencoded", json!({"schema": schema, "encoding": encoding})));
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(operation["form_style"], "brackets");
    assert_eq!(
        operation["form"],
        json!({"currency": "${input.currency}", "expand": "${input.expand}", "line_items": "${input.line_items}",
            "metadata": "${input.metadata}", "card": "${input.card}", "address[city]": "${input.address_city}"})
    );
    assert_eq!((&operation["input"]["card"]["type"], &operation["input"]["metadata"]["type"]), (&json!("object"), &json!("any")));
    // A form without fields, as Stripe has it everywhere, is no body.
    for (schema, missed) in [(json!({"type": "object", "properties": {}}), vec![]), (json!({"type": "object"}), vec!["body-fields"])] {
        let empty = json!({"operationId": "x", "requestBody": {"content": {"application/x-www-form-urlencoded": {"schema": schema, "encoding": {}}}}});
        let (operation, left) = of(empty);
        assert_eq!((operation.get("form"), left), (None, missed));
    }
    // Two ways of writing lists in one form are more than a word can say.
    let schema = json!({"type": "object", "properties": {"to": {"type": "array", "items": {}}, "expand": {"type": "array", "items": {}}}});
    let mixed = body("application/x-www-form-urlencoded", json!({"schema": schema, "encoding": {"expand": {"style": "deepObject"}}}));
    let other = json!({"get": {"operationId": "y"}});
    let (done, _) = done(&described(json!({"/x": {"post": mixed}, "/y": other})).to_string());
    assert_eq!(done.report.held_back.iter().map(|part| part.reason).collect::<Vec<_>>(), ["form-object"]);
}

#[test]
fn parameters_in_brackets_may_be_lists_or_one_of_two_things() {
    let created =
        json!({"anyOf": [{"type": "object", "properties": {"gte": {"type": "integer"}, "lt": {"type": "integer"}}}, {"type": "integer"}]});
    let deep = |name: &str, schema: Value| json!({"name": name, "in": "query", "style": "deepObject", "explode": true, "schema": schema});
    let (operation, left) = of(json!({"operationId": "x", "parameters": [
        deep("created", created), deep("expand", json!({"type": "array", "items": {"type": "string"}})),
        {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}]}));
    assert_eq!(left, Vec::<&str>::new());
    assert_eq!(
        operation["query"],
        json!({"created": "${input.created}", "created[gte]": "${input.created_gte}", "created[lt]": "${input.created_lt}",
            "expand[]": "${input.expand}", "filter": "${input.filter == null ? null : json.encode(input.filter)}"})
    );
}

#[test]
fn bodies_of_any_media_type_are_sent_under_it() {
    let schema =
        json!({"schema": {"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"type": ["integer", "string"]}}}});
    for (media, kind) in [
        ("application/json", "body"),
        ("application/json; charset=utf-8", "body"),
        ("*/*", "body"),
        ("application/vnd.github+json", "raw"),
        ("application/scim+json", "raw"),
        ("application/json-patch+json", "raw"),
        ("text/plain", "raw"),
        ("application/xml", "raw"),
        ("application/octet-stream", "raw"),
        ("image/png", "raw"),
        ("multipart/form-data", "multipart"),
        ("application/x-www-form-urlencoded", "form"),
    ] {
        let (operation, left) = of(body(media, schema.clone()));
        assert!(left.is_empty() && operation.get(kind).is_some(), "{media}: {operation} {left:?}");
        if kind == "raw" {
            assert_eq!(operation["raw"]["content_type"], media);
        }
        if kind == "body" {
            assert_eq!(operation["input"], json!({"a": {"type": "string"}, "b": {"type": "any"}}));
        }
    }
    // JSON is taken where there is a choice.
    let several = json!({"text/plain": {}, "application/xml": {}, "application/json": {"schema": {"type": "array", "items": {}}}});
    let (operation, _) = of(json!({"operationId": "x", "requestBody": {"content": several}}));
    assert_eq!(operation["body"], "${input.body}");
    let files =
        json!({"schema": {"type": "object", "properties": {"files": {"type": "array", "items": {"type": "string", "format": "binary"}}}}});
    let (operation, left) = of(body("multipart/form-data", files));
    assert_eq!(
        (&operation["multipart"], &operation["input"], left.len()),
        (&json!({"files": "${input.files}"}), &json!({"files": {"type": "array"}}), 0)
    );
}

#[test]
fn names_paths_and_headers_of_all_kinds_are_taken() {
    let number = json!({"name": "number", "in": "path", "required": true, "schema": {"type": "integer"}});
    let text = described(json!({
        "/repos/{owner}/compare/{base}...{head}": {"get": {"operationId": "repos/compare-commits"}},
        "/files/{file}.json": {"get": {"operationId": "repos/compare-commits"}},
        "/{number}": {"parameters": [number], "get": {"parameters": [
            {"name": "number", "in": "path", "required": true, "schema": {"type": "string"}},
            {"name": "Accept", "in": "header", "schema": {"type": "string"}}, {"name": "Authorization", "in": "header", "required": true},
            {"name": "If-Match", "in": "header", "schema": {"type": "string"}}, {"name": "page.size", "in": "query", "schema": {"type": "integer", "format": "int64", "maximum": i64::MAX}}]}},
        "/ref": {"$ref": "#/components/pathItems/Shared~1one"},
        "/ref%20": {"$ref": "#/paths/~1%7Bnumber%7D"},
        "/noted": {"x-internal": true, "summary": "no operation", "get": {"x-y": {}, "responses": {"default": {"description": "any"}}}},
    }));
    let mut text = text;
    text["components"] = json!({"pathItems": {"Shared/one": {"delete": {"operationId": "dropShared"}}}});
    let (done, tree) = done(&text.to_string());
    let names: Vec<String> = done.report.imported.iter().map(|one| format!("{} {} {}", one.name, one.method, one.path)).collect();
    assert_eq!(
        names,
        [
            "repos_compare_commits GET /repos/{owner}/compare/{base}...{head}",
            "repos_compare_commits_get GET /files/{file}.json",
            "get_by_number GET /{number}",
            "drop_shared DELETE /ref",
            "get_ref_20 GET /ref%20",
            "get_noted GET /noted",
        ]
    );
    let operations = &tree["operations"];
    assert_eq!(operations["repos_compare_commits"]["path"], "/repos/${input.owner}/compare/${input.base}...${input.head}");
    assert_eq!(operations["get_by_number"]["input"]["number"]["type"], "string", "the operation's own goes first");
    assert_eq!(operations["get_by_number"]["headers"], json!({"If-Match": "${input.if_match}"}));
    assert_eq!(operations["get_by_number"]["input"]["page_size"], json!({"type": "integer", "max": i64::MAX}));
    assert_eq!(operations["get_ref_20"]["path"], "/ref%20");
}

#[test]
fn yaml_as_people_write_it_is_read() {
    let text = "\u{feff}# a comment\r\nopenapi: 3.0.3\r\ninfo: {title: Public, version: 2024-01-31}\r\nservers:\r\n- url: https://public.example\r\nx-shared: &shared\r\n  type: string\r\n  \
                example: 2024-01-31T10:00:00Z\r\n  default: on\r\npaths:\r\n  /x:\r\n    get:\r\n      parameters:\r\n      - {name: a, in: query, schema: *shared}\r\n      - name: b\r\n        in: query\r\n        \
                schema:\r\n          <<: *shared\r\n          enum: [yes, no, on, 2024-01-31, ~]\r\n      - {name: c, in: query, schema: {type: integer, example: 12345678901234567890123, maximum: 1e3}}\r\n      \
                responses:\r\n        200: {description: ok}\r\n        4XX: {description: no}\r\n";
    let (done, tree) = done(text);
    assert_eq!(tree["api_version"], "2024-01-31");
    let input = &tree["operations"]["get_x"]["input"];
    assert_eq!(input["a"], json!({"type": "string", "default": "on"}));
    assert_eq!(input["b"], json!({"type": "string", "enum": ["yes", "no", "on", "2024-01-31"], "default": "on"}));
    assert_eq!(input["c"]["type"], "integer");
    assert_eq!(done.report.left_out.len(), 0);
}

#[test]
fn schemes_with_and_and_or_are_chosen() {
    let key = |name: &str| json!({"type": "apiKey", "in": "header", "name": name});
    let mut text = described(json!({
        "/either": {"get": {"operationId": "either", "security": [{"oauth": ["read"]}, {"token": []}]}},
        "/both": {"get": {"operationId": "both", "security": [{"token": [], "app": []}]}},
        "/open": {"get": {"operationId": "open", "security": []}},
        "/maybe": {"get": {"operationId": "maybe", "security": [{}, {"token": []}]}},
    }));
    text["security"] = json!([{"token": []}]);
    text["components"] = json!({"securitySchemes": {"token": {"type": "http", "scheme": "Bearer"}, "app": key("X-App"),
        "oauth": {"type": "oauth2", "flows": {"implicit": {"authorizationUrl": "https://public.example/o", "scopes": {}}}}}});
    let (done, tree) = done(&text.to_string());
    assert_eq!(tree["auth"], json!({"bearer": {"env": "PUBLIC_TOKEN"}}));
    let imported: Vec<&str> = done.report.imported.iter().map(|one| one.name.as_str()).collect();
    assert_eq!((imported, done.report.held_back.len()), (vec!["either", "both", "open", "maybe"], 0));
    // A token is a token, however it was got.
    text["paths"] = json!({"/a": {"get": {"security": [{"oauth": []}, {"basic": []}]}}, "/b": {"get": {}}});
    text["components"]["securitySchemes"]["basic"] = json!({"type": "http", "scheme": "basic"});
    let (same, other) = self::done(&text.to_string());
    assert_eq!((same.report.imported.len(), &other["auth"]), (2, &json!({"bearer": {"env": "PUBLIC_TOKEN"}})));
    assert_eq!((&tree["config"]["app"]["secret"], &tree["headers"]), (&json!(true), &json!({"X-App": "${config.app}"})));
}
