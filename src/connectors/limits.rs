//! The limits of connectors, in one place.

use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest connector file, in bytes.
pub const FILE_MAX: usize = 2 << 20;
/// The deepest nesting of a connector file.
pub const DEPTH_MAX: usize = 64;
/// The most connectors of one configuration.
pub const CONNECTORS_MAX: usize = 1_000;
/// The most operations of one connector.
pub const OPERATIONS_MAX: usize = 2_000;
/// The most input fields of one operation, fields of `config`, headers, parameters.
pub const FIELDS_MAX: usize = 300;
/// The most hooks in one place.
pub const HOOKS_MAX: usize = 20;
/// The longest name of a connector, an operation, a field.
pub const NAME_MAX: usize = 128;
/// The longest URL with its query, in bytes.
pub const URL_MAX: usize = 8_192;
/// The longest value of a header, in bytes.
pub const HEADER_MAX: usize = 8_192;
/// The largest body, in bytes.
pub const BODY_MAX: usize = 16 << 20;
/// The most fields of a form, those of its lists and mappings each.
pub const FORM_MAX: usize = 10_000;
/// Rows of a page.
pub const ROWS: RangeInclusive<u64> = 1..=10_000;
/// More rows in a page than this are more than most services give.
pub const ROWS_ADVISED: u64 = 1_000;
/// Pages of one call.
pub const PAGES: RangeInclusive<u64> = 1..=10_000;
/// Pages of one call, where it is not written.
pub const PAGES_DEFAULT: u32 = 100;
/// Calls in flight.
pub const CONCURRENCY: RangeInclusive<u64> = 1..=256;
/// Characters or elements of an input.
pub const LENGTH: RangeInclusive<u64> = 0..=16_777_216;
/// Statuses.
pub const STATUS: RangeInclusive<u64> = 100..=599;
/// Of one attempt.
pub const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);
/// The methods.
pub const METHODS: &[&str] = &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];
/// Methods that do once what they are asked twice (RFC 9110, 9.2.2).
pub const IDEMPOTENT: &[&str] = &["GET", "PUT", "DELETE", "HEAD", "OPTIONS"];
/// Methods that change nothing (RFC 9110, 9.2.1).
pub const SAFE: &[&str] = &["GET", "HEAD", "OPTIONS"];
