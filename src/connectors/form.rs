//! Values as fields of a form.

use serde_json::Value;

use super::call::text_of;
use super::operation::FormStyle;

/// Adds a value under its name. Nulls are left out, wherever they stand; so are empty lists and mappings, which a form cannot say.
pub(super) fn add(style: FormStyle, name: &str, value: &Value, form: &mut Vec<(String, String)>) {
    let nested = |value: &Value| value.is_array() || value.is_object();
    match (style, value) {
        (_, Value::Null) => {}
        (FormStyle::Repeat, Value::Array(items)) => {
            form.extend(items.iter().filter(|item| !item.is_null()).map(|item| (name.to_owned(), text_of(item))));
        }
        (FormStyle::Brackets, Value::Array(items)) if !items.iter().any(nested) => {
            items.iter().for_each(|item| add(style, &format!("{name}[]"), item, form));
        }
        (FormStyle::Brackets | FormStyle::Numbers, Value::Array(items)) => {
            items.iter().filter(|item| !item.is_null()).enumerate().for_each(|(at, item)| add(style, &format!("{name}[{at}]"), item, form));
        }
        (FormStyle::Brackets | FormStyle::Numbers, Value::Object(map)) => {
            map.iter().for_each(|(key, item)| add(style, &format!("{name}[{key}]"), item, form));
        }
        (_, plain) => form.push((name.to_owned(), text_of(plain))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_mappings_are_written_in_the_style_of_the_service() {
        let value = json!({"price": 5, "none": null, "tags": ["a", null, "b c"], "items": [{"sku": "x", "n": [1]}, {"sku": true}],
            "rows": [[1, 2]], "empty": [], "of": {"it": {"deep": 18446744073709551615_u64}}});
        let written = |style: FormStyle| {
            let mut form = Vec::new();
            add(style, "a", &value, &mut form);
            form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(written(FormStyle::Repeat), [format!("a={value}")]);
        let both = |tag: [&str; 2], n: &str, row: [&str; 2]| {
            [
                "a[price]=5".to_owned(),
                format!("a[tags][{}]=a", tag[0]),
                format!("a[tags][{}]=b c", tag[1]),
                "a[items][0][sku]=x".to_owned(),
                format!("a[items][0][n][{n}]=1"),
                "a[items][1][sku]=true".to_owned(),
                format!("a[rows][0][{}]=1", row[0]),
                format!("a[rows][0][{}]=2", row[1]),
                "a[of][it][deep]=18446744073709551615".to_owned(),
            ]
        };
        assert_eq!(written(FormStyle::Brackets), both(["", ""], "", ["", ""]));
        assert_eq!(written(FormStyle::Numbers), both(["0", "1"], "0", ["0", "1"]));
        let mut form = Vec::new();
        add(FormStyle::Repeat, "to", &json!(["a", 1, null]), &mut form);
        add(FormStyle::Repeat, "none", &json!(null), &mut form);
        assert_eq!(form, [("to".to_owned(), "a".to_owned()), ("to".to_owned(), "1".to_owned())]);
    }
}
