//! Any template over some data: a value, or an error that says what is wrong, within the limits.

use serde_json::json;

use super::*;
use crate::event::fuzz::{near_text, over_inputs};

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
    over_inputs!(|input: &[u8]| {
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

const CONDITIONS: &[&str] = &[
    "content.Amount > 1000 && item.?Reference.orValue('') != ''",
    "content.Lines.exists(l, l.Price >= 1) || !(item.Id in [7, 8u, 9.5])",
    "timestamp(item.At) - duration('1h') < now && item.At.startsWith('2026')",
    "size(content.Lines.map(l, l.Name).filter(n, n.matches('^[a-z]+$'))) == 2 ? true : content == null",
    "item.Reference.split('-')[1] == \"1\" && int(item.Id) % 2 == 1 && {'a': [1]}['a'][0] == 1",
];

#[test]
fn any_condition_is_judged_or_says_why_and_so_are_its_parts() {
    let item = json!({"Id": 7, "Reference": "A-1", "At": "2026-01-31T12:00:00Z"});
    let content = json!({"Amount": 20000.5, "Lines": [{"Name": "a", "Price": 1}, {"Name": "b", "Price": 2}]});
    over_inputs!(|input: &[u8]| {
        let text = near_text(CONDITIONS, input);
        let expression = match Expression::compile(&text) {
            Ok(expression) => expression,
            Err(error) => {
                assert!(error.offset <= text.chars().count(), "{} in {text:?}", error.offset);
                return;
            }
        };
        let scope = Scope::new().bind("item", &item).bind("content", &content).at(Timestamp::from_millis(1_700_000_000_000));
        drop((expression.references(), expression.comparison(), expression.contradiction()));
        let judged = expression.holds(&scope);
        if judged == Ok(true) {
            // What `explain` goes through one by one holds one by one.
            for part in expression.conditions() {
                assert_eq!(part.holds(&scope), Ok(true), "{:?} of {text:?}", part.text());
            }
        }
        if let Ok(holds) = judged {
            assert_eq!(expression.eval(&scope), Ok(holds.into()), "{text:?}");
        }
    });
}
