//! What a job's row becomes: the events that a webhook would have brought, with their data and keys.
//!
//! Lists show jobs as they are now. What happened since they were seen last is told from their state and stamps; what
//! passed in between without leaving a stamp (a second suspension) cannot be. Pure: rows and what is remembered in, changes out.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::SourceView;
use super::key::{self, Facts, HashedBody};
use super::thing::Thing;
use crate::event::{Change, Folder, Tree};
use crate::time::Timestamp;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobState {
    /// Waits for a robot.
    Pending,
    /// Runs.
    Running,
    /// Was asked to stop.
    Stopping,
    /// Is being killed.
    Terminating,
    /// Ended with an error.
    Faulted,
    /// Ended well.
    Successful,
    /// Was stopped.
    Stopped,
    /// Waits for something outside.
    Suspended,
    /// Goes on after a suspension.
    Resumed,
}

impl JobState {
    const ALL: [(Self, &'static str); 9] = [
        (Self::Pending, "Pending"),
        (Self::Running, "Running"),
        (Self::Stopping, "Stopping"),
        (Self::Terminating, "Terminating"),
        (Self::Faulted, "Faulted"),
        (Self::Successful, "Successful"),
        (Self::Stopped, "Stopped"),
        (Self::Suspended, "Suspended"),
        (Self::Resumed, "Resumed"),
    ];

    fn of(value: &Value) -> Option<Self> {
        let text = value.as_str()?;
        Self::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(state, _)| *state)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("", |(_, name)| name)
    }

    /// Whether nothing comes after it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Faulted | Self::Successful | Self::Stopped)
    }
}

/// A job as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct JobRow {
    /// Its Id.
    pub id: i64,
    /// Its state.
    pub state: JobState,
    /// When it was created.
    pub created: Option<Timestamp>,
    /// When it began first.
    pub started: Option<Timestamp>,
    /// When it went on last.
    pub resumed: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// When it changed last, in versions that say so.
    pub modified: Option<Timestamp>,
}

impl JobRow {
    /// Reads a row; `None` for one without an Id or a state that is known.
    #[must_use]
    pub fn of(row: &Value) -> Option<Self> {
        let stamp = |name: &str| row.get(name)?.as_str().and_then(Timestamp::parse_lenient).and_then(Timestamp::sane);
        Some(Self {
            id: row.get("Id").and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))?,
            state: JobState::of(row.get("State")?)?,
            created: stamp("CreationTime"),
            started: stamp("StartTime"),
            resumed: stamp("ResumeTime"),
            ended: stamp("EndTime"),
            modified: stamp("LastModificationTime"),
        })
    }

    /// The newest of its stamps.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        [self.created, self.started, self.resumed, self.ended, self.modified].into_iter().flatten().max()
    }
}

/// What is remembered of a job between looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastJob {
    /// Its state.
    #[serde(rename = "s")]
    pub state: JobState,
    /// When it began first, in ms.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// When it went on last, in ms.
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<i64>,
    /// When it was seen, in ms.
    #[serde(rename = "t")]
    pub seen: i64,
}

impl LastJob {
    /// What is to be remembered of a row.
    #[must_use]
    pub fn of(row: &JobRow, now: Timestamp) -> Self {
        let millis = |stamp: Option<Timestamp>| stamp.map(Timestamp::as_millis);
        Self { state: row.state, started: millis(row.started), resumed: millis(row.resumed), seen: now.as_millis() }
    }

    /// Whether nothing but the time of the look differs.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        (self.state, self.started, self.resumed) == (other.state, other.started, other.resumed)
    }
}

/// Which events a row stands for, in their order. Of a job that was never seen only what happened from `since` on.
#[must_use]
pub fn job_events(row: &JobRow, before: Option<&LastJob>, since: Timestamp) -> Vec<&'static str> {
    let mut events = Vec::new();
    let within = |stamp: Option<Timestamp>| stamp.is_some_and(|stamp| stamp >= since);
    let millis = |stamp: Option<Timestamp>| stamp.map(Timestamp::as_millis);
    let moved = before.is_none_or(|before| before.state != row.state);
    if before.is_none() && within(row.created) {
        events.push("job.created");
    }
    let started = match before {
        Some(before) => before.started.is_none(),
        None => within(row.started),
    };
    if row.started.is_some() && started {
        events.push("job.started");
    }
    let resumed = match before {
        Some(before) => before.resumed != millis(row.resumed),
        None => within(row.resumed),
    };
    if row.resumed.is_some() && resumed {
        events.push("job.resumed");
    }
    let ended = moved && (before.is_some() || within(row.ended) || (row.ended.is_none() && within(row.newest())));
    let lately = moved && (before.is_some() || within(row.modified.or_else(|| row.newest())));
    match row.state {
        JobState::Successful if ended => events.push("job.completed"),
        JobState::Faulted if ended => events.push("job.faulted"),
        JobState::Stopped if ended => events.push("job.stopped"),
        JobState::Suspended if lately => events.push("job.suspended"),
        JobState::Stopping if lately => events.push("job.stopping"),
        JobState::Terminating if lately => events.push("job.terminating"),
        // It runs again after a suspension.
        JobState::Running if before.is_some_and(|before| matches!(before.state, JobState::Suspended | JobState::Resumed)) => {
            events.push("job.started");
        }
        _ => {}
    }
    events
}

/// Where a job was read, and what was read with it.
#[derive(Clone, Copy, Debug)]
pub struct JobSighting<'a> {
    /// The source.
    pub source: &'a SourceView,
    /// The job as the list shows it.
    pub listed: &'a Value,
    /// The same read by its Id, where its arguments are wanted.
    pub whole: Option<&'a Value>,
    /// The folder it was read in.
    pub folder: &'a Folder,
    /// When it was read.
    pub observed: Timestamp,
}

/// What lists have and events do not.
const LIST_ONLY: &[&str] = &[
    "InputArguments",
    "OutputArguments",
    "JobPriority",
    "SpecificPriorityValue",
    "ResourceOverwrites",
    "Source",
    "StartingScheduleId",
    "ReleaseName",
    "EnvironmentVariables",
    "InputFile",
    "OutputFile",
    "HostMachineName",
    "HasMediaRecorded",
    "HasVideoRecorded",
    "PersistenceId",
    "ResumeVersion",
    "StopStrategy",
    "RequiresUserInteraction",
    "ReleaseVersionId",
    "OrganizationUnitId",
    "OrganizationUnitFullyQualifiedName",
    "ProcessType",
    "ProfilingOptions",
    "ResumeOnSameContext",
    "LocalSystemAccount",
    "OrchestratorUserIdentity",
    "RemoteControlAccess",
    "StartingTriggerId",
    "MaxExpectedRunningTimeSeconds",
    "AutopilotForRobots",
    "LastModificationTime",
    "SubState",
    "JobError",
];

const RELEASE_FIELDS: &[&str] = &["Id", "Key", "ProcessKey", "Name", "ProcessType", "TargetRuntime"];
const ROBOT_FIELDS: &[&str] = &["Id", "Key", "Name", "Type", "MachineName"];

/// The change that a webhook would have brought for this event of a row.
#[must_use]
pub fn job_change(event_type: &'static str, row: &JobRow, sighting: &JobSighting<'_>) -> Change {
    let again = event_type == "job.resumed" || (event_type == "job.started" && row.resumed.is_some() && row.state == JobState::Running);
    let time = match event_type {
        "job.created" => row.created,
        "job.started" if again => row.resumed,
        "job.started" => row.started,
        "job.resumed" => row.resumed,
        "job.completed" | "job.faulted" | "job.stopped" => row.ended.or(row.modified),
        _ => row.modified.or_else(|| row.newest()),
    };
    let data = json!({"Job": job_then(event_type, again, row, sighting)});
    let body = HashedBody::new(b"");
    let facts = Facts {
        source: sighting.source,
        body: &body,
        event_type,
        delivery: None,
        time,
        received: sighting.observed,
        element: (0, 1),
        row: None,
    };
    let tree = Tree::of(&data);
    let thing = Thing::of(&tree);
    let (key, subject) = (key::of(&tree, thing.as_ref(), &facts), thing.and_then(|thing| thing.subject()));
    let origin = super::origin::of(&tree);
    Change {
        key,
        event_type: event_type.into(),
        time,
        observed: Some(sighting.observed),
        tenant: None,
        folder: Some(sighting.folder.clone()),
        subject,
        service_id: None,
        element: 0,
        origin,
        data: std::sync::Arc::new(data),
        problem: None,
    }
}

/// The job as it was at the event, as far as that can be told from how it is now.
fn job_then(event_type: &str, again: bool, row: &JobRow, sighting: &JobSighting<'_>) -> Value {
    let Value::Object(now) = sighting.listed else { return json!({"Id": row.id}) };
    let mut job: Map<String, Value> = now
        .iter()
        .filter(|(name, value)| !value.is_null() && !LIST_ONLY.contains(&name.as_str()))
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    for (event, list) in [("JobSubState", "SubState"), ("Error", "JobError")] {
        if let Some(value) = now.get(list).filter(|value| !value.is_null()) {
            job.insert(event.to_owned(), value.clone());
        }
    }
    let pick = |job: &mut Map<String, Value>, name: &str, fields: &[&str]| {
        if let Some(Value::Object(whole)) = job.get_mut(name) {
            whole.retain(|field, value| fields.contains(&field.as_str()) && !value.is_null());
        }
    };
    pick(&mut job, "Release", RELEASE_FIELDS);
    pick(&mut job, "Robot", ROBOT_FIELDS);
    if let Some(name) = now.get("ReleaseName").filter(|name| name.is_string())
        && let Value::Object(release) = job.entry("Release").or_insert_with(|| json!({}))
    {
        release.entry("Name").or_insert_with(|| name.clone());
    }
    let ends = matches!(event_type, "job.completed" | "job.faulted" | "job.stopped");
    let state = match event_type {
        "job.created" => JobState::Pending,
        "job.started" => JobState::Running,
        "job.resumed" => JobState::Resumed,
        _ => row.state,
    };
    job.insert("State".to_owned(), state.name().into());
    let drop = |job: &mut Map<String, Value>, fields: &[&str]| job.retain(|name, _| !fields.contains(&name.as_str()));
    if !ends {
        drop(&mut job, &["EndTime", "Info", "Error", "ErrorCode"]);
    }
    match event_type {
        "job.created" => drop(&mut job, &["StartTime", "ResumeTime", "Robot", "Machine", "JobSubState"]),
        "job.started" if !again => drop(&mut job, &["ResumeTime", "JobSubState"]),
        _ => {}
    }
    let argument = |name: &str| sighting.whole.and_then(|whole| whole.get(name)).and_then(object);
    if event_type == "job.created" {
        job.insert("InputArguments".to_owned(), argument("InputArguments").unwrap_or(Value::Null));
    }
    // Documented: they may be null or {}.
    let output = if ends { argument("OutputArguments") } else { None };
    job.insert("OutputArguments".to_owned(), output.unwrap_or(Value::Null));
    Value::Object(job)
}

/// Arguments are a JSON object in a text.
fn object(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) => serde_json::from_str::<Value>(text).ok().filter(Value::is_object),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normalize::orchestrator;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_790_000_000_000 + seconds * 1000)
    }

    fn row(state: JobState, started: Option<i64>, resumed: Option<i64>, ended: Option<i64>) -> JobRow {
        let stamp = |seconds: Option<i64>| seconds.map(at);
        let all = [Some(0), started, resumed, ended];
        JobRow {
            id: 7,
            state,
            created: Some(at(0)),
            started: stamp(started),
            resumed: stamp(resumed),
            ended: stamp(ended),
            modified: stamp(all.into_iter().flatten().max()),
        }
    }

    #[test]
    fn rows_become_events_by_what_was_known() {
        use JobState::{Faulted, Pending, Resumed, Running, Stopped, Stopping, Successful, Suspended};
        let seen = |row: &JobRow| Some(LastJob::of(row, at(1)));
        let pending = row(Pending, None, None, None);
        let running = row(Running, Some(10), None, None);
        let suspended = row(Suspended, Some(10), None, None);
        let resumed = row(Resumed, Some(10), Some(20), None);
        let again = row(Running, Some(10), Some(20), None);
        let done = row(Successful, Some(10), None, Some(30));
        let cases: &[(&JobRow, Option<LastJob>, &[&str])] = &[
            (&pending, None, &["created"]),
            (&pending, seen(&pending), &[]),
            (&running, None, &["created", "started"]),
            (&running, seen(&pending), &["started"]),
            (&running, seen(&running), &[]),
            (&suspended, seen(&running), &["suspended"]),
            (&resumed, seen(&suspended), &["resumed"]),
            (&again, seen(&resumed), &["started"]),
            (&again, seen(&suspended), &["resumed", "started"]),
            (&done, None, &["created", "started", "completed"]),
            (&done, seen(&pending), &["started", "completed"]),
            (&done, seen(&running), &["completed"]),
            (&done, seen(&done), &[]),
            (&row(Stopped, None, None, Some(5)), seen(&pending), &["stopped"]),
            (&row(Faulted, Some(10), Some(20), Some(30)), seen(&suspended), &["resumed", "faulted"]),
            (&row(Stopping, Some(10), None, None), seen(&running), &["stopping"]),
        ];
        for (row, before, expected) in cases {
            let expected: Vec<String> = expected.iter().map(|name| format!("job.{name}")).collect();
            assert_eq!(job_events(row, before.as_ref(), at(0)), expected, "{row:?} after {before:?}");
        }
    }

    #[test]
    fn of_a_job_that_was_never_seen_only_the_new_is_told() {
        let done = row(JobState::Successful, Some(10), None, Some(30));
        assert_eq!(job_events(&done, None, at(5)), ["job.started", "job.completed"]);
        assert_eq!(job_events(&done, None, at(30)), ["job.completed"]);
        assert_eq!(job_events(&done, None, at(31)), [""; 0]);
    }

    fn listed() -> Value {
        json!({
            "Id": 7, "Key": "AB-CD", "State": "Successful", "SubState": null, "CreationTime": "2026-03-01T10:00:00.123Z",
            "StartTime": "2026-03-01T10:00:05.66Z", "EndTime": "2026-03-01T10:09:00.1Z", "ReleaseName": "Nightly", "Info": "ok",
            "Release": {"Id": 3, "Key": "k", "ProcessKey": "Nightly", "Name": "Nightly", "ProcessVersion": "1.0.0", "Description": null},
            "LastModificationTime": "2026-03-01T10:09:00.1Z", "InputArguments": null, "OutputArguments": null, "SourceType": "Manual",
            "OrganizationUnitId": 2,
        })
    }

    fn seen(event_type: &'static str) -> Change {
        let (listed, source) = (listed(), SourceView { name: "jobs".into(), tenant_url: Some("https://o.example/t".into()) });
        let whole = json!({"InputArguments": "{\"a\": 1}", "OutputArguments": "{\"b\": [2]}"});
        let (row, folder) = (JobRow::of(&listed).expect("a row"), Folder { id: Some(2), ..Folder::default() });
        let sighting = JobSighting { source: &source, listed: &listed, whole: Some(&whole), folder: &folder, observed: at(0) };
        job_change(event_type, &row, &sighting)
    }

    fn delivered(event_type: &str, job: &Value) -> Change {
        let body = json!({"Type": event_type, "EventId": "e", "Timestamp": "2026-03-01T10:09:00.2Z", "Job": job});
        let source = SourceView { name: "hook".into(), tenant_url: Some("https://o.example/t".into()) };
        orchestrator(body.to_string().as_bytes(), &source, at(0)).changes.remove(0)
    }

    #[test]
    fn a_webhook_and_a_row_of_one_change_have_one_key() {
        let full = json!({"Id": 7, "Key": "ab-cd", "StartTime": "2026-03-01T10:00:05.6603953Z", "EndTime": "2026-03-01T10:09:00.1Z"});
        for (event_type, hooked) in
            [("job.created", json!({"Id": 7, "Key": "ab-cd"})), ("job.started", full.clone()), ("job.completed", full)]
        {
            let (polled, hooked) = (seen(event_type), delivered(event_type, &hooked));
            assert!(polled.key.same_change(&hooked.key), "{event_type}: {:?} and {:?}", polled.key, hooked.key);
            assert_eq!(polled.subject, hooked.subject);
        }
    }

    #[test]
    fn the_job_is_shown_as_it_was() {
        let created = seen("job.created").data["Job"].clone();
        assert_eq!((&created["State"], &created["InputArguments"]), (&json!("Pending"), &json!({"a": 1})));
        assert!(created.get("StartTime").is_none() && created.get("EndTime").is_none());
        let completed = seen("job.completed");
        let job = &completed.data["Job"];
        assert_eq!(job["OutputArguments"], json!({"b": [2]}));
        assert_eq!(job["Release"], json!({"Id": 3, "Key": "k", "ProcessKey": "Nightly", "Name": "Nightly"}));
        assert!(job.get("ReleaseName").is_none() && job.get("LastModificationTime").is_none());
        assert_eq!(completed.time, Timestamp::parse_lenient("2026-03-01T10:09:00.1Z"));
    }

    #[test]
    fn what_is_no_row_is_nobodys_change() {
        for bad in [json!({}), json!({"Id": 1}), json!({"Id": 1, "State": "Dancing"}), json!(null), json!([])] {
            assert_eq!(JobRow::of(&bad), None);
        }
        let odd = JobRow::of(&json!({"Id": "8", "State": "running", "StartTime": "0001-01-01T00:00:00Z", "EndTime": 7})).expect("a row");
        assert_eq!((odd.id, odd.state, odd.started, odd.ended), (8, JobState::Running, None, None));
    }
}
