//! Any template over some data: a value, or an error that says what is wrong, within the limits.

use serde_json::json;

use super::*;
use crate::event::fuzz::near_text;

const SEEDS: &[&str] = &[
    "Invoice ${content.InvoiceId} of ${string(item.Id)} $${literal}",
    "${content.Lines.filter(l, l.Price > 2).map(l, l.Name)}",
    "${has(item.x) ? item.x : item.?y.orValue('none')}",
    "${now + duration('90m') > timestamp('2026-01-01T00:00:00Z') && 'a' in ['a', 'b']}",
    "${content.Amount * 2 + 1 - 3 / 4 % 5 >= double('1.5')}",
    "${item.Reference.matches('^A-[0-9]+$') || size(content) > 3}",
    "${{'a': 1, 'b': [1, 2, 3].all(x, x > 0)}}",
];

#[test]
fn any_template_renders_or_says_why() {
    let item = json!({"Id": 7, "Reference": "A-1", "x": null});
    let content = json!({"InvoiceId": "é", "Amount": 20000.5, "Lines": [{"Name": "a", "Price": 1}, {"Name": "b", "Price": 9_007_199_254_740_993_i64}]});
    bolero::check!().for_each(|input: &[u8]| {
        let text = near_text(SEEDS, input);
        let template = match Template::parse(&text) {
            Ok(template) => template,
            Err(error) => {
                assert!(error.offset <= text.chars().count(), "{} in {text:?}", error.offset);
                return;
            }
        };
        drop(template.references());
        let scope = Scope::new().bind("item", &item).bind("content", &content).at(Timestamp::from_millis(1_700_000_000_000));
        match template.render(&scope) {
            Ok(value) => assert!(value.to_string().len() <= 8 * RESULT_MAX),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
