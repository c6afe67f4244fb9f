//! Whole descriptions: what the file says, what is held back, what is left out.

use std::path::Path;

use serde_json::{Value, json};

use super::*;

const EVERYTHING: &str = include_str!("../../../tests/fixtures/openapi/everything.yaml");
const PLAIN31: &str = include_str!("../../../tests/fixtures/openapi/plain31.json");
const NO_SERVER: &str = include_str!("../../../tests/fixtures/openapi/no-server.yaml");

fn source(text: &str) -> Arc<SourceText> {
    Arc::new(SourceText { path: Path::new("api.yaml").to_owned(), text: text.to_owned() })
}

fn done(text: &str, options: &Options) -> Import {
    import(&source(text), options).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// The codes of the faults of an import that is refused, with their remedies.
fn refused(text: &str, options: &Options) -> Vec<(&'static str, String)> {
    let faults = import(&source(text), options).expect_err("refused");
    faults.into_iter().map(|fault| (fault.code, fault.help.unwrap_or_default())).collect()
}

/// The file as a tree, which must read.
fn tree(import: &Import) -> Value {
    let nodes = crate::yaml::parse(&source(&import.text)).unwrap_or_else(|faults| panic!("{}\n{faults:?}", import.text));
    assert_eq!(nodes.len(), 1);
    nodes[0].to_json()
}

fn reasons(parts: &[Part]) -> Vec<(&'static str, &str)> {
    let mut reasons: Vec<_> = parts.iter().map(|part| (part.reason, part.pointer.as_str())).collect();
    reasons.sort_unstable();
    reasons
}

fn picked(names: &str) -> Options {
    Options { operations: Selection::parse(names).expect("reads"), ..Options::default() }
}

#[test]
fn every_operation_is_imported_or_held_back_by_its_reason() {
    let done = done(EVERYTHING, &Options::default());
    let mut names: Vec<String> = done.report.imported.iter().map(|one| format!("{} {} {}", one.name, one.method, one.path)).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "create_thing POST /things",
            "delete_things_by_thing_id DELETE /things/{thingId}",
            "get_with_body GET /odd-media",
            "list_things GET /things",
            "list_things_put PUT /things/{thingId}",
            "open_to_all GET /login",
            "patch_thing PATCH /things/{thingId}",
            "post_form POST /forms",
            "post_things_by_thing_id_notes POST /things/{thingId}/notes",
            "things_get GET /things/{thingId}",
            "things_get_by_name GET /things({key})/Named(name='{name}')",
            "upload POST /files",
            "upload_raw PUT /files",
        ]
    );
    assert_eq!(
        reasons(&done.report.held_back),
        [
            ("circular-reference", "#/paths/~1odd~1{id}/patch/requestBody"),
            ("cookie-parameter", "#/paths/~1odd~1{id}/post/parameters/0"),
            ("cookie-security", "#/paths/~1login/post"),
            ("media-type", "#/paths/~1odd-media/post/requestBody"),
            ("method", "#/paths/~1things~1{thingId}/trace"),
            ("missing-reference", "#/paths/~1odd~1{id}/delete/requestBody"),
            ("other-security", "#/paths/~1login/put"),
            ("other-server", "#/paths/~1elsewhere/get"),
            ("parameter-style", "#/paths/~1odd~1{id}/get/parameters/0"),
            ("remote-reference", "#/paths/~1away"),
            ("remote-reference", "#/paths/~1odd~1{id}/put/requestBody"),
        ]
    );
    assert_eq!(
        reasons(&done.report.left_out),
        [
            ("cookie-parameter", "#/paths/~1things/parameters/1"),
            ("form-object", "#/paths/~1forms/post/requestBody"),
            ("form-object", "#/paths/~1forms/post/requestBody"),
            ("parameter-style", "#/paths/~1things/get/parameters/7"),
            ("pattern", "#/paths/~1files/post/requestBody"),
        ]
    );
    assert_eq!((done.report.of, done.report.wanted), (24, 23), "a path that is elsewhere counts as one");
    assert_eq!(done.report.variables, ["EVERYTHING_API_CLIENT_ID", "EVERYTHING_API_CLIENT_SECRET"]);
}

#[test]
fn the_file_says_what_the_description_says() {
    let tree = tree(&done(EVERYTHING, &Options::default()));
    let mut head = tree.clone();
    head.as_object_mut().expect("a mapping").remove("operations");
    assert_eq!(
        head,
        json!({
            "connector": "everything-api", "title": "Everything API",
            "description": "A service that exists only here. It costs ${money}.",
            "vendor_docs": "https://docs.everything.example", "api_version": "2.1.0",
            "base_url": "https://${config.region}.everything.example/${config.base}",
            "config": {"region": {"default": "eu", "enum": ["eu", "us"], "description": "Where the data is"}, "base": {"default": "v2"}},
            "auth": {"oauth2": {"client_credentials": {"token_url": "https://login.everything.example/token",
                "client_id": {"env": "EVERYTHING_API_CLIENT_ID"}, "client_secret": {"env": "EVERYTHING_API_CLIENT_SECRET"},
                "scope": "things.read"}}},
        })
    );
    let operation = |name: &str| tree["operations"][name].clone();
    let trace = json!({"type": "string", "required": true, "pattern": "^[a-f0-9]{8}$", "description": "The operation's own"});
    assert_eq!(
        operation("list_things"),
        json!({
            "title": "List things", "description": "All of them, page by page.", "method": "GET", "path": "/things",
            "input": {
                "tags": {"type": "array"}, "ids": {"type": "array"}, "sizes": {"type": "array"},
                "filter_state": {"type": "string", "enum": ["new", "done"]}, "filter_after": {"type": "date-time"},
                "where": {"type": "object"}, "x_trace_id": trace,
            },
            "query": {
                "tags": "${input.tags}",
                "ids": "${input.ids == null ? null : input.ids.map(v, string(v)).join(\",\")}",
                "sizes": "${input.sizes == null ? null : input.sizes.map(v, string(v)).join(\"|\")}",
                "filter[state]": "${input.filter_state}", "filter[after]": "${input.filter_after}",
                "where": "${input.where == null ? null : json.encode(input.where)}",
            },
            "headers": {"X-Trace-Id": "${input.x_trace_id}"},
            "paginate": {"offset": {"param": "offset", "size_param": "limit", "size": 50}, "max": 100},
            "output": {"root": "items"},
        })
    );
    assert_eq!(
        operation("create_thing"),
        json!({
            "title": "Create a thing", "method": "POST", "path": "/things",
            "input": {
                "name": {"type": "string"}, "x_trace_id": {"type": "string", "description": "For support"},
                "body_name": {"type": "string", "default": "a $${thing}", "min_length": 1, "max_length": 80,
                    "description": "What it is called, ${not} evaluated"},
                "size": {"type": "string", "enum": ["S", "M", "L"], "default": "M"}, "weight": {"type": "number", "min": 0},
                "children": {"type": "array"}, "in_value": {"type": "string"},
                "kind": {"type": "string", "required": true}, "when": {"type": "date-time"},
            },
            "query": {"name": "${input.name}"}, "headers": {"X-Trace-Id": "${input.x_trace_id}"},
            "body": {"name": "${input.body_name}", "size": "${input.size}", "weight": "${input.weight}", "children": "${input.children}",
                "in": "${input.in_value}", "kind": "${input.kind}", "when": "${input.when}"},
        })
    );
    assert_eq!(operation("list_things_put")["body"], json!("${input.body}"));
    assert_eq!(operation("list_things_put")["input"]["body"], json!({"type": "any", "required": true}));
    let raw = |name: &str| operation(name)["raw"].clone();
    assert_eq!(raw("patch_thing"), json!({"content_type": "application/merge-patch+json", "content": "${json.encode(input.body)}"}));
    assert_eq!(raw("post_things_by_thing_id_notes"), json!({"content_type": "text/plain", "content": "${input.body}"}));
    assert_eq!(raw("upload_raw"), json!({"content_type": "application/octet-stream", "content": "${input.body}"}));
    assert_eq!(operation("upload_raw")["input"], json!({"body": {"type": "file", "required": true}}));
    assert_eq!(operation("upload")["multipart"], json!({"file": "${input.file}", "comment": "${input.comment}"}));
    let form = json!({"to": "${input.to}", "media": "${input.media}", "address[city]": "${input.address_city}"});
    assert_eq!(
        (operation("post_form")["form"].clone(), operation("post_form")["input"]["to"].clone()),
        (form, json!({"type": "string", "required": true}))
    );
    assert_eq!(operation("delete_things_by_thing_id")["description"], "Deprecated.");
    assert_eq!(operation("things_get_by_name")["path"], "/things(${input.key})/Named(name='${input.name.replace(\"'\", \"''\")}')");
}

#[test]
fn descriptions_of_3_1_have_types_in_lists() {
    let done = done(PLAIN31, &Options::default());
    let tree = tree(&done);
    assert_eq!(
        tree["operations"]["operation"]["input"],
        json!({
            "id": {"type": "integer", "required": true}, "mode": {"type": "string", "required": true, "enum": ["fast"]},
            "note": {"type": "string"}, "either": {"type": "any"}, "anything": {"type": "any", "required": true},
            "body_id": {"type": "integer"},
        })
    );
    assert_eq!(tree["operations"]["operation"]["path"], "/a%2Fb/${input.id}");
    assert!(done.text.contains("asks for no authentication") && tree.get("auth").is_none());
    assert_eq!(reasons(&done.report.left_out), [("webhooks", "#/webhooks")]);
}

#[test]
fn what_the_user_says_goes_before_the_description() {
    let codes: Vec<&str> = refused(NO_SERVER, &Options::default()).into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["connector-name", "base-url"], "everything that is missing at once");
    let options = Options { name: Some("mine".to_owned()), base_url: Some("https://x.example".to_owned()), ..Options::default() };
    let tree = tree(&done(NO_SERVER, &options));
    assert_eq!((&tree["connector"], &tree["base_url"]), (&json!("mine"), &json!("https://x.example/api/v3")));
    assert!(NO_SERVER.contains("/api/v3"));
    for (path, base) in [("/# api/v3", ""), ("/api?v=3", "/api"), ("/a b", "/a b"), ("/$$a", "/$$a")] {
        let text = NO_SERVER.replace("/api/v3", &format!("'{path}'"));
        let tree = self::tree(&done(&text, &options));
        assert_eq!(tree["base_url"], json!(format!("https://x.example{base}")), "{path}");
    }
    for bad in ["", "Mine", "a b", "9a", "${x}", &"a".repeat(65)] {
        let options = Options { name: Some(bad.to_owned()), ..options.clone() };
        assert_eq!(refused(NO_SERVER, &options)[0].0, "connector-name", "{bad}");
    }
}

#[test]
fn paths_stay_on_the_server_whatever_stands_in_them() {
    let path = |path: &str| {
        let text = json!({"openapi": "3.0.0", "info": {"title": "p"}, "servers": [{"url": "https://p.example"}],
            "paths": {path: {"get": {"operationId": "x"}}, "/y": {"get": {"operationId": "y"}}}});
        let done = done(&text.to_string(), &Options::default());
        let held: Vec<&str> = done.report.held_back.iter().map(|part| part.reason).collect();
        match held.as_slice() {
            [] => Ok(tree(&done)["operations"]["x"]["path"].as_str().expect("a path").to_owned()),
            [reason] => Err((*reason).to_owned()),
            more => panic!("{more:?}"),
        }
    };
    for (written, taken) in [
        ("/a b", "/a%20b"),
        ("/a\\b{c}", "/a%5Cb${input.c}"),
        ("/{a}\u{a0}", "/${input.a}%C2%A0"),
        ("/{a}..{b}", "/${input.a}..${input.b}"),
        ("/{file}.json", "/${input.file}.json"),
        ("/a:batch", "/a:batch"),
    ] {
        assert_eq!(path(written).as_deref(), Ok(taken));
    }
    for outside in ["//a.example", "/a/../b", "/a/%2E%2e/b", "/https://a.example", "a", "/a#b", "/{a", "/a}", "/}{a}"] {
        assert_eq!(path(outside), Err("path".to_owned()), "{outside}");
    }
}

#[test]
fn operations_are_picked() {
    let names = |operations: &str| {
        let done = done(EVERYTHING, &picked(operations));
        let names: Vec<String> = done.report.imported.iter().map(|one| one.name.clone()).collect();
        (names, done.report.wanted)
    };
    assert_eq!(names("createThing,GET /things/*"), (vec!["create_thing".to_owned(), "things_get".to_owned()], 2));
    // Authentication is chosen for what is picked.
    let admin = done(EVERYTHING, &picked("as_admin"));
    assert_eq!(tree(&admin)["auth"]["basic"]["username"], json!({"env": "EVERYTHING_API_USERNAME"}));
    let [(code, help)] = refused(EVERYTHING, &picked("create_thin")).try_into().expect("one fault");
    assert_eq!((code, help.as_str()), ("unknown-operation", "did you mean `create_thing`?"));
    let [(code, help)] = refused(EVERYTHING, &picked("protobuf")).try_into().expect("one fault");
    assert!(code == "nothing-imported" && help.contains("media-type"), "{help}");
}

#[test]
fn keys_that_go_together_are_sent_together() {
    let text = json!({"openapi": "3.0.0", "info": {"title": "two"}, "servers": [{"url": "https://two.example"}],
        "security": [{"api": [], "app": []}], "paths": {"/x": {"get": {"operationId": "x", "parameters": [
            {"name": "X-App", "in": "header", "schema": {"type": "string"}}]}}},
        "components": {"securitySchemes": {"api": {"type": "apiKey", "in": "header", "name": "X-Api"},
            "app": {"type": "apiKey", "in": "header", "name": "X-App"}}}});
    let done = done(&text.to_string(), &Options::default());
    let tree = tree(&done);
    assert_eq!(tree["auth"], json!({"api_key": {"in": "header", "name": "X-Api", "value": {"env": "TWO_API_KEY"}}}));
    assert_eq!(
        (&tree["config"], &tree["headers"]),
        (&json!({"app": {"secret": true, "default": {"env": "TWO_APP"}}}), &json!({"X-App": "${config.app}"}))
    );
    assert_eq!(tree["operations"]["x"].get("input"), None, "the key is no field of a call");
    assert_eq!(done.report.variables, ["TWO_APP", "TWO_API_KEY"]);
}

#[test]
fn a_connector_that_is_too_large_says_how_to_pick() {
    let schema =
        json!({"type": "object", "properties": (0..150).map(|n| (format!("property_{n}"), json!({"type": "string"}))).collect::<Map>()});
    let paths: Map = (0..400)
        .map(|n| {
            (
                format!("/p{n}"),
                json!({"post": {"operationId": format!("post_{n}"), "requestBody": {"content": {"application/json": {"schema": schema}}}}}),
            )
        })
        .collect();
    let text =
        json!({"openapi": "3.0.0", "info": {"title": "big"}, "servers": [{"url": "https://big.example"}], "paths": paths}).to_string();
    let [(code, help)] = refused(&text, &Options::default()).try_into().expect("one fault");
    assert!(code == "file-too-large" && help.contains("--operations post_0,GET /p399*"), "{help}");
}

type Map = serde_json::Map<String, Value>;

#[test]
fn long_descriptions_give_way() {
    let long = "word ".repeat(200);
    let operations: Map = (0..2_000)
        .map(|n| {
            (
                format!("/p{n}"),
                json!({"get": {"operationId": format!("get_{n}"), "description": long, "parameters": [
            {"name": "q", "in": "query", "description": long, "schema": {"type": "string"}}]}}),
            )
        })
        .collect();
    let text =
        json!({"openapi": "3.0.0", "info": {"title": "big"}, "servers": [{"url": "https://big.example"}], "paths": operations}).to_string();
    let done = done(&text, &Options::default());
    assert!(done.text.len() <= FILE_MAX, "{}", done.text.len());
    assert_eq!(tree(&done)["operations"].as_object().map(Map::len), Some(2_000));
}
