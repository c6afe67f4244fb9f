//! What no webhook brought is counted as well: by source, way and type, and apart from what was known.

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

#[test]
fn events_that_no_webhook_brought_are_counted_by_source_way_and_type() {
    let dir = state_dir();
    let journal = open(&dir);
    let recorder = PrometheusBuilder::new().build_recorder();
    let failed = Change {
        key: Key::exact("t|queueItem|1|queueItem.transactionFailed"),
        event_type: "queueItem.transactionFailed".into(),
        ..change(1)
    };
    metrics::with_local_recorder(&recorder, || {
        accept(&journal, Delivery { via: Via::Webhook, ..delivery(vec![change(9)]) });
        accept(&journal, Delivery { source: "queues".into(), ..delivery(vec![change(1), failed, change(2), change(9)]) });
        wait(
            journal
                .accept_late(Delivery { source: "queues".into(), via: Via::Backfill, ..delivery(vec![change(2), change(3)]) }, Vec::new()),
        )
        .expect("kept");
    });
    let told: Vec<String> =
        recorder.handle().render().lines().filter(|line| line.starts_with("tripline_events_")).map(str::to_owned).collect();
    let line =
        |via, event_type, count| format!("tripline_events_received_total{{source=\"queues\",via=\"{via}\",type=\"{event_type}\"}} {count}");
    let mut expected = vec![
        line("poll", "queueItem.added", 2),
        line("poll", "queueItem.transactionFailed", 1),
        line("backfill", "queueItem.added", 1),
        "tripline_events_folded_total{source=\"queues\"} 2".to_owned(),
    ];
    let mut told = told;
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "intake counts what a webhook brings");
}
