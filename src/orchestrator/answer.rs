//! What an answer of Orchestrator means: a pure function of status, headers and body. Texts say what to do about it.

use std::time::Duration;

use serde_json::Value;

use super::json::{self, field, integer, text};
use super::urls::folder_name;
use crate::http::client::{Answer, excerpt, retry_after, seconds};
use crate::http::mask::mask_body;
use crate::rules::FolderRef;
use crate::runs::{Class, Failure};
use crate::time::Timestamp;

/// Error codes that decide something (orchestrator documentation, "response codes").
mod code {
    pub const NOT_FOUND: i64 = 1002;
    pub const DUPLICATE_REFERENCE: i64 = 1016;
    pub const FOLDER_UNKNOWN: i64 = 1100;
    pub const FOLDER_MISSING: i64 = 1101;
}

/// The same codes by their names, and those names that say that somebody else is at work.
const NAMED_CODES: &[(&str, i64)] = &[
    ("DuplicateReference", code::DUPLICATE_REFERENCE),
    ("ItemNotFound", code::NOT_FOUND),
    ("FolderNotFound", code::FOLDER_UNKNOWN),
    ("OrganizationUnitRequired", code::FOLDER_MISSING),
];
const BUSY: &[&str] = &["PendingJobsAlreadyExist", "MaxNumberJobsAlreadyExist", "NoRobotsAvailable", "OptimisticConcurrency"];

/// What was asked, for explanations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What<'a> {
    /// AddQueueItem.
    AddItem {
        /// The queue's name.
        queue: &'a str,
    },
    /// One item by Id.
    ReadItem,
    /// Items by a filter.
    ReadItems,
    /// A queue by name.
    ReadQueue,
    /// A process by name.
    ReadRelease,
    /// StartJobs.
    StartJob {
        /// The process's name.
        process: &'a str,
    },
    /// One job by Id.
    ReadJob,
    /// Jobs by a filter.
    ReadJobs,
    /// The folders of the tenant.
    ReadFolders,
    /// The change feed of a folder.
    ReadFeed,
    /// The webhooks of the tenant and what they may ask for.
    ReadWebhooks,
    /// A webhook, new or changed: doing it twice is the same as doing it once, since it is found by its URL.
    WriteWebhook,
    /// A ping.
    PingWebhook,
}

impl What<'_> {
    /// Changes something, and doing it twice is not the same as doing it once.
    pub fn is_write(self) -> bool {
        matches!(self, Self::AddItem { .. } | Self::StartJob { .. })
    }

    fn call(self) -> &'static str {
        match self {
            Self::AddItem { .. } => "AddQueueItem",
            Self::ReadItem | Self::ReadItems => "reading QueueItems",
            Self::ReadQueue => "reading QueueDefinitions",
            Self::ReadRelease => "reading Releases",
            Self::StartJob { .. } => "StartJobs",
            Self::ReadJob | Self::ReadJobs => "reading Jobs",
            Self::ReadFolders => "reading Folders",
            Self::ReadFeed => "reading QueueItemEvents",
            Self::ReadWebhooks => "reading Webhooks",
            Self::WriteWebhook => "writing a webhook",
            Self::PingWebhook => "Ping",
        }
    }

    /// The scopes (the wide or the narrow one) and the folder permissions that the documentation asks for.
    fn needs(self) -> (&'static str, &'static str) {
        match self {
            Self::AddItem { .. } => ("`OR.Queues` or `OR.Queues.Write`", "Queues.View and Transactions.Create"),
            Self::ReadFolders => ("`OR.Folders` or `OR.Folders.Read`", "Units.View"),
            Self::ReadItem | Self::ReadItems | Self::ReadFeed => ("`OR.Queues` or `OR.Queues.Read`", "Queues.View and Transactions.View"),
            Self::ReadQueue => ("`OR.Queues` or `OR.Queues.Read`", "Queues.View"),
            Self::ReadRelease => ("`OR.Execution` or `OR.Execution.Read`", "Processes.View"),
            Self::StartJob { .. } => ("`OR.Jobs` or `OR.Jobs.Write`", "Jobs.Create"),
            Self::ReadWebhooks => ("`OR.Webhooks` or `OR.Webhooks.Read`", "Webhooks.View"),
            Self::WriteWebhook => ("`OR.Webhooks` or `OR.Webhooks.Write`", "Webhooks.Create and Webhooks.Edit"),
            Self::PingWebhook => ("`OR.Webhooks` or `OR.Webhooks.Write`", "Webhooks.View"),
            Self::ReadJob | Self::ReadJobs => ("`OR.Jobs` or `OR.Jobs.Read`", "Jobs.View"),
        }
    }

    /// Belongs to the tenant, not to a folder.
    fn is_of_tenant(self) -> bool {
        matches!(self, Self::ReadFolders | Self::ReadWebhooks | Self::WriteWebhook | Self::PingWebhook)
    }

    fn thing(self) -> String {
        match self {
            Self::AddItem { queue } => format!("the queue `{queue}`"),
            Self::StartJob { process } => format!("the process `{process}`"),
            _ => "what was asked for".to_owned(),
        }
    }
}

/// What a well-understood answer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Meaning {
    /// Done, with this body.
    Body(Value),
    /// Done, without a body.
    Empty,
    /// One item was asked for and there is none.
    Missing,
    /// An item with this reference is there already.
    Duplicate,
}

/// An error body, whatever its casing and wrapping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ErrorBody {
    /// Words for people.
    pub message: Option<String>,
    /// The number, from a number, a text of digits or a known name.
    pub code: Option<i64>,
    /// The code as text where it is no number.
    pub name: Option<String>,
    /// `retry_after` in the body, as the cloud's edge writes it.
    pub retry_after: Option<Duration>,
}

impl ErrorBody {
    /// Reads Orchestrator's own form, ABP's `{error: {code, message, details}}`, OData's `{error: {message}}`, OAuth's
    /// `{error, error_description}` and problem+json's `{title, detail}`.
    pub fn read(body: &Value) -> Self {
        let inner = field(body, "error").or_else(|| field(body, "odata.error")).filter(|e| e.is_object()).unwrap_or(body);
        let said = |name: &str| match field(inner, name) {
            Some(Value::String(text)) if !text.trim().is_empty() => Some(text.clone()),
            // OData of old: `{"message": {"lang": "en", "value": "…"}}`.
            Some(wrapped) => text(wrapped, "value").map(str::to_owned),
            None => None,
        };
        let message = ["message", "error_description", "detail", "title", "error"].into_iter().find_map(said);
        let details = ["details", "ExceptionMessage"].into_iter().find_map(said);
        let message = match (message, details) {
            (Some(message), Some(details)) if details != message => Some(format!("{message} ({details})")),
            (message, details) => message.or(details),
        };
        let raw = field(inner, "errorCode").or_else(|| field(inner, "code")).or_else(|| field(body, "errorCode"));
        let name = raw.and_then(Value::as_str).map(str::to_owned);
        let named = |name: &String| NAMED_CODES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, code)| *code);
        let code = raw.and_then(integer).or_else(|| name.as_ref().and_then(named));
        let wait = field(body, "retry_after").or_else(|| field(body, "retryAfter"));
        let retry_after = wait.and_then(|wait| match wait {
            Value::Number(number) => seconds(&number.to_string()),
            Value::String(text) => seconds(text),
            _ => None,
        });
        Self { message, code, name, retry_after }
    }

    fn words(&self) -> String {
        let code = match (&self.code, &self.name) {
            (Some(code), _) if *code != 0 => format!(" (errorCode {code})"),
            (None, Some(name)) => format!(" ({})", excerpt(name.as_bytes())),
            _ => String::new(),
        };
        match &self.message {
            Some(message) => format!("; it says: {}{code}", excerpt(message.as_bytes())),
            None => code,
        }
    }
}

/// A body as far as it can be understood.
enum Content {
    Json(Value),
    Nothing,
    Html,
    Other,
}

fn content(answer: &Answer) -> Content {
    let body = answer.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&answer.body);
    let trimmed = body.trim_ascii_start();
    if trimmed.is_empty() {
        return Content::Nothing;
    }
    let kind = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
    if trimmed.starts_with(b"<") || kind.starts_with("text/html") {
        return Content::Html;
    }
    // The type is not asked for more: `text/json`, `application/json;odata.metadata=none` and none at all are all said.
    json::read(body).map_or(Content::Other, Content::Json)
}

/// What an answer means. For a write, a 2xx that cannot be read is an unknown outcome.
pub fn judge(answer: &Answer, what: What<'_>, folder: Option<&FolderRef>, now: Timestamp) -> Result<Meaning, Failure> {
    let status = answer.status;
    let fail = |class, message: String| Failure { class, status: Some(status), message, retry_after: None };
    let call = what.call();
    if (200..300).contains(&status) {
        return match content(answer) {
            Content::Json(body) => Ok(Meaning::Body(body)),
            Content::Nothing => Ok(Meaning::Empty),
            Content::Html => Err(fail(
                Class::Auth,
                format!(
                    "{call} answered {status} with the wrong content type `{}`: a page, most likely to log in; check `url` and that \
                     no proxy in between asks for a login",
                    excerpt(answer.header("content-type").unwrap_or("none").as_bytes())
                ),
            )),
            Content::Other => Err(fail(
                if what.is_write() { Class::Unknown } else { Class::Invalid },
                format!("{call} answered {status} with a body that is no JSON ({} bytes)", answer.body.len()),
            )),
        };
    }
    let content = content(answer);
    let error = match &content {
        Content::Json(body) => ErrorBody::read(body),
        _ => ErrorBody::default(),
    };
    let said = match &content {
        Content::Other => format!("; it says: {}", excerpt(&answer.body)),
        _ => error.words(),
    };
    let folder = folder_name(folder);
    let busy = error.name.as_ref().is_some_and(|name| BUSY.iter().any(|known| known.eq_ignore_ascii_case(name)));
    match (status, error.code) {
        (429, _) => {
            let wait = retry_after(&answer.headers, now).max(error.retry_after);
            Err(Failure { retry_after: wait, ..fail(Class::Throttled, format!("{call} is throttled (429){said}")) })
        }
        (408 | 425 | 500..=599, _) => {
            let wait = retry_after(&answer.headers, now).max(error.retry_after);
            Err(Failure { retry_after: wait, ..fail(Class::Server, format!("{call} answered {status}{said}")) })
        }
        (401, _) => Err(fail(
            Class::Auth,
            format!("{call} is not authorised (401): the token is not accepted here; check `auth` and that it is for this tenant{said}"),
        )),
        (403, _) => {
            let (scope, permissions) = what.needs();
            let place = if what.is_of_tenant() { "in the tenant".to_owned() } else { format!("in {folder}") };
            Err(fail(
                Class::Configuration,
                format!("{call} is forbidden (403): it needs the scope {scope} and, {place}, the permissions {permissions}{said}"),
            ))
        }
        (409, Some(code::DUPLICATE_REFERENCE)) if matches!(what, What::AddItem { .. }) => Ok(Meaning::Duplicate),
        (409, _) => Err(fail(Class::Conflict, format!("{call} is in conflict with something else (409){said}"))),
        (400..=499, _) if busy => Err(fail(Class::Conflict, format!("{call} cannot be done now ({status}){said}"))),
        (400 | 404, Some(code::FOLDER_UNKNOWN | code::FOLDER_MISSING)) => Err(fail(
            Class::Configuration,
            format!(
                "{call} is refused ({status}): {folder} is not there or the application may not use it; set `folder` to one that it is assigned to{said}"
            ),
        )),
        (404, _) if !matches!(content, Content::Json(_)) => Err(fail(
            Class::Configuration,
            format!("{call} met no Orchestrator (404): check `url`, its organisation and tenant, and `edition`"),
        )),
        (404, _) if matches!(what, What::ReadItem | What::ReadJob) => Ok(Meaning::Missing),
        (404, _) => Err(fail(Class::Configuration, format!("{call}: {} is not in {folder} (404); check both names{said}", what.thing()))),
        (410, _) => Err(fail(Class::Configuration, format!("{call} answered that it is gone (410): check `url`{said}"))),
        _ => Err(fail(Class::Refused, format!("{call} is refused ({status}){said}"))),
    }
}

/// A failure below the answer, as it is for a call of Orchestrator: what policy or a redirect refuses is configuration,
/// since the URL is; an answer that cannot be had leaves a write unknown.
pub fn of_transport(mut failure: Failure, what: What<'_>) -> Failure {
    failure.class = match failure.class {
        Class::Refused => Class::Configuration,
        Class::Invalid if what.is_write() => Class::Unknown,
        class => class,
    };
    failure.message = format!("{}: {}", what.call(), failure.message);
    failure
}

/// Replaces secrets in the body of a refusal before anything is quoted from it: an excerpt could end in the middle of one.
pub fn mask_refusal(answer: &mut Answer, secrets: &[&str]) {
    if !(200..300).contains(&answer.status) || matches!(content(answer), Content::Html | Content::Other) {
        mask_body(answer, secrets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client::EXCERPT_MAX;
    use serde_json::json;

    const ADD: What<'_> = What::AddItem { queue: "Invoices" };

    fn answer(status: u16, kind: &str, body: impl Into<String>) -> Answer {
        Answer { status, headers: vec![("content-type".into(), kind.into())], body: body.into().into_bytes().into() }
    }

    fn judged(status: u16, body: &Value, what: What<'_>) -> Result<Meaning, Failure> {
        judge(&answer(status, "application/json", body.to_string()), what, Some(&FolderRef::Path("Finance".into())), Timestamp::EPOCH)
    }

    #[test]
    fn every_refusal_has_its_class() {
        let coded = |code: i64| json!({"message": "m", "errorCode": code});
        for (status, body, class) in [
            (400, coded(1000), Class::Refused),
            (400, coded(1100), Class::Configuration),
            (400, coded(1101), Class::Configuration),
            (400, json!({"message": "m", "errorCode": "1101"}), Class::Configuration),
            (401, json!({}), Class::Auth),
            (403, json!({}), Class::Configuration),
            (404, coded(1002), Class::Configuration),
            (404, coded(1100), Class::Configuration),
            (405, json!({}), Class::Refused),
            (408, json!({}), Class::Server),
            (409, coded(0), Class::Conflict),
            (409, coded(1001), Class::Conflict),
            (409, json!({"errorCode": "PendingJobsAlreadyExist"}), Class::Conflict),
            (400, json!({"errorCode": "NoRobotsAvailable"}), Class::Conflict),
            (410, json!({}), Class::Configuration),
            (413, json!({}), Class::Refused),
            (422, coded(2000), Class::Refused),
            (425, json!({}), Class::Server),
            (429, json!({}), Class::Throttled),
            (500, coded(0), Class::Server),
            (502, json!({}), Class::Server),
            (503, json!({}), Class::Server),
            (504, json!({}), Class::Server),
        ] {
            let failure = judged(status, &body, ADD).expect_err("a failure");
            assert_eq!((failure.class, failure.status), (class, Some(status)), "{status} {body}: {failure}");
        }
        // A duplicate is no failure, in all casings and wrappings.
        for body in [
            coded(1016),
            json!({"Message": "m", "ErrorCode": 1016}),
            json!({"message": "m", "errorCode": "1016"}),
            json!({"errorCode": "DuplicateReference"}),
            json!({"error": {"code": 1016, "message": "m", "details": null}, "success": false, "__abp": true}),
        ] {
            assert_eq!(judged(409, &body, ADD), Ok(Meaning::Duplicate), "{body}");
        }
        assert_eq!(judged(409, &coded(1016), What::StartJob { process: "P" }).expect_err("a conflict").class, Class::Conflict);
        assert_eq!(judged(404, &coded(1002), What::ReadItem), Ok(Meaning::Missing));
        assert_eq!(judged(400, &coded(1101), What::ReadItem).expect_err("a failure").class, Class::Configuration);
    }

    #[test]
    fn refusals_say_what_to_do() {
        let says = |status, code: i64, what, parts: &[&str]| {
            let failure = judged(status, &json!({"message": "their words", "errorCode": code}), what).expect_err("a failure");
            for part in parts.iter().chain(&["their words"]) {
                assert!(failure.message.contains(part), "`{part}` in: {failure}");
            }
        };
        says(403, 0, ADD, &["OR.Queues", "`Finance`", "Transactions.Create"]);
        says(403, 0, What::StartJob { process: "P" }, &["OR.Jobs", "Jobs.Create"]);
        says(403, 0, What::ReadRelease, &["OR.Execution"]);
        says(404, 1002, ADD, &["`Invoices`", "`Finance`", "errorCode 1002"]);
        says(404, 1002, What::StartJob { process: "P" }, &["the process `P`"]);
        says(400, 1100, ADD, &["`Finance`", "`folder`", "errorCode 1100"]);
        says(400, 1000, ADD, &["is refused (400)", "errorCode 1000"]);
    }

    #[test]
    fn pages_are_told_from_answers() {
        let page = "  <!DOCTYPE html><html>Sign in</html>";
        let failure = |answer: &Answer, what| judge(answer, what, None, Timestamp::EPOCH).expect_err("a failure");
        for what in [ADD, What::ReadItems, What::ReadItem] {
            let login = failure(&answer(200, "text/html; charset=utf-8", page), what);
            assert_eq!(login.class, Class::Auth);
            assert!(login.message.contains("wrong content type `text/html; charset=utf-8`"), "{login}");
            assert_eq!(failure(&answer(200, "application/json", page), what).class, Class::Auth);
            let lost = failure(&answer(404, "text/html", page), what);
            assert_eq!(lost.class, Class::Configuration);
            assert!(lost.message.contains("tenant") && !lost.message.contains("html"), "{lost}");
        }
        assert_eq!(failure(&answer(404, "", ""), ADD).class, Class::Configuration);
        assert_eq!(failure(&answer(502, "text/html", page), ADD).class, Class::Server);
        assert_eq!(failure(&answer(403, "text/html", page), ADD).class, Class::Configuration);
        // A cut body: nothing certain for a write, tried again for a read.
        assert_eq!(failure(&answer(201, "application/json", "{\"Id\": 1, \"Na"), ADD).class, Class::Unknown);
        assert_eq!(failure(&answer(200, "application/json", "{\"value\": [{"), What::ReadItems).class, Class::Invalid);
    }

    #[test]
    fn json_is_accepted_under_its_many_names() {
        for kind in
            ["application/json", "text/json", "application/json;odata.metadata=minimal", "application/problem+json", "text/plain", ""]
        {
            let read = |body: &str| judge(&answer(200, kind, body), What::ReadItem, None, Timestamp::EPOCH);
            assert_eq!(read("{\"Id\":1}"), Ok(Meaning::Body(json!({"Id": 1}))), "{kind}");
            assert_eq!(read("\u{feff} {\"Id\":1}"), Ok(Meaning::Body(json!({"Id": 1}))), "{kind}");
            assert_eq!(read(" \r\n"), Ok(Meaning::Empty), "{kind}");
        }
        assert_eq!(judge(&answer(204, "", ""), ADD, None, Timestamp::EPOCH), Ok(Meaning::Empty));
    }

    #[test]
    fn waits_come_from_the_header_or_the_body() {
        let wait = |status, headers: &[(&str, &str)], body: &str| {
            let headers = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let answer = Answer { status, headers, body: body.to_owned().into_bytes().into() };
            judge(&answer, ADD, None, Timestamp::EPOCH).expect_err("a failure").retry_after.map(|d| d.as_secs())
        };
        assert_eq!(wait(429, &[("retry-after", "17")], ""), Some(17));
        assert_eq!(wait(503, &[("retry-after", "17")], ""), Some(17));
        assert_eq!(wait(429, &[], r#"{"message": "slow down", "retry_after": 23}"#), Some(23));
        assert_eq!(wait(429, &[], r#"{"retryAfter": "23"}"#), Some(23));
        assert_eq!(wait(429, &[("retry-after", "5")], r#"{"retry_after": 23}"#), Some(23));
        assert_eq!(wait(429, &[("retry-after", "-5")], r#"{"retry_after": -1}"#), None);
        assert_eq!(wait(429, &[], "<html>"), None);
        assert_eq!(wait(400, &[("retry-after", "17")], ""), None);
    }

    #[test]
    fn error_bodies_are_read_in_every_form() {
        for (body, message, code) in [
            (json!({"message": "a", "errorCode": 1002, "traceId": "t"}), Some("a"), Some(1002)),
            (json!({"Message": "a", "ErrorCode": "1002"}), Some("a"), Some(1002)),
            (json!({"error": {"code": 5, "message": "a", "details": "b"}, "__abp": true}), Some("a (b)"), Some(5)),
            (json!({"error": {"code": "", "message": "a"}}), Some("a"), None),
            (json!({"odata.error": {"code": "x", "message": {"lang": "en", "value": "a"}}}), Some("a"), None),
            (json!({"error": "invalid_client"}), Some("invalid_client"), None),
            (json!({"error": "invalid_client", "error_description": "a"}), Some("a"), None),
            (json!({"title": "t", "status": 400, "detail": "a"}), Some("a"), None),
            (json!({"Message": "a", "ExceptionMessage": "b"}), Some("a (b)"), None),
            (json!({"errorCode": null, "message": null}), None, None),
            (json!({"message": 7, "errorCode": [1]}), None, None),
            (json!([]), None, None),
            (json!("text"), None, None),
            (json!(null), None, None),
        ] {
            let read = ErrorBody::read(&body);
            assert_eq!((read.message.as_deref(), read.code), (message, code), "{body}");
        }
    }

    #[test]
    fn messages_are_short_and_hold_no_secret() {
        let long = judged(400, &json!({"message": "x".repeat(100_000)}), ADD).expect_err("a failure");
        assert!(long.message.chars().count() < 2 * EXCERPT_MAX, "{}", long.message.len());
        // A secret in which an excerpt would end.
        let secret = "canary-".repeat(40);
        let mut refused = answer(400, "application/json", json!({"message": format!("{} {secret}", "x".repeat(100))}).to_string());
        mask_refusal(&mut refused, &[&secret]);
        let failure = judge(&refused, ADD, None, Timestamp::EPOCH).expect_err("a failure");
        assert!(failure.message.ends_with("xx ***") && !failure.message.contains("canary"), "{failure}");
    }

    #[test]
    fn below_the_answer_a_write_is_unknown_and_a_wrong_url_is_configuration() {
        let class = |class, what| of_transport(Failure { class, status: None, message: String::new(), retry_after: None }, what).class;
        assert_eq!(class(Class::Invalid, ADD), Class::Unknown);
        assert_eq!(class(Class::Invalid, What::ReadItems), Class::Invalid);
        assert_eq!(class(Class::Refused, ADD), Class::Configuration);
        assert_eq!(class(Class::Connect, ADD), Class::Connect);
        assert_eq!(class(Class::Unknown, ADD), Class::Unknown);
    }
}
