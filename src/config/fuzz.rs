//! Any text is a configuration or is refused with places.

use std::path::Path;

use crate::config::load;
use crate::config::world::FakeWorld;
use crate::event::fuzz::{near_text, over_inputs};
use crate::yaml::fuzz::places_are_inside;

const SEEDS: &[&str] = &[
    "listen: 0.0.0.0:8080\nadmin: unix:run/admin.sock\nadmin_token: {file: token}\nstate: ./state\nrules: [rules/, one.yaml]\nlimits: {body: 1MiB, in_flight: 2MiB, connections: 50, header_timeout: 2s}\negress:\n  allow: [10.0.0.0/8, files.corp]\nlog: {format: json, level: info}\nvars: {a: [1, 2]}\n",
    "orchestrators:\n  prod:\n    url: https://cloud.uipath.com/acme/t/orchestrator_\n    auth: {client_credentials: {client_id: id, client_secret: {env: S}, scope: OR.Queues}}\n    folder: {id: 7}\nsources:\n  hook:\n    webhook: {orchestrator: prod, secrets: [{env: H}, plain-text-secret-1], allow_from: [20.0.0.0/8], trusted_proxies: 1}\n",
    "sources:\n  lab:\n    webhook: {insecure_unsigned: true, path: /hooks/lab}\nretention: {age: 30d, size: 10GiB}\n",
];

#[test]
fn any_text_is_a_configuration_or_is_refused() {
    over_inputs!(|input: &[u8]| {
        let text = near_text(SEEDS, input);
        let world = FakeWorld::new().with_file("/etc/t/tripline.yaml", &text).with_var("S", "0123456789abcdef0");
        let (config, faults) = load(Path::new("/etc/t/tripline.yaml"), &world);
        assert_eq!(config.is_none(), faults.any_error());
        places_are_inside(&faults);
        if let Some(config) = config {
            assert!(!format!("{config:?}").contains("0123456789abcdef0"), "a secret in a debug form");
        }
    });
}
