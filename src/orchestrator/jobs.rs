//! Processes and their jobs.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::answer::{Meaning, What};
use super::call::Ask;
use super::urls::quoted;
use super::{CallTrace, Called, NO_CONTENT, Orchestrator, bodies, folder_key, invalid, json, not_left, not_there, unknown};
use crate::rules::{FolderRef, StartJob};
use crate::runs::{Class, Failure};

impl Orchestrator {
    /// Starts jobs (`StartJobs`), the release looked up by name. The value is the first job.
    pub async fn start_job(&self, folder: Option<&FolderRef>, job: &StartJob, parent: &str, timeout: Duration) -> Called<Value> {
        let deadline = Instant::now() + timeout;
        let folder = folder.or(self.default_folder());
        if let Err(message) = bodies::input_arguments(job) {
            let failure = Failure { class: Class::Refused, status: None, message, retry_after: None };
            return Called { trace: CallTrace::default(), result: Err(failure) };
        }
        let release = self.release(folder, &job.process, deadline).await;
        let release_key = match release.result {
            Ok(key) => key,
            Err(failure) => return Called { trace: release.trace, result: Err(not_left(failure)) },
        };
        let (mut trace, mut said) = (CallTrace::default(), Ok(Meaning::Empty));
        for _ in 0..2 {
            let sent_parent = self.inner.version.parent(parent);
            let body = match bodies::start_jobs(job, &release_key, sent_parent) {
                Ok(body) => body,
                Err(message) => {
                    return Called { trace, result: Err(Failure { class: Class::Refused, status: None, message, retry_after: None }) };
                }
            };
            let ask = Ask {
                what: What::StartJob { process: &job.process },
                folder,
                path: "Jobs/UiPath.Server.Configuration.OData.StartJobs".to_owned(),
                query: Vec::new(),
                body: Some(body),
            };
            (trace, said) = self.inner.call(ask, deadline).await;
            if !self.refused_for_parent(&trace, sent_parent.is_some()) {
                break;
            }
        }
        if matches!(trace.status, Some(400 | 404)) {
            // The process may have been made anew under its name, with another key.
            self.inner.releases.forget(&folder_key(folder), &job.process);
        }
        let started = match said {
            Ok(Meaning::Body(body)) => {
                bodies::rows(&body).and_then(<[Value]>::first).filter(|job| json::field(job, "Id").is_some()).cloned()
            }
            Ok(Meaning::Empty) if trace.status == Some(NO_CONTENT) => {
                self.job_by_reference_until(folder, &job.reference, deadline).await.result.ok().flatten()
            }
            Ok(_) => None,
            Err(failure) => return Called { trace, result: Err(failure) },
        };
        let result = started.ok_or_else(|| unknown(&trace, "no Id of a job in the answer"));
        Called { trace, result }
    }

    /// A job by Id (`GET /odata/Jobs({id})`), with its arguments.
    pub async fn job(&self, folder: Option<&FolderRef>, id: i64, timeout: Duration) -> Called<Option<Value>> {
        self.job_until(folder.or(self.default_folder()), id, Instant::now() + timeout).await
    }

    async fn job_until(&self, folder: Option<&FolderRef>, id: i64, deadline: Instant) -> Called<Option<Value>> {
        let ask = Ask { what: What::ReadJob, folder, path: format!("Jobs({id})"), query: Vec::new(), body: None };
        let (trace, said) = self.inner.call(ask, deadline).await;
        let result = match said {
            Ok(Meaning::Body(body)) if body.is_object() => Ok(Some(body)),
            Ok(Meaning::Missing) => Ok(None),
            Ok(_) => Err(invalid(&trace, "no job in the answer")),
            Err(failure) => Err(failure),
        };
        Called { trace, result }
    }

    /// A job by its Key, with its arguments: lists have none, so it is read by its Id.
    pub async fn job_by_key(&self, folder: Option<&FolderRef>, key: &str, timeout: Duration) -> Called<Option<Value>> {
        let (folder, deadline) = (folder.or(self.default_folder()), Instant::now() + timeout);
        if !key.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') {
            let message = format!("`{key}` is no Key of a job: expected a GUID");
            let failure = Failure { class: Class::Refused, status: None, message, retry_after: None };
            return Called { trace: CallTrace::default(), result: Err(failure) };
        }
        let filter = format!("Key eq {key}");
        let query = vec![("$filter", filter.as_str()), ("$top", "1")];
        let Called { trace, result } = self.first_row(What::ReadJobs, folder, "Jobs", query, deadline).await;
        match result.map(|row| row.and_then(|row| row.get("Id").and_then(Value::as_i64))) {
            Ok(Some(id)) => self.job_until(folder, id, deadline).await,
            Ok(None) => Called { trace, result: Ok(None) },
            Err(failure) => Called { trace, result: Err(failure) },
        }
    }

    /// The newest job with a reference.
    pub async fn job_by_reference(&self, folder: Option<&FolderRef>, reference: &str, timeout: Duration) -> Called<Option<Value>> {
        self.job_by_reference_until(folder.or(self.default_folder()), reference, Instant::now() + timeout).await
    }

    async fn job_by_reference_until(&self, folder: Option<&FolderRef>, reference: &str, deadline: Instant) -> Called<Option<Value>> {
        let filter = format!("Reference eq {}", quoted(reference));
        let query = vec![("$filter", filter.as_str()), ("$orderby", "Id desc"), ("$top", "1")];
        self.first_row(What::ReadJobs, folder, "Jobs", query, deadline).await
    }

    /// A process's release key by its name.
    async fn release(&self, folder: Option<&FolderRef>, process: &str, deadline: Instant) -> Called<String> {
        let key = folder_key(folder);
        if let Some(found) = self.inner.releases.get(&key, process, self.inner.clock.now()) {
            return Called { trace: CallTrace::default(), result: Ok(found) };
        }
        let filter = format!("Name eq {}", quoted(process));
        let query = vec![("$filter", filter.as_str()), ("$top", "1")];
        let Called { trace, result } = self.first_row(What::ReadRelease, folder, "Releases", query, deadline).await;
        let result = result.and_then(|row| match row.as_ref().map(|row| json::text(row, "Key")) {
            None => Err(not_there(&trace, "process", process, folder)),
            Some(None) => Err(invalid(&trace, "no Key in the release")),
            Some(Some(release)) => {
                self.inner.releases.put(&key, process, release.to_owned(), self.inner.clock.now());
                Ok(release.to_owned())
            }
        });
        Called { trace, result }
    }
}
