//! How one page of a list leads to the next: values in, the next request out. Knows no network.
//!
//! Promises: never more pages than the file allows; a service that gives the same page, cursor or URL again is a fault with
//! a name, not an endless walk; a URL that an answer names is asked only on the host that was asked before.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;
use url::Url;

use super::{CallRequest, CallResponse, Operation, PageBy, PageSize, Paginate};
use crate::expr::{EvalError, Expression, Scope};

/// The longest URL or cursor that is taken from an answer, in bytes.
pub const NEXT_MAX: usize = 16 << 10;

/// Why there is no next page although the service says so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageFault {
    /// The answer names a page that was read already.
    #[error("the answer of page {page} names a page that was read before ({what} `{again}`): the service goes in a circle")]
    Circle {
        /// The page, from 1.
        page: u32,
        /// What came again: `cursor`, `URL`.
        what: &'static str,
        /// Its value, cut.
        again: String,
    },
    /// The page is the one before.
    #[error("page {page} is the same as the one before it: the service does not heed the parameter `{param}`; check `paginate`")]
    Unheeded {
        /// The page, from 1.
        page: u32,
        /// The parameter.
        param: String,
    },
    /// The next URL is somewhere else.
    #[error(
        "the answer of page {page} names its next page on `{there}`, not on `{here}`; it is not asked, since the credentials are for one host"
    )]
    Elsewhere {
        /// The page, from 1.
        page: u32,
        /// Where the base URL is.
        here: String,
        /// Where the next one would be.
        there: String,
    },
    /// The next URL is none, or cursor or URL are too long.
    #[error("the answer of page {page} names a next page that cannot be asked: {why}")]
    Unusable {
        /// The page, from 1.
        page: u32,
        /// Why.
        why: String,
    },
    /// `from` or `until` cannot be judged.
    #[error("page {page}: `{expression}`: {error}")]
    Expression {
        /// The page, from 1.
        page: u32,
        /// As written.
        expression: String,
        /// Why.
        error: EvalError,
    },
    /// The rows are no list.
    #[error("page {page} is {kind} where a list is due; point `output.root` at the list")]
    NoList {
        /// The page, from 1.
        page: u32,
        /// What it is.
        kind: &'static str,
    },
}

/// What follows a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// This request.
    Ask(Box<CallRequest>),
    /// Nothing: it was the last.
    End,
    /// There may be more, but the file allows no more pages.
    Enough,
}

/// A walk over the pages of one call.
#[derive(Clone, Debug)]
pub struct Pages {
    paginate: Paginate,
    /// The request of the page that is read now.
    request: CallRequest,
    /// Its number, from 1.
    page: u32,
    /// What the position parameter says for it.
    position: u64,
    rows_per_page: Option<u64>,
    /// Fingerprints of cursors and URLs that were asked for.
    asked: BTreeSet<u64>,
    /// Fingerprint of the rows of the page before.
    before: Option<u64>,
}

impl Pages {
    /// The walk of an operation that has pages, from the request of its first page. What the request says itself about the
    /// size of pages stays.
    #[must_use]
    pub fn of(operation: &Operation, mut request: CallRequest) -> Option<Self> {
        let paginate = operation.paginate.clone()?;
        let (start, size) = match &paginate.by {
            PageBy::Page { start, size, .. } => (*start, size.clone()),
            PageBy::Offset { start, size, .. } => (*start, Some(size.clone())),
            PageBy::Cursor { size, .. } => (0, size.clone()),
            PageBy::NextLink | PageBy::NextUrl { .. } => (0, None),
        };
        let rows_per_page = size.map(|PageSize { param, rows }| {
            let said = param.as_ref().and_then(|param| find(&request, param)).and_then(|value| value.parse().ok());
            if let (Some(param), None) = (&param, said) {
                set(&mut request, param, rows.to_string());
            }
            said.unwrap_or(rows)
        });
        let mut position = start;
        if let PageBy::Page { param, .. } | PageBy::Offset { param, .. } = &paginate.by {
            // A call that begins somewhere else goes on from there.
            position = find(&request, param).and_then(|value| value.parse().ok()).unwrap_or(start);
            set(&mut request, param, position.to_string());
        }
        let asked = BTreeSet::from([fingerprint(&request.full_url())]);
        Some(Self { paginate, request, page: 1, position, rows_per_page, asked, before: None })
    }

    /// The request of the page that is to be read now.
    #[must_use]
    pub fn request(&self) -> &CallRequest {
        &self.request
    }

    /// Its number, from 1.
    #[must_use]
    pub fn page(&self) -> u32 {
        self.page
    }

    /// What follows the answer to [`Pages::request`], whose curated value is `rows`; that is then the next request. `scope`
    /// has `config` and `input`.
    ///
    /// # Errors
    /// The service goes in a circle, leads elsewhere, or its answer cannot be read as a page.
    pub fn after(&mut self, response: &CallResponse, rows: &Value, scope: &Scope<'_>) -> Result<Next, PageFault> {
        let Some(rows) = rows.as_array() else { return Err(PageFault::NoList { page: self.page, kind: kind(rows) }) };
        let scope = scope.clone().bind("response", response.seen()).bind("body", response.body());
        if let Some(until) = &self.paginate.until
            && self.holds(until, &scope)?
        {
            return Ok(Next::End);
        }
        let next = match self.paginate.by.clone() {
            PageBy::Page { param, .. } => self.numbered(&param, 1, rows)?,
            PageBy::Offset { param, .. } => self.numbered(&param, rows.len() as u64, rows)?,
            PageBy::Cursor { param, from, .. } => match self.text(&from, &scope)? {
                Some(cursor) => {
                    self.unasked("cursor", &cursor)?;
                    let mut next = self.request.clone();
                    set(&mut next, &param, cursor);
                    Some(next)
                }
                None => None,
            },
            PageBy::NextLink => match response.header("link").and_then(next_link) {
                Some(url) => Some(self.elsewhere(url)?),
                None => None,
            },
            PageBy::NextUrl { from } => match self.text(&from, &scope)? {
                Some(url) => Some(self.elsewhere(&url)?),
                None => None,
            },
        };
        let Some(next) = next else { return Ok(Next::End) };
        if self.page >= self.paginate.max_pages {
            return Ok(Next::Enough);
        }
        self.page += 1;
        self.request = next;
        Ok(Next::Ask(Box::new(self.request.clone())))
    }

    /// The next page of those that have numbers: none behind an empty or a short one.
    fn numbered(&mut self, param: &str, step: u64, rows: &[Value]) -> Result<Option<CallRequest>, PageFault> {
        if rows.is_empty() || self.rows_per_page.is_some_and(|full| (rows.len() as u64) < full) {
            return Ok(None);
        }
        let print = fingerprint(&rows.iter().map(Value::to_string).collect::<Vec<_>>());
        if self.before.replace(print) == Some(print) {
            return Err(PageFault::Unheeded { page: self.page, param: param.to_owned() });
        }
        self.position = self.position.saturating_add(step);
        let mut next = self.request.clone();
        set(&mut next, param, self.position.to_string());
        Ok(Some(next))
    }

    /// The request for a URL that an answer names, if it stays on the host.
    fn elsewhere(&mut self, next: &str) -> Result<CallRequest, PageFault> {
        let unusable = |why: String| PageFault::Unusable { page: self.page, why };
        let too_long = next.len() > NEXT_MAX;
        if too_long {
            return Err(unusable(format!("the URL is longer than {NEXT_MAX} bytes")));
        }
        let here = Url::parse(&self.request.full_url()).map_err(|error| unusable(error.to_string()))?;
        let there = here.join(next).map_err(|error| unusable(format!("no URL: {error}")))?;
        if there.origin() != here.origin() || !there.username().is_empty() || there.password().is_some() {
            let origin = |url: &Url| url.origin().ascii_serialization();
            return Err(PageFault::Elsewhere { page: self.page, here: origin(&here), there: cut(&origin(&there)) });
        }
        self.unasked("URL", there.as_str())?;
        let query = there.query_pairs().into_owned().collect();
        let mut url = there;
        url.set_query(None);
        url.set_fragment(None);
        Ok(CallRequest { url: url.into(), query, ..self.request.clone() })
    }

    /// Notes what is asked for next; it must be new.
    fn unasked(&mut self, what: &'static str, next: &str) -> Result<(), PageFault> {
        if next.len() > NEXT_MAX {
            return Err(PageFault::Unusable { page: self.page, why: format!("the {what} is longer than {NEXT_MAX} bytes") });
        }
        if self.asked.insert(fingerprint(&next)) {
            return Ok(());
        }
        Err(PageFault::Circle { page: self.page, what, again: cut(next) })
    }

    /// A text or a number that says where to go on; nothing for null, "" and what is missing.
    fn text(&self, from: &Expression, scope: &Scope<'_>) -> Result<Option<String>, PageFault> {
        match from.eval(scope) {
            Ok(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text)),
            Ok(Value::Number(number)) => Ok(Some(number.to_string())),
            Ok(Value::Null | Value::String(_) | Value::Bool(false)) | Err(EvalError::Missing { .. }) => Ok(None),
            Ok(other) => {
                let why = format!("`{}` is {}; expected a text", from.text(), kind(&other));
                Err(PageFault::Unusable { page: self.page, why })
            }
            Err(error) => Err(self.unjudged(from, error)),
        }
    }

    /// Whether the last page is reached; what is missing does not say so.
    fn holds(&self, until: &Expression, scope: &Scope<'_>) -> Result<bool, PageFault> {
        match until.holds(scope) {
            Ok(last) => Ok(last),
            Err(EvalError::Missing { .. }) => Ok(false),
            Err(error) => Err(self.unjudged(until, error)),
        }
    }

    fn unjudged(&self, expression: &Expression, error: EvalError) -> PageFault {
        PageFault::Expression { page: self.page, expression: expression.text().to_owned(), error }
    }
}

/// The URL with `rel="next"` in a `Link` header (RFC 8288); several headers are joined with commas.
#[must_use]
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, from) = rest.split_once('<')?;
        let (url, mut params) = from.split_once('>')?;
        let mut is_next = false;
        // Parameters up to the comma before the next link; commas in quotes do not count.
        while let Some(param) = params.trim_start().strip_prefix(';') {
            let (name, value, behind) = parameter(param);
            is_next |= name.eq_ignore_ascii_case("rel") && value.split_ascii_whitespace().any(|rel| rel.eq_ignore_ascii_case("next"));
            params = behind;
        }
        if is_next {
            return Some(url.trim());
        }
        rest = params;
    }
}

/// Name, value and what is behind it.
fn parameter(text: &str) -> (&str, &str, &str) {
    let end = text.find(['=', ';', ',']).unwrap_or(text.len());
    let name = text[..end].trim();
    let Some(value) = text[end..].strip_prefix('=') else { return (name, "", &text[end..]) };
    let value = value.trim_start();
    if let Some(quoted) = value.strip_prefix('"') {
        return match quoted.split_once('"') {
            Some((inside, behind)) => (name, inside, behind),
            None => (name, quoted, ""),
        };
    }
    let end = value.find([';', ',']).unwrap_or(value.len());
    (name, value[..end].trim(), &value[end..])
}

fn find<'r>(request: &'r CallRequest, param: &str) -> Option<&'r str> {
    request.query.iter().find(|(name, _)| name == param).map(|(_, value)| value.as_str())
}

/// Sets a parameter where it stands, else at the end.
fn set(request: &mut CallRequest, param: &str, value: String) {
    match request.query.iter_mut().find(|(name, _)| name == param) {
        Some((_, old)) => *old = value,
        None => request.query.push((param.to_owned(), value)),
    }
}

fn fingerprint(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// At most as much of a foreign text as a message needs.
fn cut(text: &str) -> String {
    const SHOWN: usize = 120;
    if text.chars().count() <= SHOWN { text.to_owned() } else { text.chars().take(SHOWN).chain(['…']).collect() }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
#[path = "pages/tests.rs"]
mod tests;
