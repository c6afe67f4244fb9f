use std::path::PathBuf;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::expr::At;
use crate::fault::{Faults, Severity, SourceText};
use crate::time::Timestamp;
use crate::yaml;

/// A connector with a bit of everything.
const FULL: &str = r#"
connector: dalle
title: OpenAI images
api_version: 1
base_url: https://api.example.com/v1
config:
  model: {default: big-3, enum: [big-3, small-2]}
  region: eu
auth: {bearer: {env: OPENAI_API_KEY}}
headers: {Accept: application/json, X-Region: "${config.region}"}
retry: {attempts: 5}
limits: {rate: 50/min, concurrency: 4}
after: {if: "has(response.body.ok) && !response.body.ok", fail: "${response.body.error}"}
errors: {message: "${response.body.error.message}"}
operations:
  generate_image:
    method: POST
    path: /images/generations
    input:
      prompt: {type: string, required: true, max_length: 20, label: Prompt, primary: true}
      size: {type: string, enum: [1024x1024, 1792x1024], default: 1024x1024}
      user: {}
    body: {model: "${config.model}", prompt: "${input.prompt}", n: 1, size: "${input.size}", user: "${input.user}", keep: null}
    before: {headers: {X-Request: "${run.id}"}}
    after:
      - {if: "response.status == 200 && has(response.body.error)", fail: "${response.body.error.message}"}
      - {if: "has(response.body.wrapped)", body: {data: "${response.body.wrapped}"}}
      - {if: "response.status == 200 && response.body.busy", retry: "still busy"}
    output: {root: data, fields: {url: "${entry.url}", revised_prompt: "${entry.?revised_prompt.orValue('')}"}}
    errors: {retry: [409], dead: [400, 5xx], accept: [404]}
    lookup: {operation: list_images, with: {prompt: "${input.prompt}"}, found: "size(value) > 0", value: "${value[0]}"}
  list_images:
    method: GET
    path: /users/${input.user}/images
    input: {user: {default: me}, prompt: {}, tags: {type: array}, after: {}}
    query: {prompt: "${input.prompt}", tag: "${input.tags}"}
    paginate: {cursor: {param: after, from: response.body.last_id, until: "!response.body.has_more"}, max: 100}
    output: {root: data}
  upload:
    method: POST
    path: /files
    input: {file: {type: file, required: true}, note: {}}
    multipart: {file: "${input.file}", purpose: images, note: {content: "${input.note}", content_type: text/markdown}}
  say:
    method: POST
    path: /say
    input: {text: {required: true}}
    form: {text: "${input.text}", n: [1, 2]}
  pay:
    method: POST
    path: /pay
    input: {items: {type: array}, to: {type: any}}
    form: {items: "${input.items}", to: "${input.to}", expand: [a, b], of: {it: "${input.to}"}}
    form_style: brackets
triggers:
  image_ready:
    poll: {operation: list_images, with: {after: "${cursor}"}, cursor: entry.created, id: entry.id, version: entry.updated}
  hooked:
    webhook: {scheme: standard-webhooks, type: body.type, id: body.id}
tests:
  - name: builds the request
    call: generate_image
    with: {prompt: a robot}
    expect: {method: POST, url: https://api.example.com/v1/images/generations, headers: {X-Request: test}, body: {prompt: a robot, size: 1024x1024, keep: null}}
  - name: tells what came
    call: generate_image
    with: {prompt: a robot}
    response: {body: {data: [{url: u1, revised_prompt: r}, {url: u2}]}}
    expect: {output: [{url: u1, revised_prompt: r}, {url: u2, revised_prompt: ""}]}
  - name: an error with status 200
    call: generate_image
    with: {prompt: a robot}
    response: {body: {error: {message: no robots}}}
    expect: {error: no robots, retry: false}
  - name: a conflict is tried again
    call: generate_image
    with: {prompt: a robot}
    response: {status: 409, body: {error: {message: wait}}}
    expect: {error: wait, retry: true}
  - name: a query
    call: list_images
    with: {tags: [a b, c], prompt: x&y}
    expect: {url: "https://api.example.com/v1/users/me/images?prompt=x%26y&tag=a+b&tag=c"}
  - name: too long
    call: generate_image
    with: {prompt: "123456789012345678901"}
    expect: {error: at most 20}
"#;

fn load(text: &str) -> (Connectors, Faults) {
    let file = Arc::new(SourceText { path: PathBuf::from("/c/dalle.yaml"), text: text.to_owned() });
    Connectors::load(&[file], None)
}

fn full() -> Arc<Connector> {
    let (all, faults) = load(FULL);
    assert!(faults.is_empty(), "{faults:#?}");
    Arc::clone(all.get("dalle").expect("it is there"))
}

fn caller() -> Caller {
    Caller { run: "R1".into(), rule: "r".into(), idempotency_key: Some("R1:1".into()), now: Timestamp::EPOCH }
}

const CONFIG: fn() -> Value = || json!({"model": "big-3", "region": "eu"});

fn request(operation: &str, said: Value) -> Result<CallRequest, String> {
    let connector = full();
    let operation = &connector.operations[operation];
    let said = said.as_object().cloned().unwrap_or_default();
    let input = operation.input(&said, &CONFIG(), &At::root("with")).map_err(|fault| fault.to_string())?;
    connector.request(operation, &input, &CONFIG(), &caller()).map_err(|fault| fault.to_string())
}

#[test]
fn the_tests_of_a_file_pass_and_can_fail() {
    let reports = full().test(Timestamp::EPOCH);
    for report in &reports {
        assert!(report.passed, "{report:?}");
    }
    assert_eq!(reports.len(), 6);
    let broken = FULL
        .replace("{prompt: a robot, size: 1024x1024, keep: null}}", "{prompt: a robot, size: 1792x1024}}")
        .replace("error: wait, retry: true", "error: wait, retry: false")
        .replace("expect: {error: at most 20}", "expect: {output: 1}\n    response: {}");
    let (all, faults) = load(&broken);
    assert!(!faults.any_error(), "{faults:#?}");
    let reports = all.get("dalle").expect("it is there").test(Timestamp::EPOCH);
    let failed: Vec<_> = reports.iter().filter(|report| !report.passed).map(|report| report.why.clone().unwrap_or_default()).collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    assert_eq!(failed[0], "body.size: expected \"1792x1024\", got \"1024x1024\"");
    assert_eq!(failed[1], "retry: expected false, got true");
    assert!(failed[2].contains("at most 20"), "{failed:?}");
}

#[test]
fn a_request_is_what_the_file_says() {
    let sent = request("generate_image", json!({"prompt": "a"})).expect("a request");
    let shown = sent.to_json(None);
    assert_eq!(
        shown,
        json!({
            "method": "POST", "url": "https://api.example.com/v1/images/generations",
            "headers": {"accept": "application/json", "x-region": "eu", "x-request": "R1", "idempotency-key": "R1:1"},
            "body": {"model": "big-3", "prompt": "a", "n": 1, "size": "1024x1024", "keep": null},
        })
    );
    assert!(sent.written_out && !sent.idempotent);
    assert!(!request("list_images", json!({})).expect("a request").headers.contains_key("idempotency-key"), "it changes nothing");
    let said = request("say", json!({"text": "a&b"})).expect("a request");
    assert_eq!(said.content, Content::Form(vec![("text".into(), "a&b".into()), ("n".into(), "1".into()), ("n".into(), "2".into())]));
    let sent = request("upload", json!({"file": {"name": "a.png", "content_type": "image/png", "base64": "aGk="}})).expect("a request");
    let Content::Multipart(parts) = sent.content else { panic!("no parts") };
    assert_eq!(parts.len(), 2, "a part without a value is left out");
    assert_eq!(
        (parts[0].filename.as_deref(), parts[0].content_type.as_deref(), &parts[0].bytes[..]),
        (Some("a.png"), Some("image/png"), &b"hi"[..])
    );
    let paid = request("pay", json!({"items": [{"price": "p", "quantity": 2}], "to": {"city": "Wien"}})).expect("a request");
    let form =
        json!({"items[0][price]": "p", "items[0][quantity]": "2", "to[city]": "Wien", "expand[]": ["a", "b"], "of[it][city]": "Wien"});
    assert_eq!(paid.to_json(None)["form"], form);
    let many = json!({"items": vec![1; limits::FORM_MAX + 1]});
    assert!(request("pay", many).expect_err("refused").contains("more than 10000 fields"));
}

#[test]
fn a_list_in_a_multipart_body_is_a_part_for_each_element() {
    let text = "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    input: {files: {type: array}, tags: {type: array}}\n    \
                multipart:\n      files: '${input.files}'\n      tags: '${input.tags}'\n      meta: {content: '${input.tags}', content_type: application/json}\n";
    let (all, faults) = load(text);
    let connector = all.get("a").unwrap_or_else(|| panic!("{faults:#?}"));
    let input = json!({"files": [{"name": "a.txt", "text": "a"}, null, {"name": "b.txt", "text": "b"}], "tags": ["x", {"y": 1}]});
    let request = connector.request(&connector.operations["x"], &input, &json!({}), &caller()).expect("a request");
    let expected = json!({
        "files": [{"filename": "a.txt", "content": "a"}, {"filename": "b.txt", "content": "b"}], "tags": ["x", "{\"y\":1}"],
        "meta": {"content_type": "application/json", "content": "[\"x\",{\"y\":1}]"},
    });
    assert_eq!(request.to_json(None)["multipart"], expected);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_is_sent() {
    for (operation, said, why) in [
        ("generate_image", json!({}), "`generate_image` needs input `prompt`"),
        ("generate_image", json!({"prompt": 7}), "input `prompt` is 7; expected a string"),
        ("generate_image", json!({"prompt": "a", "size": "1x1"}), "expected one of \"1024x1024\", \"1792x1024\""),
        ("generate_image", json!({"promt": "a"}), "has no input `promt`; did you mean `prompt`?"),
        ("list_images", json!({"user": ""}), "is empty"),
        ("list_images", json!({"user": ".."}), "is `.` or `..`"),
        ("list_images", json!({"tags": "a"}), "expected a list"),
        ("upload", json!({"file": {"base64": "%"}}), "expected a text, or a mapping"),
        ("upload", json!({"file": {"text": "x", "name": "a\r\nb"}}), "control character"),
    ] {
        let error = request(operation, said.clone()).expect_err("it is refused");
        assert!(error.contains(why), "{operation} {said}: {error}");
    }
    let connector = full();
    let config = json!({"model": "big-3", "region": "eu\r\nX-Evil: 1"});
    let input = json!({"user": "me", "prompt": null, "tags": null});
    let error = connector.request(&connector.operations["list_images"], &input, &config, &caller()).expect_err("refused");
    assert!(error.message.contains("line break"), "{error}");
}

proptest! {
    #[test]
    fn a_value_never_leaves_its_segment(user in any::<String>()) {
        if let Ok(sent) = request("list_images", json!({ "user": user })) {
            let url = url::Url::parse(&sent.full_url()).expect("a URL");
            prop_assert_eq!(url.host_str(), Some("api.example.com"));
            let segments: Vec<_> = url.path_segments().expect("segments").collect();
            prop_assert_eq!(segments.len(), 4, "{}", url);
            prop_assert_eq!((segments[0], segments[1], segments[3]), ("v1", "users", "images"));
            prop_assert!(url.query().is_none() && url.fragment().is_none());
        }
    }
}

fn meaning(operation: &str, status: u16, body: Value) -> Meaning {
    let connector = full();
    let access = Access::new("dalle".into(), CONFIG(), [("bearer", crate::secret::Secret::new("topsecret".into()))].into(), Vec::new());
    let response = CallResponse::new(status, [], body);
    connector.outcome(&connector.operations[operation], &json!({"prompt": "a"}), &access, &response, Timestamp::EPOCH)
}

#[test]
fn an_answer_means_what_the_file_says() {
    let value = |value: Value| Meaning::Value(value);
    let dead = |message: &str| Meaning::Dead(message.to_owned());
    for (operation, status, body, expected) in [
        ("list_images", 200, json!({"data": [9_007_199_254_740_993_u64]}), value(json!([9_007_199_254_740_993_u64]))),
        ("list_images", 200, json!({"rows": []}), dead("the answer has no `data`, which `output.root` asks for")),
        ("list_images", 200, json!({"ok": false, "error": "not topsecret"}), dead("not ***")),
        ("list_images", 503, json!("<html>"), Meaning::Refused(None)),
        ("list_images", 403, json!({"error": {"message": "no"}}), Meaning::Refused(Some("no".into()))),
        ("generate_image", 404, json!({"data": []}), value(json!([]))),
        ("generate_image", 200, json!({"wrapped": [{"url": "u"}]}), value(json!([{"url": "u", "revised_prompt": ""}]))),
        (
            "generate_image",
            200,
            json!({"data": [{}]}),
            dead("output.fields.url: `entry.url` is missing; write entry.?url.orValue(…) where it may be"),
        ),
        ("generate_image", 200, json!({"busy": true}), Meaning::Retry("still busy".into())),
        ("generate_image", 409, json!({}), Meaning::Retry("status 409".into())),
        ("generate_image", 500, json!({"error": {"message": "broken"}}), dead("status 500: broken")),
        ("generate_image", 400, json!({"error": {"message": "long"}}), dead("status 400: long")),
    ] {
        assert_eq!(meaning(operation, status, body.clone()), expected, "{operation} {status} {body}");
    }
}

#[test]
fn no_digit_of_a_whole_number_changes() {
    let text = r#"
connector: a
base_url: https://h.example
operations:
  x:
    method: POST
    path: /x/${input.id}
    input: {id: {type: any}, n: {type: integer, max: 9007199254740992}}
    query: {id: "${input.id}"}
    body: {id: "${input.id}", all: ["${input.id}"], most: "${input.id == 18446744073709551615u}", text: "no. ${input.id}", round: 100000000000000000000}
    output: {fields: {id: "${entry.id}", text: "${string(entry.id)}"}}
"#;
    let (all, faults) = load(text);
    assert!(faults.is_empty(), "{faults:#?}");
    let connector = all.get("a").expect("the connector");
    let operation = &connector.operations["x"];
    let access = Access::new("a".into(), json!({}), [].into(), Vec::new());
    for written in ["9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808", "18446744073709551615"] {
        let id: Value = serde_json::from_str(written).expect("a number");
        let input = operation.input(json!({ "id": id }).as_object().expect("a mapping"), &json!({}), &At::root("with")).expect("an input");
        let request = connector.request(operation, &input, &json!({}), &caller()).expect("a request");
        assert_eq!(request.full_url(), format!("https://h.example/x/{written}?id={written}"));
        let Content::Json(body) = &request.content else { panic!("no JSON") };
        let most = written == "18446744073709551615";
        let expected = format!(r#"{{"id":{written},"all":[{written}],"most":{most},"text":"no. {written}","round":1e+20}}"#);
        assert_eq!(body.to_string(), expected);
        let answer = CallResponse::of(200, [], format!("{{\"id\": {written}}}").as_bytes());
        let meant = connector.outcome(operation, &input, &access, &answer, Timestamp::EPOCH);
        assert_eq!(meant, Meaning::Value(json!({"id": id, "text": written})));
    }
    // What no 64 bits hold is a text of its digits, from the answer on.
    let wide = "123456789012345678901";
    assert_eq!(CallResponse::of(200, [], format!("{{\"id\": {wide}}}").as_bytes()).body(), &json!({ "id": wide }));
    let refused = |n: Value| {
        let said = json!({ "n": n });
        let input = operation.input(said.as_object().expect("a mapping"), &json!({}), &At::root("with"));
        input.expect_err("refused").to_string()
    };
    assert!(refused(json!(9_007_199_254_740_993_u64)).ends_with("expected at most 9007199254740992"));
    assert!(refused(json!(wide)).ends_with("expected a whole number of at most 64 bits; a field of type `string` takes any"));
}

#[test]
fn an_unknown_outcome_is_looked_up() {
    let connector = full();
    let operation = &connector.operations["generate_image"];
    let input = json!({"prompt": "a"});
    let asked = connector.lookup_input(operation, &input, &CONFIG(), Timestamp::EPOCH).expect("an input");
    assert_eq!(Value::Object(asked), json!({"prompt": "a"}));
    let found = |value: Value| connector.found(operation, &value, &input, &CONFIG(), Timestamp::EPOCH);
    assert_eq!(found(json!([])), Ok(None));
    assert_eq!(found(json!([{"id": 1}])), Ok(Some(json!({"id": 1}))));
}

#[test]
fn every_fault_has_its_place() {
    let good = "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\n";
    assert!(load(good).1.is_empty(), "{:#?}", load(good).1);
    for (text, code, at) in [
        ("connector: a\noperations: {}\n", "missing-key", (1, 1)),
        ("connector: a\nbase_url: https://h\ntitle: nothing\n", "missing-key", (1, 1)),
        ("connector: 1a\nbase_url: https://h\n", "bad-name", (1, 12)),
        ("connector: a\nbase_ulr: https://h\n", "unknown-key", (2, 1)),
        ("connector: a\nbase_url: ftp://h\n", "url", (2, 11)),
        ("connector: a\nbase_url: https://u:p@h\n", "url", (2, 11)),
        ("connector: a\nbase_url: http://h\nauth: {bearer: {env: X}}\n", "plain-http", (2, 11)),
        ("connector: a\nbase_url: https://h\nauth: brearer\n", "unknown-auth", (3, 7)),
        ("connector: a\nbase_url: https://h\nauth: {bearer: {env: X}, basic: {username: a, password: {env: P}}}\n", "bad-value", (3, 7)),
        ("connector: a\nbase_url: https://${input.h}\n", "unknown-name", (2, 21)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: x}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: /a/../b}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: /a/%2E%2e/b}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: \"https://evil/x\"}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: //evil/x}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: \"/a/{id}\"}\n", "path", (4, 26)),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GTE, path: /x}\n", "unknown-method", (4, 15)),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /${input.idd}\n    input: {id: {}}\n",
            "unknown-field",
            (6, 14),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    input: {n: {type: intger}}\n",
            "bad-value",
            (7, 23),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    input: {n: {type: integer, default: a}}\n",
            "bad-value",
            (7, 41),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    input: {n: {pattern: '('}}\n",
            "pattern",
            (7, 26),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    body: {}\n    form: {a: 1}\n",
            "two-bodies",
            (8, 5),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    form: {a: 1}\n    form_style: bracket\n",
            "bad-value",
            (8, 17),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    body: {a: 1}\n    form_style: brackets\n",
            "form-style",
            (8, 5),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: GET\n    path: /x\n    paginate: {page: {param: p, size: 0}}\n",
            "out-of-range",
            (7, 39),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: GET\n    path: /x\n    paginate: {offset: {param: p}}\n",
            "missing-key",
            (7, 24),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: GET\n    path: /x\n    output: {fields: {a: 1, a: 2}}\n",
            "duplicate-key",
            (7, 29),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    lookup: {operation: y, found: 'true'}\n",
            "unknown-operation",
            (4, 3),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x:\n    method: POST\n    path: /x\n    after: {if: 'response.', fail: x}\n",
            "expression",
            (7, 0),
        ),
        ("connector: a\nbase_url: https://h\noperations:\n  x: {method: GET, path: /x, headers: {Host: a}}\n", "header-name", (4, 40)),
        (
            "connector: a\nbase_url: https://h\ntriggers: {t: {poll: {operation: x, cursor: entry.a, id: entry.b}}}\n",
            "unknown-operation",
            (3, 12),
        ),
        (
            "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\ntests: [{name: a, call: y, expect: {method: GET}}]\n",
            "unknown-operation",
            (4, 25),
        ),
        ("connector: a\nbase_url: https://h\nlimits: {rate: often}\n", "rate", (3, 16)),
        ("connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: slak}}}\n", "scheme", (3, 34)),
        ("connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: orchestrator}}}\n", "scheme", (3, 34)),
        ("connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: slack, tolerance: 1m}}}\n", "scheme", (3, 41)),
        ("connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: custom}}}\n", "missing-key", (3, 25)),
        ("connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: github, type: entry.x}}}\n", "expression", (3, 48)),
        (
            "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\ntriggers:\n  t: {poll: {operation: x, cursor: entry.at, id: entry.id}}\ntests:\n  - {name: rows, call: x, response: {body: [{id: 1, at: 1}, {id: 2}]}, expect: {method: GET}}\n",
            "trigger-sample",
            (5, 3),
        ),
        (
            "connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: github}}}\ntests: [{name: a, trigger: s, delivery: {body: {}}, expect: {events: []}}]\n",
            "unknown-trigger",
            (4, 28),
        ),
        (
            "connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: github}}}\ntests: [{name: a, trigger: t, delivery: {body: {}}, expect: {output: 1}}]\n",
            "test",
            (4, 62),
        ),
        (
            "connector: a\nbase_url: https://h\ntriggers: {t: {webhook: {scheme: github}}}\ntests: [{name: a, trigger: t, expect: {events: []}}]\n",
            "missing-key",
            (4, 9),
        ),
        (
            "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\ntests: [{name: a, call: x, cursor: 1, expect: {method: GET}}]\n",
            "test",
            (4, 28),
        ),
        (
            "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\ntests: [{name: a, call: x, expect: {events: []}}]\n",
            "test",
            (4, 37),
        ),
        (
            "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\ntests: [{name: a, expect: {method: GET}}]\n",
            "missing-key",
            (4, 9),
        ),
        ("connector: a\nbase_url: https://h\nretry: {attempts: 0}\n", "out-of-range", (3, 19)),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x: {method: POST, path: /x, body: {id: 123456789012345678901}}\n",
            "number",
            (4, 42),
        ),
        (
            "connector: a\nbase_url: https://h\noperations:\n  x: {method: POST, path: /x, headers: {X-Id: -9223372036854775809}}\n",
            "number",
            (4, 47),
        ),
        ("connector: a\nbase_url: https://h\nconfig: {id: 18446744073709551617}\n", "number", (3, 14)),
    ] {
        let (all, faults) = load(text);
        let errors: Vec<_> = faults.iter().filter(|fault| fault.severity == Severity::Error).collect();
        let first = errors.first().unwrap_or_else(|| panic!("no fault in:\n{text}"));
        let place = first.place.as_ref().map_or((0, 0), |place| (place.line, place.column));
        assert_eq!(first.code, code, "{text}\n{errors:#?}");
        assert!(place == at || (at.1 == 0 && place.0 == at.0), "{text}\n{place:?} {at:?} {}", first.message);
        assert!(all.is_empty(), "a connector with a fault is not there");
    }
}

#[test]
fn files_have_limits() {
    let (_, faults) = load(&format!("connector: a # {}\n", "x".repeat(limits::FILE_MAX)));
    assert_eq!(faults.iter().next().expect("a fault").code, "file-too-large");
    let deep = format!(
        "connector: a\nbase_url: https://h\noperations: {{x: {{method: POST, path: /x, body: {}{}}}}}\n",
        "[".repeat(70),
        "]".repeat(70)
    );
    let faults = load(&deep).1;
    assert!(faults.iter().any(|fault| fault.code == "too-deep"), "{faults:#?}");
    let (all, faults) = load(
        "connector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\n---\nconnector: a\nbase_url: https://h\noperations: {x: {method: GET, path: /x}}\n",
    );
    assert_eq!(all.len(), 1);
    assert_eq!(faults.iter().next().expect("a fault").code, "duplicate-connector");
}

#[test]
fn the_configuration_sets_what_a_connector_leaves_open() {
    let text = "connector: a\nbase_url: https://${config.tenant}.example.com\nconfig: {tenant: {required: true}, key: {secret: true, required: false}}\noperations: {x: {method: GET, path: /x}}\n";
    let file = Arc::new(SourceText { path: PathBuf::from("/c/a.yaml"), text: text.to_owned() });
    let set = |written: &str| {
        let source = Arc::new(SourceText { path: PathBuf::from("/c/tripline.yaml"), text: written.to_owned() });
        let nodes = yaml::parse(&source).expect("YAML");
        let entries = nodes[0].as_map().expect("a mapping").to_vec();
        let named = entries.iter().map(|(key, _)| (key.name.clone(), key.place.clone())).collect();
        Settings { named, fields: entries.into_iter().map(|(_, node)| node).collect() }
    };
    let code = |written: &str| Connectors::load(std::slice::from_ref(&file), Some(&set(written))).1.iter().next().map(|fault| fault.code);
    assert_eq!(code("a: {tenant: acme}"), None);
    assert_eq!(code("a: {tenant: acme, key: {env: KEY}}"), None);
    assert_eq!(code("a: {}"), Some("missing-config"));
    assert_eq!(code("a: {tenant: 7}"), Some("bad-value"));
    assert_eq!(code("a: {tennant: acme}"), Some("unknown-field"));
    assert_eq!(code("a: {tenant: 'u@x'}"), Some("url"));
    assert_eq!(code("{a: {tenant: acme}, bb: {}}"), Some("unknown-connector"));
    // A generation that is compiled again is not asked for what the configuration sets now.
    assert!(load(text).1.is_empty());
}

#[test]
fn the_schema_knows_the_same_keys() {
    let schema = connector_schema();
    let document: Value = yaml::parse(&SourceText { path: PathBuf::from("a"), text: FULL.to_owned() }.into()).expect("YAML")[0].to_json();
    for key in document.as_object().expect("a mapping").keys() {
        assert!(schema["properties"].get(key).is_some(), "{key}");
    }
    assert_eq!(schema["required"], json!(["connector", "base_url"]));
    assert_eq!(schema["definitions"]["operation"]["required"], json!(["method", "path"]));
}

#[test]
fn no_report_shows_a_secret_that_is_written_out() {
    for text in [
        "connector: a\nbase_url: https://x.example\nauth: {bearer: canary-secret-0123456789, nope: 1}\noperations: {x: {method: GET, path: /x}}\n",
        "connector: a\nbase_url: https://x.example\nauth: {api_key: {in: heder, name: X-Key, value: canary-secret-0123456789}}\noperations: {x: {method: GET, path: /x}}\n",
        "connector: a\nauth: {bearer: canary-secret-0123456789: 7}\n",
    ] {
        let file = Arc::new(SourceText { path: "a.yaml".into(), text: text.to_owned() });
        let (_, faults) = Connectors::load(&[file], None);
        assert!(faults.any_error(), "{text}");
        for fault in &faults {
            let shown = fault.place.as_ref().map_or("", |place| place.source.text.as_str());
            assert!(!format!("{shown}{}", fault.one_line()).contains("canary"), "{}\n{shown}", fault.one_line());
        }
    }
}
