//! Where requests go: the servers of a description.

use serde_json::Value;

use super::document::Document;
use super::draft::Setting;
use super::names;

/// Where requests go.
#[derive(Debug, PartialEq)]
pub(super) struct Server {
    /// Without a slash at its end, with `${config.x}` where it varies.
    pub(super) base_url: String,
    /// Its variables.
    pub(super) settings: Vec<Setting>,
    /// Further servers, as written.
    pub(super) others: Vec<String>,
    /// As the description has it; what the user gave stands in place of all of them.
    written: Vec<String>,
}

/// The server of the connector: the user's word, else the first of the description, one with TLS before one without.
///
/// # Errors
/// What is wrong and how to mend it.
pub(super) fn choose(document: &Document, given: Option<&str>, secret: bool) -> Result<Server, (String, String)> {
    let written = servers(document.root());
    if let Some(given) = given {
        let base = absolute(given).ok_or_else(|| {
            let message = format!("`{given}` is no base URL");
            (message, "give an absolute URL without a query, as in `--base-url https://api.example.com/v1`".to_owned())
        })?;
        let base_url = match written.first().filter(|(url, _)| url.starts_with('/') && path_of(&base).is_empty()) {
            // A server that is only a path stands behind the host that was given; a query or fragment is no part of a base.
            Some((path, _)) => format!("{base}{}", path.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/')),
            None => base,
        };
        if base_url.contains(['{', '}']) {
            let message = format!("`{base_url}` has a variable in it");
            return Err((message, "write its value".to_owned()));
        }
        let others: Vec<String> = written.into_iter().map(|(url, _)| url).collect();
        let written = others.iter().cloned().chain([given.to_owned()]).collect();
        return Ok(Server { base_url, settings: Vec::new(), others, written });
    }
    let help = "say where requests go: `--base-url https://api.example.com/v1`";
    let usable: Vec<(String, Vec<Setting>, String)> =
        written.iter().filter_map(|(url, server)| template(url, server).map(|(base, settings)| (base, settings, url.clone()))).collect();
    let first = usable.iter().find(|(base, _, _)| !base.starts_with("http://")).or(usable.first());
    let Some((base_url, settings, url)) = first.cloned() else {
        let message = match written.first() {
            None => "the description names no server".to_owned(),
            Some((url, _)) => format!("the server `{}` of the description is no absolute URL", crate::printable::printable(url)),
        };
        return Err((message, help.to_owned()));
    };
    if secret && base_url.starts_with("http://") {
        return Err((format!("the server `{base_url}` is not encrypted; credentials would be readable on the way"), help.to_owned()));
    }
    let others = written.into_iter().map(|(other, _)| other).filter(|other| *other != url).collect();
    Ok(Server { base_url, settings, others, written: vec![url] })
}

impl Server {
    /// Whether a path or an operation with servers of its own goes to this one.
    pub(super) fn serves(&self, holder: &Value) -> bool {
        let own = servers(holder);
        let same = |url: &str| self.written.iter().any(|written| written.trim_end_matches('/') == url.trim_end_matches('/'));
        own.is_empty() || own.iter().any(|(url, _)| same(url))
    }
}

fn servers(holder: &Value) -> Vec<(String, &Value)> {
    let list = holder.get("servers").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(|server| Some((server.get("url")?.as_str()?.trim().to_owned(), server))).collect()
}

/// An absolute URL of HTTP without credentials, query and fragment, without a slash at its end.
fn absolute(text: &str) -> Option<String> {
    let parsed = url::Url::parse(text).ok()?;
    // Browsers also take `https:a.b`; a base URL is written out.
    if !text.get(parsed.scheme().len()..)?.starts_with("://") {
        return None;
    }
    let plain =
        matches!(parsed.scheme(), "http" | "https") && parsed.has_host() && parsed.username().is_empty() && parsed.password().is_none();
    (plain && parsed.query().is_none() && parsed.fragment().is_none()).then(|| text.trim_end_matches('/').to_owned())
}

fn path_of(base: &str) -> &str {
    base.split_once("://").map_or("", |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]))
}

/// The URL of a server with its variables as `config`; a scheme that varies is `https` where it may be.
fn template(url: &str, server: &Value) -> Option<(String, Vec<Setting>)> {
    let variables = server.get("variables").and_then(Value::as_object);
    let mut base = String::new();
    let mut example = String::new();
    let mut settings: Vec<Setting> = Vec::new();
    let mut rest = url;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, behind) = after.split_once('}')?;
        let variable = variables.and_then(|variables| variables.get(name));
        let text = |key: &str| variable.and_then(|variable| variable.get(key)).and_then(Value::as_str);
        let choices: Vec<String> = variable
            .and_then(|variable| variable.get("enum"))
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(|choice| choice.as_str().map(str::to_owned))
            .collect();
        let default = text("default").or(choices.first().map(String::as_str))?;
        base.push_str(before);
        example.push_str(before);
        if example.is_empty() && behind.starts_with("://") {
            let scheme = if choices.iter().any(|choice| choice == "https") { "https" } else { default };
            base.push_str(scheme);
            example.push_str(scheme);
        } else {
            let field = names::input(name);
            base.push_str(&format!("${{config.{field}}}"));
            example.push_str(default);
            if !settings.iter().any(|setting| setting.name == field) {
                let description = text("description").map(str::to_owned);
                settings.push(Setting { name: field, default: default.to_owned(), description, choices });
            }
        }
        rest = behind;
    }
    base.push_str(rest);
    example.push_str(rest);
    if base.contains('$') && !url.contains('{') {
        return None;
    }
    absolute(&example)?;
    Some((base.trim_end_matches('/').to_owned(), settings))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::fault::SourceText;

    fn of(servers: Value, given: Option<&str>, secret: bool) -> Result<(String, Vec<String>), String> {
        let text = json!({"openapi": "3.0.0", "servers": servers}).to_string();
        let document = Document::read(&Arc::new(SourceText { path: PathBuf::from("a.json"), text })).expect("reads");
        let server = choose(&document, given, secret).map_err(|(message, _)| message)?;
        Ok((server.base_url, server.settings.into_iter().map(|setting| format!("{}={}", setting.name, setting.default)).collect()))
    }

    #[test]
    fn a_server_becomes_a_base_url() {
        let url = |url: &str| of(json!([{ "url": url }]), None, true);
        assert_eq!(url("https://api.example.com/v1/"), Ok(("https://api.example.com/v1".to_owned(), vec![])));
        for bad in [
            "/v1",
            "",
            "ftp://a",
            "https://u:p@a.b",
            "https://a/?x=1",
            "//a.b/c",
            "https:!//a.b",
            "https:a.b",
            "https://{host}/",
            "http://a.example",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
        assert_eq!(of(json!([{"url": "http://a.example"}]), None, false).map(|(url, _)| url), Ok("http://a.example".to_owned()));
        let both = json!([{"url": "http://a.example"}, {"url": "https://a.example"}]);
        assert_eq!(of(both, None, true).map(|(url, _)| url), Ok("https://a.example".to_owned()));
        assert_eq!(of(json!([]), None, true), Err("the description names no server".to_owned()));
    }

    #[test]
    fn variables_are_config() {
        let servers = json!([{"url": "{scheme}://{org}.example.com/{base-path}", "variables": {"scheme": {"default": "http", "enum": ["http", "https"]},
            "org": {"default": "acme"}, "base-path": {"default": "v2"}}}]);
        let expected =
            ("https://${config.org}.example.com/${config.base_path}".to_owned(), vec!["org=acme".to_owned(), "base_path=v2".to_owned()]);
        assert_eq!(of(servers.clone(), None, true), Ok(expected));
        assert_eq!(of(servers, Some("https://x.example/"), true), Ok(("https://x.example".to_owned(), vec![])));
    }

    #[test]
    fn what_the_user_says_goes_first() {
        let given = |url: &str| of(json!([{"url": "/api/v3/"}]), Some(url), true).map(|(url, _)| url);
        assert_eq!(given("https://pets.example"), Ok("https://pets.example/api/v3".to_owned()));
        assert_eq!(given("https://pets.example/v4/"), Ok("https://pets.example/v4".to_owned()));
        for (path, base) in [("/# api/v3", ""), ("/api?x=1#y", "/api"), ("/?", ""), ("/", "")] {
            let joined = of(json!([{ "url": path }]), Some("https://pets.example"), true).map(|(url, _)| url);
            assert_eq!(joined, Ok(format!("https://pets.example{base}")), "{path}");
        }
        let text = json!({"openapi": "3.0.0", "servers": [{"url": "https://pets.example"}]}).to_string();
        let document = Document::read(&Arc::new(SourceText { path: PathBuf::from("a.json"), text })).expect("reads");
        let server = choose(&document, Some("https://files.example/"), true).expect("a server");
        let serves = |url: &str| server.serves(&json!({"servers": [{"url": url}]}));
        assert!(serves("https://pets.example/") && serves("https://files.example"), "what is named, and what it stands for");
        assert!(!serves("https://elsewhere.example"));
        assert!(given("pets.example").is_err());
        assert!(given("https://{a}.example").is_err());
    }
}
