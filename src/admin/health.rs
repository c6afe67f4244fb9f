//! Whether the daemon lives and whether it can keep what it is given. Never a matter of targets: a target that is down
//! is no reason to send deliveries elsewhere.

use hyper::StatusCode;
use serde_json::{Value, json};

use crate::journal::Health;
use crate::time::Timestamp;

/// The answer of `/readyz`: what the journal says (`None` while it is being opened) and whether rules are in force.
/// `refused` is when a reload was refused last: the old rules stay, so that is a note and no reason.
pub(super) fn readiness(journal: Option<&Health>, rules: bool, refused: Option<Timestamp>) -> (StatusCode, Value) {
    let mut reasons = Vec::new();
    let mut because = |code: &str, message: &str| reasons.push(json!({"code": code, "message": message}));
    match journal {
        None => because("recovering", "the store is being opened; deliveries are taken and held meanwhile"),
        Some(Health::Full(message)) => because("full", message),
        Some(Health::Failed(message)) => because("failed", message),
        Some(Health::Good) => {}
    }
    if !rules {
        because("rules", "the rules are not loaded yet");
    }
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = json!({"ready": reasons.is_empty(), "reasons": reasons});
    if let Some(at) = refused {
        let message = format!("a reload was refused at {at}; the old rules stay in force, the log and /api/v1/rules say why");
        answer["notes"] = json!([{"code": "reload-refused", "message": message}]);
    }
    (status, answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_says_why_not() {
        let codes = |journal: Option<&Health>, rules| {
            let (status, answer) = readiness(journal, rules, None);
            let codes: Vec<_> = answer["reasons"].as_array().expect("a list").iter().map(|r| r["code"].clone()).collect();
            assert_eq!(answer["ready"], codes.is_empty());
            (status.as_u16(), codes)
        };
        assert_eq!(codes(Some(&Health::Good), true), (200, vec![]));
        assert_eq!(codes(Some(&Health::Good), false), (503, vec!["rules".into()]));
        assert_eq!(codes(None, false), (503, vec!["recovering".into(), "rules".into()]));
        assert_eq!(codes(Some(&Health::Full("no space".into())), true), (503, vec!["full".into()]));
        assert_eq!(codes(Some(&Health::Failed("fsync".into())), true), (503, vec!["failed".into()]));
    }
}
