//! Any text is a connector or is refused with places, and the tests in it run.

use std::path::PathBuf;
use std::sync::Arc;

use super::Connectors;
use crate::event::fuzz::{near_text, over_inputs};
use crate::fault::SourceText;
use crate::time::Timestamp;
use crate::yaml::fuzz::places_are_inside;

const SEEDS: &[&str] = &[
    "connector: a\nbase_url: https://a.example/v1\nconfig: {model: {default: big, enum: [big, small]}, key: {secret: true, required: false}}\nauth: {bearer: plain-text-token-0123456789}\nretry: {attempts: 5}\nlimits: {rate: 50/min, concurrency: 4}\noperations:\n  go:\n    method: POST\n    path: /x/${input.id}\n    input: {id: {type: integer, required: true, min: 1}, tags: {type: array}, text: {max_length: 20, pattern: '^[a-z]+$'}}\n    body: {model: '${config.model}', tags: '${input.tags}'}\n    before: {if: input.id > 1, headers: {X-Request: '${run.id}'}}\n    after: {if: 'response.status == 200 && has(response.body.error)', fail: '${response.body.error.message}'}\n    output: {root: data, fields: {url: '${entry.url}'}}\n    errors: {retry: [409], dead: [4xx], message: '${response.body.error}'}\n    idempotent: true\n  list:\n    method: GET\n    path: /x\n    input: {after: {}}\n    query: {after: '${input.after}'}\n    paginate: {cursor: {param: after, from: response.body.last, until: '!response.body.more'}, max: 3}\ntriggers:\n  ready: {poll: {operation: list, with: {after: '${cursor}'}, cursor: entry.created, id: entry.id}}\ntests:\n  - {name: one, call: go, with: {id: 2, tags: [a]}, response: {body: {data: [{url: u}]}}, expect: {method: POST, output: [{url: u}]}}\n  - {name: two, call: go, with: {id: 0}, expect: {error: at least}}\n",
    "connector: b\nbase_url: https://${config.host}\nconfig: {host: {default: b.example}}\nauth: {hmac: {secret: 0123456789abcdef, algorithm: sha256, header: X-S, encoding: hex, content: '${timestamp}.${request.body}', timestamp_header: X-T}}\nheaders: {Accept: application/json}\noperations:\n  put:\n    method: PUT\n    path: /f\n    input: {file: {type: file}, at: {type: date-time}}\n    multipart: {f: {content: '${input.file}', filename: a.txt}, at: '${input.at}'}\n  form: {method: POST, path: /g, input: {q: {}}, form: {q: '${input.q}'}, lookup: {operation: put, found: 'value != null'}}\n  raw: {method: PATCH, path: /h, raw: {content_type: text/plain, content: 'a ${now}'}}\n---\nconnector: c\nbase_url: http://127.0.0.1:9\nauth: {oauth2: {client_credentials: {token_url: https://c.example/t, client_id: i, client_secret: {env: S}, scope: s}}}\noperations: {o: {method: GET, path: /}}\n",
    include_str!("../../connectors/slack.yaml"),
];

#[test]
fn any_text_is_a_connector_or_is_refused_and_its_tests_run() {
    over_inputs!(|input: &[u8]| {
        let file = Arc::new(SourceText { path: PathBuf::from("c.yaml"), text: near_text(SEEDS, input) });
        let (connectors, faults) = Connectors::load(&[file], None);
        places_are_inside(&faults);
        for connector in connectors.iter() {
            assert!(!connector.operations.is_empty() || !connector.triggers.is_empty());
            for report in connector.test(Timestamp::EPOCH) {
                assert_eq!(report.passed, report.why.is_none(), "{}", report.name);
            }
        }
    });
}
