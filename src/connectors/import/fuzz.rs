//! Any text is imported or refused; what is imported passes the check of connectors and stays within its limits.

use std::sync::Arc;

use super::{Options, Selection, import};
use crate::connectors::limits::FILE_MAX;
use crate::event::fuzz::{near_text, over_inputs};
use crate::fault::SourceText;

const SEEDS: &[&str] = &[
    include_str!("../../../tests/fixtures/openapi/plain31.json"),
    include_str!("../../../tests/fixtures/openapi/no-server.yaml"),
    "openapi: 3.0.0\ninfo: {title: a}\nservers: [{url: 'https://{a}.b', variables: {a: {default: c}}}]\nsecurity: [{k: []}]\npaths:\n  /x/{id}:\n    get:\n      parameters:\n      - {name: id, in: path, required: true, schema: {type: integer, default: 1}}\n      - {name: '$top', in: query, schema: {type: array, items: {}}, explode: false}\n      - {$ref: '#/components/parameters/p'}\n      responses: {'200': {content: {application/json: {schema: {type: array}}}, headers: {Link: {}}}}\ncomponents:\n  parameters: {p: {name: page, in: query, schema: {type: integer, enum: [1, 2], maximum: 5}}}\n  securitySchemes: {k: {type: apiKey, in: query, name: key}}\n",
    "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"t\"},\"servers\":[{\"url\":\"https://a.b\"}],\"paths\":{\"/a\":{\"post\":{\"requestBody\":{\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/S\"}}}}}},\"/f\":{\"put\":{\"requestBody\":{\"required\":true,\"content\":{\"multipart/form-data\":{\"schema\":{\"properties\":{\"a.b\":{\"type\":\"string\",\"format\":\"binary\"},\"$${x}\":{\"pattern\":\"^a{2}$\",\"type\":\"string\",\"minLength\":1}}}}}}}}},\"components\":{\"schemas\":{\"S\":{\"allOf\":[{\"properties\":{\"x\":{\"enum\":[\"${y}\",1,null]},\"in\":{\"const\":2}}},{\"oneOf\":[{\"$ref\":\"#/components/schemas/S\"},{\"type\":[\"object\",\"null\"]}]}]}},\"securitySchemes\":{\"o\":{\"type\":\"oauth2\",\"flows\":{\"clientCredentials\":{\"tokenUrl\":\"https://a.b/t\",\"scopes\":{\"${s}\":\"\"}}}}}}}",
];

#[test]
fn any_description_is_imported_or_refused() {
    let options = Options { name: Some("fuzzed".to_owned()), base_url: Some("https://a.example".to_owned()), ..Options::default() };
    let own_server = Options { base_url: None, ..options.clone() };
    over_inputs!(|input: &[u8]| {
        let source = Arc::new(SourceText { path: "api.yaml".into(), text: near_text(SEEDS, input) });
        for options in [&options, &own_server] {
            match import(&source, options) {
                Ok(done) => {
                    assert!(done.text.len() <= FILE_MAX && !done.report.imported.is_empty());
                    assert!(done.report.of >= done.report.wanted);
                }
                Err(faults) => {
                    assert!(faults.any_error());
                    assert!(faults.iter().all(|fault| fault.code != "import"), "{faults:?}");
                }
            }
        }
    });
}

#[test]
fn any_selection_is_read_or_refused() {
    over_inputs!(|input: &[u8]| {
        let text = near_text(&["create_issue,GET /pets/*", "*,post *,/a/{b}*c**d"], input);
        if let Ok(operations) = Selection::parse(&text) {
            let source = Arc::new(SourceText { path: "api.yaml".into(), text: SEEDS[0].to_owned() });
            drop(import(&source, &Options { operations, ..Options::default() }));
        }
    });
}
