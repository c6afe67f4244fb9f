//! What importing a large OpenAPI description costs: a description of 1.5 MB made in memory, as JSON and as YAML, beside bare
//! `serde_json` reading the same text.
//!
//! Every figure is the best of several rounds in this process. The import includes reading the connector back as `check`
//! does.

#![allow(clippy::print_stdout, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tripline::connectors::import::{Options, import};
use tripline::fault::SourceText;

const ROUNDS: usize = 5;
/// The size of the description.
const BYTES: usize = 1_500_000;
/// The longest that an import of it may take.
const LIMIT: Duration = Duration::from_secs(2);

fn main() {
    let description = description();
    let json = description.to_string();
    let yaml = tripline::yaml::print(&description, 0);
    println!("a description of {} bytes as JSON, {} as YAML", json.len(), yaml.len());
    let bare = best(|| drop(black_box(serde_json::from_str::<Value>(black_box(&json)))));
    println!("{:<16} {bare:>10.1?}", "bare serde_json");
    for (name, text) in [("JSON", json), ("YAML", yaml)] {
        let source = Arc::new(SourceText { path: format!("api.{}", name.to_lowercase()).into(), text });
        let done = import(&source, &Options::default()).expect("imports");
        let took = best(|| drop(black_box(import(black_box(&source), &Options::default()))));
        let report = done.report;
        let verdict = if took <= LIMIT { "holds" } else { "MISSED" };
        println!(
            "{:<16} {took:>10.1?}  {:.1} times bare; {} of {} operations, {} bytes written; limit {LIMIT:?}: {verdict}",
            format!("import of {name}"),
            took.as_secs_f64() / bare.as_secs_f64(),
            report.imported.len(),
            report.of,
            done.text.len(),
        );
        assert_eq!(report.imported.len(), report.of, "{:?}", report.held_back.first());
    }
}

fn best(mut run: impl FnMut()) -> Duration {
    let round = |()| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    };
    std::iter::repeat_n((), ROUNDS).map(round).min().unwrap_or_default()
}

/// Paths with parameters and bodies that refer to schemas, until it is large enough.
fn description() -> Value {
    let words = "what it is for, in a sentence of the length that people write";
    let (mut paths, mut schemas, mut size) = (Map::new(), Map::new(), 0);
    for number in 0.. {
        if size >= BYTES {
            break;
        }
        let properties: Map<String, Value> = (0..12)
            .map(|n| (format!("property{n}"), json!({"type": (["string", "integer", "boolean"][n % 3]), "description": words})))
            .collect();
        let schema = json!({"type": "object", "required": ["property0"], "properties": properties, "description": words});
        let reference = json!({ "$ref": format!("#/components/schemas/Thing{number}") });
        let responses = json!({"200": {"description": "ok", "content": {"application/json": {"schema":
            {"type": "object", "properties": {"value": {"type": "array", "items": reference}}}}}}});
        let path = json!({
            "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
            "get": {"operationId": format!("Things{number}_List"), "summary": words, "description": words, "responses": responses,
                "parameters": (0..8).map(|n| json!({"name": format!("$option{n}"), "in": "query", "description": words,
                    "schema": {"type": "string", "maxLength": 100}})).collect::<Vec<_>>()},
            "post": {"operationId": format!("Things{number}_Create"), "summary": words, "responses": {},
                "requestBody": {"required": true, "content": {"application/json": {"schema": {"allOf": [reference]}}}}},
        });
        size += schema.to_string().len() + path.to_string().len();
        schemas.insert(format!("Thing{number}"), schema);
        paths.insert(format!("/things{number}/{{id}}"), path);
    }
    json!({"openapi": "3.0.3", "info": {"title": "Large", "version": "1"}, "servers": [{"url": "https://large.example"}],
        "security": [{"key": []}], "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}})
}
