//! A very large description is imported in parts, or refused with a remedy. How long an import takes is a bench.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Import, Options, Selection, import};
use crate::fault::{Faults, SourceText};

/// Operations of the description: five times what a connector holds.
const OPERATIONS: usize = 10_000;
/// Its size, at least.
const BYTES: usize = 20 << 20;

/// Paths whose schemas refer to each other in rings, take parts of each other along chains, and leave a choice of variants.
fn large() -> Arc<SourceText> {
    let to = |name: String| json!({ "$ref": format!("#/components/schemas/{name}") });
    let schemas: Map<String, Value> = (0..OPERATIONS / 2)
        .map(|n| {
            // Chains of twelve through `allOf`; rings of all through `next` and `children`.
            let base = if n % 12 == 0 { to("Base".to_owned()) } else { to(format!("S{}", n - 1)) };
            let ring = to(format!("S{}", (n * 7 + 3) % (OPERATIONS / 2)));
            let own = json!({"type": "object", "required": [format!("p{n}")], "properties": {
                format!("p{n}"): {"type": "string"}, "next": ring, "children": {"type": "array", "items": ring},
                "either": {"oneOf": [to("Base".to_owned()), {"type": "string", "enum": ["a", "b"]}, {"type": "null"}]}}});
            (format!("S{n}"), json!({"allOf": [base, own]}))
        })
        .collect();
    let filler = "what it is for, told at length. ".repeat(BYTES / OPERATIONS / 32);
    let paths: Map<String, Value> = (0..OPERATIONS / 2)
        .map(|n| {
            let schema = to(format!("S{n}"));
            let answer = json!({"200": {"description": "ok", "content": {"application/json": {"schema": schema}}}});
            // One of fifty refers to nothing.
            let sent = if n % 50 == 7 { to("None".to_owned()) } else { schema };
            let path = json!({
                "parameters": [{"name": "id", "in": "path", "required": true, "schema": {"type": "string"}}],
                "get": {"operationId": format!("Things_Get{n}"), "description": filler, "responses": answer},
                "post": {"operationId": format!("Things_Set{n}"), "description": filler, "responses": answer,
                    "requestBody": {"content": {"application/json": {"schema": sent}}}},
            });
            (format!("/group{}/things{n}/{{id}}", n / (OPERATIONS / 20)), path)
        })
        .collect();
    let mut all = json!({"openapi": "3.1.0", "info": {"title": "Very large", "version": "1"}, "servers": [{"url": "https://large.example"}],
        "paths": paths, "components": {"schemas": schemas}});
    all["components"]["schemas"]["Base"] =
        json!({"type": "object", "properties": {"id": {"type": "integer"}, "base": {"$ref": "#/components/schemas/S1"}}});
    Arc::new(SourceText { path: "large.json".into(), text: all.to_string() })
}

fn picked(source: &Arc<SourceText>, operations: &str) -> Result<Import, Faults> {
    let operations = Selection::parse(operations).expect("a selection");
    import(source, &Options { operations, ..Options::default() })
}

#[test]
fn a_very_large_description_is_imported_in_parts() {
    let source = large();
    assert!(source.text.len() >= BYTES, "{}", source.text.len());
    let faults = picked(&source, "*").expect_err("more than a connector holds");
    assert!(faults.iter().all(|fault| fault.code == "too-many" && fault.help.as_deref().is_some_and(|help| help.contains("--operations"))));
    let done = picked(&source, "* /group7/*").unwrap_or_else(|faults| panic!("{faults:#?}"));
    let report = &done.report;
    assert_eq!((report.of, report.wanted), (OPERATIONS, OPERATIONS / 10));
    assert_eq!(report.imported.len() + report.held_back.len(), report.wanted);
    assert!(report.imported.len() * 100 >= report.wanted * 95, "{}", report.imported.len());
    assert!(report.held_back.iter().all(|part| part.reason == "missing-reference" && part.pointer.contains("/requestBody")));
}
