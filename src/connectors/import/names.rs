//! Names that read well and may stand in expressions: of operations, of input fields, of the connector.

use std::collections::HashSet;

/// The longest name of an operation or input field, in characters.
pub(super) const NAME_MAX: usize = 64;

/// Words that an expression takes for something else behind a dot.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Names that were given, so that none is given twice.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The wanted name where it is free, else the first free one of the `others`, else one with a number behind it.
    pub(super) fn unique(&mut self, wanted: String, others: &[String]) -> String {
        let free = std::iter::once(&wanted).chain(others).find(|name| !self.0.contains(*name)).cloned();
        let name = free.unwrap_or_else(|| {
            let base: String = wanted.chars().take(NAME_MAX - 6).collect();
            let numbered = (2_usize..).map(|number| format!("{base}_{number}"));
            numbered.into_iter().find(|name| !self.0.contains(name)).unwrap_or(base)
        });
        self.0.insert(name.clone());
        name
    }
}

/// An `operationId` in snake case: `Buckets_ListFilesById` is `buckets_list_files_by_id`. Empty where no letter is in it.
pub(super) fn operation(id: &str) -> String {
    usable(&snake(id), "operation")
}

/// A name for an operation that has none: `GET /pets/{id}/toys` is `get_pets_by_id_toys`.
pub(super) fn of_path(method: &str, path: &str) -> String {
    let mut words = method.to_ascii_lowercase();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        words.push('_');
        words.push_str(&part.replace('{', "_by_").replace('}', "_"));
    }
    usable(&snake(&words), "operation")
}

/// An input field's name: as the service has it where an expression can say it, else with the rest made underscores.
pub(super) fn input(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
    }
    // `filter[name]` ends in a bracket, `_type` begins with an underscore by its own wish.
    let out = if name.ends_with('_') { out.as_str() } else { out.trim_end_matches('_') };
    usable(out, "field")
}

/// A header's name as an input field: `X-Request-Id` is `x_request_id`.
pub(super) fn header(name: &str) -> String {
    usable(&snake(name), "field")
}

/// A name for the connector: lower case words with `-` between them. Empty where no letter is in the title.
pub(super) fn connector(title: &str) -> String {
    let mut name = String::new();
    for c in title.chars() {
        if c.is_ascii_alphanumeric() {
            name.push(c.to_ascii_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.len() >= NAME_MAX {
            break;
        }
    }
    let name = name.trim_matches('-');
    if name.starts_with(|c: char| c.is_ascii_lowercase()) { name.to_owned() } else { String::new() }
}

/// The name of a variable of the environment: `pet-store` and `token` are `PET_STORE_TOKEN`.
pub(super) fn variable(connector: &str, what: &str) -> String {
    format!("{connector}_{what}").chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

/// Not empty, not too long, beginning with a letter or `_`, and no word of the expression language.
fn usable(name: &str, stand_in: &str) -> String {
    let name = match name.chars().next() {
        None => stand_in.to_owned(),
        Some(c) if c.is_ascii_digit() => format!("{stand_in}_{name}"),
        Some(_) if RESERVED.contains(&name) => format!("{name}_value"),
        Some(_) => name.to_owned(),
    };
    if name.len() <= NAME_MAX { name } else { name.chars().take(NAME_MAX).collect::<String>().trim_end_matches('_').to_owned() }
}

/// Words in lower case with `_` between them; a word begins at a capital behind a small letter or a digit, and at the last
/// of several capitals. Letters beyond ASCII are left out.
fn snake(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    for (at, &c) in chars.iter().enumerate() {
        if !c.is_ascii_alphanumeric() {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            continue;
        }
        let before = at.checked_sub(1).map(|at| chars[at]);
        let behind_small = before.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let last_capital = before.is_some_and(|b| b.is_ascii_uppercase()) && chars.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if c.is_ascii_uppercase() && (behind_small || last_capital) && !out.is_empty() && !out.ends_with('_') {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out.trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_read_well() {
        for (id, name) in [
            ("Buckets_ListFilesById", "buckets_list_files_by_id"),
            ("repos/list-for-org", "repos_list_for_org"),
            ("getHTTPStatus", "get_http_status"),
            ("GETPets", "get_pets"),
            ("listV2Items", "list_v2_items"),
            ("com.atlassian.jira.createIssue", "com_atlassian_jira_create_issue"),
            ("größe", "gr_e"),
            ("2fa", "operation_2fa"),
            ("!!!", "operation"),
            ("return", "return_value"),
        ] {
            assert_eq!(operation(id), name, "{id}");
        }
        assert_eq!(of_path("GET", "/pets/{petId}/toys"), "get_pets_by_pet_id_toys");
        assert_eq!(of_path("POST", "/odata/Jobs({key})/UiPath.Stop"), "post_odata_jobs_by_key_ui_path_stop");
        assert_eq!(of_path("GET", "/"), "get");
        for (name, field) in [
            ("$top", "top"),
            ("filter[created][gte]", "filter_created_gte"),
            ("userId", "userId"),
            ("_type", "_type"),
            ("user.name", "user_name"),
            ("in", "in_value"),
            ("3d", "field_3d"),
            ("ü", "field"),
        ] {
            assert_eq!(input(name), field, "{name}");
        }
        assert_eq!(header("X-UIPATH-OrganizationUnitId"), "x_uipath_organization_unit_id");
        assert_eq!(connector("UiPath.WebApi 20.0"), "uipath-webapi-20-0");
        assert_eq!(connector("日本"), "");
        assert_eq!(variable("pet-store", "token"), "PET_STORE_TOKEN");
    }

    #[test]
    fn no_name_is_given_twice() {
        let mut names = Names::default();
        let others = ["a_by_get".to_owned()];
        let given: Vec<String> = (0..4).map(|_| names.unique("a".to_owned(), &others)).collect();
        assert_eq!(given, ["a", "a_by_get", "a_2", "a_3"]);
    }

    proptest! {
        #[test]
        fn any_name_may_stand_in_an_expression(text in "\\PC{0,90}") {
            for name in [operation(&text), of_path("GET", &text), input(&text), header(&text)] {
                prop_assert!(crate::expr::Expression::compile(&format!("input.{name}")).is_ok(), "{name}");
                prop_assert!(name.len() <= NAME_MAX + 16);
                prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
            }
        }
    }
}
