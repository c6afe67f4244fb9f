//! Operations that only list or read, as a table: name, path, whether it is in a folder, what it gives.

/// Lists, with OData's parameters.
const LISTS: &[(&str, &str, &str)] = &[
    ("get_alerts", "Alerts", "alerts"),
    ("get_assets", "Assets", "assets"),
    ("get_audit_logs", "AuditLogs", "rows of the audit log"),
    ("get_buckets", "Buckets", "storage buckets"),
    ("get_calendars", "Calendars", "calendars of non-working days"),
    ("get_credential_stores", "CredentialStores", "credential stores"),
    ("get_folders", "Folders", "folders"),
    ("get_jobs", "Jobs", "jobs, without their arguments"),
    ("get_libraries", "Libraries", "libraries"),
    ("get_machines", "Machines", "machines"),
    ("get_packages", "Processes", "packages"),
    ("get_processes", "Releases", "processes"),
    ("get_queue_item_comments", "QueueItemComments", "comments on queue items"),
    ("get_queue_item_events", "QueueItemEvents", "changes of queue items"),
    ("get_queue_items", "QueueItems", "queue items"),
    ("get_queues", "QueueDefinitions", "queues"),
    ("get_queues_status", "QueueProcessingRecords/UiPathODataSvc.RetrieveQueuesProcessingStatus", "what each queue has to do"),
    ("get_robot_logs", "RobotLogs", "log lines of robots"),
    ("get_robots", "Robots", "robots"),
    ("get_roles", "Roles", "roles"),
    ("get_schedules", "ProcessSchedules", "time and queue triggers"),
    ("get_sessions", "Sessions", "sessions of robots"),
    ("get_tasks", "Tasks", "tasks for people"),
    ("get_users", "Users", "users"),
    ("get_webhooks", "Webhooks", "webhooks"),
];

/// One thing by its id.
const READS: &[(&str, &str, &str)] = &[
    ("get_asset", "Assets(${input.id})", "one asset"),
    ("get_folder", "Folders(${input.id})", "one folder"),
    ("get_job", "Jobs(${input.id})", "one job, with its arguments"),
    ("get_process", "Releases(${input.id})", "one process"),
    ("get_queue", "QueueDefinitions(${input.id})", "one queue"),
    ("get_queue_item", "QueueItems(${input.id})", "one queue item"),
    ("get_queue_item_history", "QueueItems(${input.id})/UiPathODataSvc.GetItemProcessingHistory", "the attempts at a queue item"),
    ("get_queue_item_last_retry", "QueueItems(${input.id})/UiPathODataSvc.GetItemLastRetry", "the last attempt at a queue item"),
    ("get_schedule", "ProcessSchedules(${input.id})", "one trigger"),
    ("get_task", "Tasks(${input.id})", "one task"),
    ("get_user", "Users(${input.id})", "one user"),
    ("get_webhook", "Webhooks(${input.id})", "one webhook"),
];

/// Operations of the tenant, for which no folder is needed.
pub(super) const OF_THE_TENANT: &[&str] = &[
    "call_connection",
    "get_alerts",
    "get_audit_logs",
    "get_calendars",
    "get_connection",
    "get_connections",
    "get_credential_stores",
    "get_folder",
    "get_folders",
    "get_libraries",
    "get_machines",
    "get_packages",
    "get_roles",
    "get_user",
    "get_users",
    "get_webhook",
    "get_webhooks",
    "request",
    "trigger_custom_event",
];

/// The whole file: the part written by hand, and what the table gives.
pub(super) fn text() -> String {
    let mut text = include_str!("orchestrator.yaml").to_owned();
    for (name, path, gives) in LISTS {
        text.push_str(&format!(
            "  {name}:\n    description: 'Lists {gives}.'\n    method: GET\n    path: /odata/{path}\n    input:\n      \
             filter: {{description: \"OData: Status eq 'Failed' and Id gt 17\", primary: true}}\n      \
             orderby: {{description: \"OData: Id desc\"}}\n      select: {{}}\n      expand: {{}}\n      \
             top: {{type: integer, min: 1, max: 1000, description: Rows of a page}}\n      skip: {{type: integer, min: 0}}\n    \
             query: {{$filter: \"${{input.filter}}\", $orderby: \"${{input.orderby}}\", $select: \"${{input.select}}\", \
             $expand: \"${{input.expand}}\", $top: \"${{input.top}}\", $skip: \"${{input.skip}}\"}}\n    \
             output: {{root: value}}\n    paginate: {{offset: {{param: $skip, size_param: $top, size: 100}}, max: 1000}}\n"
        ));
    }
    for (name, path, gives) in READS {
        text.push_str(&format!(
            "  {name}:\n    description: 'Reads {gives}.'\n    method: GET\n    path: /odata/{path}\n    \
             input: {{id: {{type: integer, required: true, primary: true}}}}\n"
        ));
    }
    text
}
