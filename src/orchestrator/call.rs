//! One call: token, headers, the request, once more after a 401, and the answer judged.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use super::answer::{self, Meaning, What, judge, mask_refusal};
use super::urls::{folder_header, odata};
use super::{CallTrace, Inner};
use crate::http::client::{ATTEMPT_TIMEOUT, Answer, Outgoing, request_line, retry_after};
use crate::http::exchange::Exchange;
use crate::http::mask::mask;
use crate::http::tokens::Token;
use crate::rules::FolderRef;
use crate::runs::{Class, Failure, Who};
use crate::secret::Secret;

/// What is asked of the API.
#[derive(Debug)]
pub struct Ask<'a> {
    /// For explanations.
    pub what: What<'a>,
    /// The folder it is in.
    pub folder: Option<&'a FolderRef>,
    /// Below `/odata/`.
    pub path: String,
    /// Names and values.
    pub query: Vec<(&'a str, &'a str)>,
    /// A POST with this body; a GET without.
    pub body: Option<Value>,
}

/// What a call gave: its trace, the answer's status for what a body alone does not tell, and the meaning.
pub type Said = (CallTrace, Result<Meaning, Failure>);

impl Inner {
    /// Asks and judges for a step. The whole of it, tokens included, ends at the deadline. For polling, whose deadlines leave time to
    /// wait for a turn, each request ends after [`ATTEMPT_TIMEOUT`], too.
    pub async fn call(&self, ask: Ask<'_>, deadline: Instant) -> Said {
        self.call_as(Who::Action, ask, deadline).await
    }

    /// The same for whoever asks: the lists that are limited are shared.
    pub async fn call_as(&self, who: Who, ask: Ask<'_>, deadline: Instant) -> Said {
        let method = if ask.body.is_some() { "POST" } else { "GET" };
        self.call_with(who, method, ask, deadline).await
    }

    /// The same with a method of its own.
    pub async fn call_with(&self, who: Who, method: &str, ask: Ask<'_>, deadline: Instant) -> Said {
        let url = odata(&self.config.url, &ask.path, &ask.query);
        let mut trace = CallTrace { request: request_line(method, &url), ..CallTrace::default() };
        let folder = match ask.folder.map(folder_header).transpose() {
            Ok(folder) => folder,
            Err(message) => return (trace, Err(Failure { class: Class::Refused, status: None, message, retry_after: None })),
        };
        let body = ask.body.as_ref().map(|body| Bytes::from(body.to_string()));
        let mut refused = None;
        loop {
            let token = match self.tokens.get(&self.http, &self.clock, refused, deadline).await {
                Ok(token) => token,
                Err((trace, failure)) => return (trace, Err(failure)),
            };
            if let Err(failure) = self.budget.acquire(ask.what, who, &self.clock, deadline).await {
                return (trace, Err(failure));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let outgoing = Outgoing {
                method: method.to_owned(),
                url: url.clone(),
                written_out: true,
                headers: self.headers(&token, folder.as_ref(), body.is_some()),
                body: body.clone(),
                timeout: if who == Who::Polling { left.min(ATTEMPT_TIMEOUT) } else { left },
            };
            let exchange = Exchange::of(&outgoing);
            let sent = self.http.send(outgoing).await;
            let credentials = self.tokens.secrets();
            let secrets: Vec<&str> = credentials.iter().map(Secret::expose).chain([token.bare()]).collect();
            let hide = |failure: Failure| Failure { message: mask(&failure.message, &secrets), ..failure };
            let mut answer = match sent {
                Ok(answer) => answer,
                Err(failure) => {
                    trace.status = failure.status;
                    trace.exchange = Some(Arc::new(exchange.hiding(credentials.iter().cloned())));
                    return (trace, Err(hide(answer::of_transport(failure, ask.what))));
                }
            };
            self.version.learn(&answer, self.clock.now());
            self.budget.learn(ask.what, &answer, retry_after(&answer.headers, self.clock.now()), &self.clock);
            if answer.status == 401 && refused.is_none() && self.tokens.can_renew() {
                refused = Some(token.serial);
                continue;
            }
            trace.status = Some(answer.status);
            trace.bytes = answer.body.len() as u64;
            trace.exchange = Some(Arc::new(exchange.answered(&answer).hiding(credentials.iter().cloned())));
            if self.refuses_parent(&ask, &answer) {
                self.version.refuses_parent();
            }
            mask_refusal(&mut answer, &secrets);
            return (trace, judge(&answer, ask.what, ask.folder, self.clock.now()).map_err(hide));
        }
    }

    fn headers(&self, token: &Token, folder: Option<&(String, String)>, has_body: bool) -> Vec<(String, String)> {
        let mut headers =
            vec![("authorization".to_owned(), token.bearer.expose().to_owned()), ("accept".to_owned(), "application/json".to_owned())];
        if has_body {
            headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        headers.extend(folder.cloned());
        headers.extend(self.tenant.clone());
        headers
    }

    /// Whether a 400 is about `ParentOperationId`: it names the field, as OData does with properties it does not know.
    fn refuses_parent(&self, ask: &Ask<'_>, answer: &Answer) -> bool {
        const FIELD: &[u8] = b"ParentOperationId";
        answer.status == 400 && ask.what.is_write() && answer.body.windows(FIELD.len()).any(|window| window.eq_ignore_ascii_case(FIELD))
    }
}
