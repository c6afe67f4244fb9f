//! Where requests go and which headers name tenant and folder: pure functions of the configuration.

use crate::config::Edition;
pub use crate::config::{folder_header, tenant_header};
use crate::http::encode::percent;
use crate::rules::FolderRef;

/// Where user keys are exchanged, unless the configuration says otherwise.
pub const USER_KEY_URL: &str = "https://account.uipath.com/oauth/token";

/// The token endpoint of client credentials. The identity service stands beside the organisation in the cloud, at the
/// host's root in Automation Suite, and without the underscore in a standalone installation.
pub fn token_url(url: &str, edition: Edition) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("https", url));
    let mut parts = rest.split('/');
    let host = parts.next().unwrap_or_default();
    match (edition, parts.next().filter(|org| !org.is_empty())) {
        (Edition::Cloud, Some(org)) => format!("{scheme}://{host}/{org}/identity_/connect/token"),
        (Edition::Cloud, None) | (Edition::Suite, _) => format!("{scheme}://{host}/identity_/connect/token"),
        (Edition::Standalone, _) => format!("{scheme}://{host}/identity/connect/token"),
    }
}

/// Where name and password are exchanged.
pub fn authenticate_url(base: &str) -> String {
    format!("{}/api/Account/Authenticate", base.trim_end_matches('/'))
}

/// An OData URL. `path` is ours and goes as it stands; the values of `query` are encoded.
pub fn odata(base: &str, path: &str, query: &[(&str, &str)]) -> String {
    let mut url = format!("{}/odata/{path}", base.trim_end_matches('/'));
    for (n, (name, value)) in query.iter().enumerate() {
        url.push(if n == 0 { '?' } else { '&' });
        url.push_str(name);
        url.push('=');
        url.push_str(&percent(value));
    }
    url
}

/// A text in an OData expression: in quotes, with its own quotes doubled.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A folder as messages name it.
pub fn folder_name(folder: Option<&FolderRef>) -> String {
    match folder {
        None => "no folder".to_owned(),
        Some(FolderRef::Path(path)) => format!("folder `{path}`"),
        Some(FolderRef::Id(id)) => format!("folder {id}"),
        Some(FolderRef::Key(key)) => format!("folder `{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_urls_follow_the_edition() {
        for (url, edition, expected) in [
            ("https://cloud.uipath.com/acme/Prod/orchestrator_", Edition::Cloud, "https://cloud.uipath.com/acme/identity_/connect/token"),
            ("https://gov.example:8443/acme/Prod", Edition::Cloud, "https://gov.example:8443/acme/identity_/connect/token"),
            ("https://cloud.uipath.com", Edition::Cloud, "https://cloud.uipath.com/identity_/connect/token"),
            ("https://as.corp/acme/Prod/orchestrator_", Edition::Suite, "https://as.corp/identity_/connect/token"),
            ("https://orch.corp", Edition::Standalone, "https://orch.corp/identity/connect/token"),
            ("http://127.0.0.1:9/orch/", Edition::Standalone, "http://127.0.0.1:9/identity/connect/token"),
        ] {
            assert_eq!(token_url(url, edition), expected);
        }
    }

    #[test]
    fn queries_are_quoted_for_odata_and_encoded_for_http() {
        let filter = format!("Name eq {}", quoted("O'Brien & Söhne/50%"));
        assert_eq!(
            odata("https://h/o", "QueueDefinitions", &[("$filter", &filter), ("$top", "1")]),
            "https://h/o/odata/QueueDefinitions?$filter=Name%20eq%20%27O%27%27Brien%20%26%20S%C3%B6hne%2F50%25%27&$top=1"
        );
        assert_eq!(odata("https://h/", "QueueItems(5)", &[]), "https://h/odata/QueueItems(5)");
        // What breaks out of the quotes stays inside them.
        assert_eq!(quoted("x' or 1 eq 1 or '"), "'x'' or 1 eq 1 or '''");
    }
}
