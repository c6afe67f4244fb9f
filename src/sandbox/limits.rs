//! Limits, the documented ones and our own.

/// The longest request body that is read.
pub(in crate::sandbox) const REQUEST_MAX: usize = 64 << 20;
/// Connections at once; more wait in the backlog.
pub(in crate::sandbox) const CONNECTIONS_MAX: usize = 4_096;
/// Folders.
pub(in crate::sandbox) const FOLDERS_MAX: usize = 1_000;
/// Queues.
pub(in crate::sandbox) const QUEUES_MAX: usize = 10_000;
/// Queue items, deleted ones included.
pub(in crate::sandbox) const ITEMS_MAX: usize = 1_200_000;
/// Rows of the change feed; the oldest go.
pub(in crate::sandbox) const FEED_MAX: usize = 2_000_000;
/// Jobs.
pub(in crate::sandbox) const JOBS_MAX: usize = 100_000;
/// Jobs started by one call.
pub(in crate::sandbox) const JOBS_PER_CALL_MAX: i64 = 1_000;
/// Processes.
pub(in crate::sandbox) const RELEASES_MAX: usize = 10_000;
/// Webhooks.
pub(in crate::sandbox) const WEBHOOKS_MAX: usize = 100;
/// Tokens that are valid at once.
pub(in crate::sandbox) const TOKENS_MAX: usize = 10_000;
/// Deliveries that wait for a worker; more are lost and counted.
pub(in crate::sandbox) const OUTBOX_MAX: usize = 200_000;
/// Deliveries remembered for `/sandbox/deliveries`.
pub(in crate::sandbox) const DELIVERIES_KEPT: usize = 100_000;
/// Requests remembered for `/sandbox/requests`.
pub(in crate::sandbox) const REQUESTS_KEPT: usize = 20_000;
/// Sinks.
pub(in crate::sandbox) const SINKS_MAX: usize = 100;
/// Requests remembered per sink.
pub(in crate::sandbox) const SINK_KEPT: usize = 10_000;
/// Of a body in a sink, in bytes.
pub(in crate::sandbox) const SINK_BODY_MAX: usize = 64 << 10;
/// Faults at once.
pub(in crate::sandbox) const FAULTS_MAX: usize = 1_000;
/// The start of an answer to a delivery that is remembered, in bytes.
pub(in crate::sandbox) const ANSWER_KEPT: usize = 4 << 10;
/// The most deliveries that a reordering holds back.
pub(in crate::sandbox) const REORDER_MAX: usize = 1_000;

/// `$top` of QueueItems.
pub(in crate::sandbox) const ITEMS_TOP: usize = 100;
/// `$top` of other lists.
pub(in crate::sandbox) const LIST_TOP: usize = 1_000;
/// Items in one BulkAddQueueItems.
pub(in crate::sandbox) const BULK_MAX: usize = 15_000;
/// Characters of a reference, or of a ParentOperationId.
pub(in crate::sandbox) const REFERENCE_MAX: usize = 128;
/// Characters of a queue's name.
pub(in crate::sandbox) const QUEUE_NAME_MAX: usize = 50;
/// UTF-16 units of SpecificContent.
pub(in crate::sandbox) const CONTENT_MAX: usize = 256_000;
/// UTF-16 units of Output.
pub(in crate::sandbox) const OUTPUT_MAX: usize = 51_200;
/// UTF-16 units of Analytics.
pub(in crate::sandbox) const ANALYTICS_MAX: usize = 5_120;
/// UTF-16 units of Progress.
pub(in crate::sandbox) const PROGRESS_MAX: usize = 104_857;
/// UTF-16 units of a failure's Reason and Details.
pub(in crate::sandbox) const REASON_MAX: usize = 102_400;
/// Characters of a job's InputArguments.
pub(in crate::sandbox) const ARGUMENTS_MAX: usize = 10_000;
