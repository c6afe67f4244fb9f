//! Test reports in JUnit's XML, which CI systems read: a suite for each rule.

use crate::rules::TestReport;

/// The report. `place` says where a rule stands, as `file:line`.
pub(super) fn report(reports: &[TestReport], place: impl Fn(&str) -> Option<String>) -> String {
    let failures = |reports: &[&TestReport]| reports.iter().filter(|report| !report.passed).count();
    let all: Vec<&TestReport> = reports.iter().collect();
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    text.push_str(&format!("<testsuites name=\"tripline\" tests=\"{}\" failures=\"{}\" errors=\"0\">\n", all.len(), failures(&all)));
    let mut suites: Vec<(&str, Vec<&TestReport>)> = Vec::new();
    for report in reports {
        match suites.iter_mut().find(|(rule, _)| *rule == &*report.rule) {
            Some((_, suite)) => suite.push(report),
            None => suites.push((&report.rule, vec![report])),
        }
    }
    for (rule, suite) in suites {
        let file = place(rule).and_then(|place| place.rsplit_once(':').map(|(file, _)| file.to_owned())).unwrap_or_default();
        text.push_str(&format!(
            "  <testsuite name=\"{}\" file=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\">\n",
            escaped(rule),
            escaped(&file),
            suite.len(),
            failures(&suite)
        ));
        for report in suite {
            text.push_str(&case(report, &file));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn case(report: &TestReport, file: &str) -> String {
    let head =
        format!("    <testcase name=\"{}\" classname=\"{}\" file=\"{}\"", escaped(&report.name), escaped(&report.rule), escaped(file));
    match &report.why {
        None => format!("{head}/>\n"),
        Some(why) => {
            let first = why.lines().next().unwrap_or_default();
            format!("{head}>\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n", escaped(first), escaped(why))
        }
    }
}

/// A text for XML 1.0: what it cannot hold becomes the replacement character.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rule: &str, name: &str, why: Option<&str>) -> TestReport {
        TestReport { rule: rule.into(), name: name.to_owned(), passed: why.is_none(), why: why.map(str::to_owned) }
    }

    #[test]
    fn each_rule_is_a_suite_and_nothing_breaks_the_xml() {
        let reports = [of("a", "one", None), of("b", "x < \"y\" & \u{1b}", Some("first <line>\nsecond")), of("a", "two", None)];
        let text = report(&reports, |rule| (rule == "a").then(|| "rules/a&b.yaml:7".to_owned()));
        for expected in [
            "<testsuites name=\"tripline\" tests=\"3\" failures=\"1\" errors=\"0\">",
            "<testsuite name=\"a\" file=\"rules/a&amp;b.yaml\" tests=\"2\" failures=\"0\" errors=\"0\">",
            "<testcase name=\"one\" classname=\"a\" file=\"rules/a&amp;b.yaml\"/>",
            "<testcase name=\"x &lt; &quot;y&quot; &amp; \u{fffd}\" classname=\"b\" file=\"\">",
            "<failure message=\"first &lt;line&gt;\">first &lt;line&gt;\nsecond</failure>",
        ] {
            assert!(text.contains(expected), "{expected} in\n{text}");
        }
        assert_eq!(text.matches("<testsuite ").count(), 2);
    }
}
