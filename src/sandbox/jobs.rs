//! Jobs: StartJobs, and how they move on when `/sandbox/jobs` says so.

use serde_json::{Map, Value, json};

use crate::sandbox::call::Refusal;
use crate::sandbox::dto;
use crate::sandbox::items::text;
use crate::sandbox::limits::{ARGUMENTS_MAX, JOBS_MAX, JOBS_PER_CALL_MAX, REFERENCE_MAX};
use crate::sandbox::model::{Job, JobState, Named, Release};
use crate::sandbox::world::World;
use crate::time::Timestamp;

impl World {
    /// StartJobs: the new jobs. It is not idempotent, as in the real one.
    pub(in crate::sandbox) fn start_jobs(&mut self, folder: i64, body: &Value, now: Timestamp) -> Result<Vec<Value>, Refusal> {
        let info = body
            .get("startInfo")
            .and_then(Value::as_object)
            .ok_or_else(|| Refusal::argument("ParameterMissing", "startInfo is required."))?;
        let release = self.release_for(folder, info)?;
        let arguments = text(info, "InputArguments", ARGUMENTS_MAX)?.filter(|a| !a.is_empty());
        let input = match &arguments {
            None => Value::Null,
            Some(written) => serde_json::from_str::<Map<String, Value>>(written)
                .map(Value::Object)
                .map_err(|_| Refusal::argument("InvalidArgument", "InputArguments must be a JSON object in a string."))?,
        };
        let count = info.get("JobsCount").and_then(Value::as_i64).unwrap_or(1);
        if !(1..=JOBS_PER_CALL_MAX).contains(&count) || self.jobs.len() >= JOBS_MAX {
            return Err(Refusal::argument(
                "ParameterInvalid",
                format!("JobsCount must be 1 to {JOBS_PER_CALL_MAX}; the sandbox keeps {JOBS_MAX} jobs."),
            ));
        }
        let word = |name: &str, default: &str| info.get(name).and_then(Value::as_str).unwrap_or(default).to_owned();
        let reference = text(info, "Reference", REFERENCE_MAX)?;
        let parent_operation = text(info, "ParentOperationId", REFERENCE_MAX)?;
        let (priority, runtime, source) = (word("JobPriority", "Normal"), word("RuntimeType", "Unattended"), word("Source", "Manual"));
        let batch = self.guid();
        let mut ids = Vec::new();
        for _ in 0..count {
            let job = Job {
                id: self.id(),
                key: self.guid(),
                batch: batch.clone(),
                release: release.id,
                folder,
                state: JobState::Pending,
                priority: priority.clone(),
                runtime: runtime.clone(),
                source: source.clone(),
                reference: reference.clone(),
                parent_operation: parent_operation.clone(),
                input: arguments.clone(),
                output: None,
                info: None,
                created: now,
                started: None,
                resumed: None,
                ended: None,
                modified: now,
            };
            ids.push(job.id);
            self.jobs.insert(job.id, job);
        }
        let full: Vec<Value> = ids.iter().filter_map(|id| self.jobs.get(id)).map(|job| wrapped(job, &release, &input)).collect();
        self.emit("job.created", json!({"StartInfo": info, "Jobs": full}), Some(folder), now);
        Ok(ids.iter().filter_map(|id| self.job_row(*id, true)).collect())
    }

    /// Moves a job to another state, with its event.
    pub(in crate::sandbox) fn move_job(&mut self, id: i64, body: &Value, now: Timestamp) -> Result<Value, Refusal> {
        let name = body.get("state").and_then(Value::as_str).unwrap_or_default();
        let state = JobState::parse(name).ok_or_else(|| Refusal::invalid(format!("'{name}' is no state of a job.")))?;
        let job = self.jobs.get_mut(&id).ok_or_else(|| Refusal::missing(format!("Job {id} does not exist.")))?;
        job.state = state;
        job.modified = now;
        match state {
            JobState::Running => job.started = job.started.or(Some(now)),
            JobState::Resumed => job.resumed = Some(now),
            JobState::Successful | JobState::Faulted | JobState::Stopped => job.ended = Some(now),
            JobState::Pending | JobState::Stopping | JobState::Terminating | JobState::Suspended => {}
        }
        if let Some(info) = body.get("info").and_then(Value::as_str) {
            job.info = Some(info.to_owned());
        }
        if let Some(output) = body.get("output") {
            job.output = Some(output.clone());
        }
        let job = job.clone();
        if let (Some(kind), Some(release)) = (event_of(state), self.releases.get(&job.release).cloned()) {
            let fields = simple(&job, &release);
            let fields = if state == JobState::Stopped { json!({"Jobs": [fields]}) } else { json!({"Job": fields}) };
            self.emit(kind, fields, Some(job.folder), now);
        }
        self.job_row(id, true).ok_or_else(|| Refusal::missing(format!("Job {id} does not exist.")))
    }

    /// A job as answers have it.
    pub(in crate::sandbox) fn job_row(&self, id: i64, arguments: bool) -> Option<Value> {
        let job = self.jobs.get(&id)?;
        Some(dto::job(job, self.releases.get(&job.release)?, self.folders.get(&job.folder)?, arguments))
    }

    fn release_for(&self, folder: i64, info: &Map<String, Value>) -> Result<Release, Refusal> {
        let by = |name: &str| info.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (key, name) = (by("ReleaseKey"), by("ReleaseName"));
        if key.is_none() && name.is_none() {
            return Err(Refusal::argument("ParameterMissing", "ReleaseKey or ReleaseName is required."));
        }
        let fits = |r: &&Release| key.is_none_or(|key| r.key.eq_ignore_ascii_case(key)) && name.is_none_or(|name| &*r.name == name);
        self.releases
            .values()
            .filter(|r| r.folder == folder)
            .find(fits)
            .cloned()
            .ok_or_else(|| Refusal::new(404, 1002, "InvalidReleaseKey", "The process does not exist in this folder."))
    }
}

fn event_of(state: JobState) -> Option<&'static str> {
    match state {
        JobState::Running => Some("job.started"),
        JobState::Successful => Some("job.completed"),
        JobState::Faulted => Some("job.faulted"),
        JobState::Stopped => Some("job.stopped"),
        JobState::Suspended => Some("job.suspended"),
        JobState::Resumed => Some("job.resumed"),
        JobState::Pending | JobState::Stopping | JobState::Terminating => None,
    }
}

/// `SimpleJobEventDto`.
fn simple(job: &Job, release: &Release) -> Value {
    let mut row = dto::strip(json!({
        "Id": job.id, "Key": job.key, "Type": "Unattended", "State": job.state, "StartTime": job.started.map(dto::exact),
        "ResumeTime": job.resumed.map(dto::exact), "EndTime": job.ended.map(dto::exact), "CreationTime": dto::exact(job.created),
        "Info": job.info, "RuntimeType": job.runtime, "SourceType": job.source, "Release": release_event(release),
    }));
    // Documented: arguments may be null or {}.
    row["OutputArguments"] = job.output.clone().unwrap_or(Value::Null);
    row
}

/// `WrappedJobDto`.
fn wrapped(job: &Job, release: &Release, input: &Value) -> Value {
    let mut row = dto::strip(json!({
        "Id": job.id, "Key": job.key, "CreationTime": dto::exact(job.created), "State": job.state, "Source": job.source,
        "SourceType": job.source, "BatchExecutionKey": job.batch, "ReleaseName": release.name, "Type": "Unattended",
        "Release": release_event(release), "RuntimeType": job.runtime, "ProcessType": "Process", "ParentOperationId": job.parent_operation,
    }));
    row["InputArguments"] = input.clone();
    row["OutputArguments"] = Value::Null;
    row
}

fn release_event(release: &Release) -> Value {
    json!({"Id": release.id, "Key": release.key, "ProcessKey": release.name, "Name": release.name, "ProcessType": "Process"})
}
