//! The limits of rules, in one place.

use std::time::Duration;

/// The most steps of one rule.
pub const STEPS_MAX: usize = 100;
/// The most steps for each element of a list.
pub const NESTED_STEPS_MAX: usize = 20;
/// The most elements of a list that steps are carried out for.
pub const ELEMENTS_MAX: usize = 1_000;
/// The most elements worked on at once.
pub const PARALLEL_MAX: u32 = 32;
/// The longest key of `ordered_by`, in bytes.
pub const ORDER_KEY_MAX: usize = 1_024;
/// The most requests that one rule may be allowed at once.
pub const CONCURRENCY_MAX: u32 = 10_000;
/// The longest reference of an item or job, in UTF-16 units, as Orchestrator counts.
pub const REFERENCE_MAX: usize = 128;
/// The largest SpecificContent as JSON, in UTF-16 units.
pub const CONTENT_MAX: usize = 256_000;
/// The largest input arguments of a job as JSON, in UTF-16 units.
pub const INPUT_MAX: usize = 10_000;
/// What a key of SpecificContent must not contain.
pub const CONTENT_KEY_FORBIDDEN: [char; 4] = ['.', '#', '@', ':'];
/// The most jobs of one step.
pub const JOBS_MAX: u32 = 1_000;
/// The longest event type, in characters.
pub const EVENT_TYPE_MAX: usize = 128;
/// The longest URL of an `http` step, in bytes.
pub const URL_MAX: usize = 8_192;
/// The longest value of a header, in bytes.
pub const HEADER_MAX: usize = 8_192;
/// The most headers of an `http` step.
pub const HEADERS_MAX: usize = 50;
/// The shortest window of `dedupe`.
pub const DEDUPE_WINDOW_MIN: Duration = Duration::from_secs(1);
/// The longest window of `dedupe`.
pub const DEDUPE_WINDOW_MAX: Duration = Duration::from_secs(90 * 24 * 3600);
/// The shortest `expires`.
pub const EXPIRES_MIN: Duration = Duration::from_secs(1);
/// The longest `expires`.
pub const EXPIRES_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// The shortest time limit of an attempt.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The longest time limit of an attempt.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
