//! Metrics of the process: the recorder, and the gauges that are refreshed beside the work rather than by a scrape.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::daemon::assemble::Assembled;
use crate::journal::Journal;
use crate::metric;

/// How often gauges are refreshed and histograms folded.
const REFRESH: Duration = Duration::from_secs(2);

/// How many rules have their counters begin at 0; with more the exposition would be mostly zeros.
const RULES_BEGUN_MAX: usize = 1_000;

/// Bounds of every `_seconds` histogram: from a fast fsync to a run that took a day.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0,
    86_400.0,
];
/// Bounds of the batch histogram.
const EVENTS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Installs the recorder of the process. A second call in one process gets a recorder of its own that nothing feeds.
pub(super) fn install() -> PrometheusHandle {
    let builder = || {
        PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)
            .and_then(|b| b.set_buckets_for_metric(Matcher::Full(metric::JOURNAL_BATCH.to_owned()), EVENTS))
            .unwrap_or_else(|_| PrometheusBuilder::new())
    };
    let handle = builder().install_recorder().unwrap_or_else(|_| builder().build_recorder().handle());
    for one in metric::ALL {
        match one.kind {
            metric::Kind::Counter => metrics::describe_counter!(one.name, one.help),
            metric::Kind::Gauge => metrics::describe_gauge!(one.name, one.help),
            metric::Kind::Histogram => metrics::describe_histogram!(one.name, one.help),
        }
    }
    metrics::counter!(metric::PANICS).absolute(0);
    metrics::counter!(metric::SEGMENTS_DROPPED).absolute(0);
    metrics::gauge!(metric::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    handle
}

/// The exposition. A metric that has no series yet has its HELP and TYPE: whoever sets up alarms sees all names.
pub(super) fn render(recorder: &PrometheusHandle) -> String {
    let mut text = recorder.render();
    for one in metric::ALL {
        if !text.contains(&format!("# TYPE {} ", one.name)) {
            text.push_str(&format!("# HELP {0} {1}\n# TYPE {0} {2}\n\n", one.name, one.help, one.kind.as_str()));
        }
    }
    text
}

/// Has the label sets that are known from the files start at 0, so that a first increase is one.
pub(super) fn begin(assembled: &Assembled) {
    for rule in assembled.rules.rules().iter().take(RULES_BEGUN_MAX) {
        for state in ["pending", "succeeded", "dead"] {
            metrics::counter!(metric::RUNS, "rule" => rule.name.to_string(), "state" => state).increment(0);
        }
        metrics::gauge!(metric::DEAD_LETTERS, "rule" => rule.name.to_string()).increment(0.0);
    }
    for name in assembled.config.orchestrators.keys() {
        metrics::gauge!(metric::BREAKER_OPEN, "target" => name.to_string()).increment(0.0);
        metrics::counter!(metric::ATTEMPTS, "target" => name.to_string(), "outcome" => "ok").increment(0);
    }
}

/// Refreshes gauges until `stop`.
pub(super) async fn refresh(journal: Journal, recorder: PrometheusHandle, clock: Clock, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut dead_before = Vec::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = clock.now();
        let gauges = journal.gauges();
        metrics::gauge!(metric::RUN_QUEUE_OLDEST).set(gauges.oldest_open_run.map_or(0.0, |at| now.since(at).as_secs_f64()));
        metrics::gauge!(metric::DEDUP_WINDOW).set(gauges.dedup_since.map_or(0.0, |at| now.since(at).as_secs_f64()));
        metrics::gauge!(metric::ROUTER_BACKLOG).set(gauges.unrouted as f64);
        metrics::gauge!(metric::JOURNAL_BYTES).set(gauges.bytes as f64);
        metrics::gauge!(metric::JOURNAL_LOSSES).set(gauges.losses as f64);
        metrics::gauge!(metric::RUNS_UNREADABLE).set(gauges.unreadable as f64);
        metrics::gauge!(metric::JOURNAL_CARRIED).set(gauges.carried as f64);
        metrics::gauge!(metric::JOURNAL_OLDEST).set(gauges.oldest_event.map_or(0.0, |at| now.since(at).as_secs_f64()));
        metrics::gauge!(metric::RETENTION_HALTED).set(f64::from(u8::from(gauges.retention_halted)));
        // A rule whose last dead run was retried goes back to zero rather than staying as it was.
        for rule in &dead_before {
            if !gauges.dead.iter().any(|(name, _)| name == rule) {
                metrics::gauge!(metric::DEAD_LETTERS, "rule" => rule.to_string()).set(0.0);
            }
        }
        for (rule, count) in &gauges.dead {
            metrics::gauge!(metric::DEAD_LETTERS, "rule" => rule.to_string()).set(*count as f64);
        }
        dead_before = gauges.dead.into_iter().map(|(rule, _)| rule).collect();
        recorder.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_help_and_type_before_anything_happened() {
        let text = render(&PrometheusBuilder::new().build_recorder().handle());
        for one in metric::ALL {
            assert_eq!(text.matches(&format!("# HELP {} ", one.name)).count(), 1, "{}", one.name);
            assert_eq!(text.matches(&format!("# TYPE {} {}\n", one.name, one.kind.as_str())).count(), 1, "{}", one.name);
        }
    }
}
