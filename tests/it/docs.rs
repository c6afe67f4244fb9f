//! The examples of the documentation, through the real binary: what people copy passes `check` and `test`.

use std::path::Path;

use crate::support::Folder;

/// Knows the names that the examples use.
const CONFIG: &str = "\
listen: 127.0.0.1:0
admin: 127.0.0.1:0
vars: {review_queue: Invoices-Review, alerts: https://alerts.example.com, ledger: https://ledger.example.com}
orchestrators:
  prod:
    url: https://cloud.uipath.com/acme/DefaultTenant/orchestrator_
    edition: cloud
    auth: {token: {env: TOKEN}}
    folder: Finance
sources:
  prod-hook: {webhook: {orchestrator: prod, secrets: [{env: SECRET}]}}
  github: {webhook: {scheme: github, secrets: [{env: GITHUB_SECRET}]}}
  prod-poll: {poll: {orchestrator: prod, kind: queue_items, reconciles: prod-hook}}
";

/// Long enough for any secret, and none.
const SECRET: &str = "not-a-secret-but-long-enough-0123456789";

/// What a block of YAML is.
#[derive(Debug)]
pub(crate) enum Block {
    /// One or more whole rules.
    Rules(String),
    /// Some keys of a rule: completed to one.
    Fragment(String),
    /// Keys of `tripline.yaml`.
    Config(String),
}

/// The ```yaml blocks of a page, each with the line it begins in.
pub(crate) fn blocks(page: &str) -> Vec<(usize, Block)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{page}: {error}"));
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            None if line.trim_end() == "```yaml" => open = Some((number, String::new())),
            None => {}
            Some((begin, block)) if line.trim_end() == "```" => {
                found.push((*begin, kind(block, page, *begin)));
                open = None;
            }
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
        }
    }
    assert!(open.is_none(), "{page}: a block is not closed");
    found
}

fn kind(block: &str, page: &str, line: usize) -> Block {
    const OF_RULES: &[&str] = &["events", "queues", "match", "when", "retry", "steps", "tests"];
    const OF_CONFIG: &[&str] = &["listen", "admin", "public_url", "retention", "limits", "orchestrators", "sources", "vars", "egress"];
    let first = block.lines().find(|line| !line.starts_with('#')).unwrap_or_default();
    let key = first.split(':').next().unwrap_or_default();
    match key {
        "rule" => Block::Rules(block.to_owned()),
        key if OF_RULES.contains(&key) => {
            let has = |key: &str| block.lines().any(|line| line.starts_with(key));
            let mut rule = format!("rule: line-{line}\n{block}");
            if !has("events:") {
                rule.push_str("events: queueItem.added\n");
            }
            if !has("steps:") {
                rule.push_str("steps: [{emit: {type: acme.seen}}]\n");
            }
            Block::Fragment(rule)
        }
        key if OF_CONFIG.contains(&key) => Block::Config(block.to_owned()),
        other => panic!("{page}:{line}: a block that begins with `{other}` is neither a rule nor a configuration; call it ```text"),
    }
}

/// Runs a command in `folder`, which must succeed; warnings must be among `expected`.
fn succeeds(folder: &Folder, arguments: &[&str], page: &str, expected: &[&str]) -> String {
    let mut command = folder.command(arguments);
    for name in [
        "TOKEN",
        "SECRET",
        "UIPATH_SECRET",
        "HOOK_SECRET",
        "HOOK_SECRET_OLD",
        "GITHUB_SECRET",
        "STRIPE_SECRET",
        "SLACK_SECRET",
        "SHOPIFY_SECRET",
        "ELEMENTS_SECRET",
        "SHOP_SECRET",
    ] {
        // Each of its own: equal secrets are a fault.
        command.env(name, format!("{SECRET}-{name}"));
    }
    command.env("CRM_SECRET", "whsec_bm90LWEtc2VjcmV0LWJ1dC1sb25nLWVub3VnaA==");
    let output = command.output().expect("runs");
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let warned = said.lines().filter_map(|line| line.split_once("warning[")?.1.split_once(']')).map(|(code, _)| code);
    let unexpected: Vec<_> = warned.filter(|code| !expected.contains(code)).collect();
    assert!(output.status.success() && unexpected.is_empty(), "{page}: {arguments:?}: {unexpected:?}\n{said}{complained}");
    said.into_owned()
}

#[test]
fn rules_of_the_documentation_pass_check_and_test() {
    for page in ["README.md", "docs/rules.md", "docs/steps.md", "docs/webhooks.md", "docs/other-services.md"] {
        let folder = Folder::new("http://127.0.0.1:9");
        folder.write("tripline.yaml", CONFIG);
        let mut tested = 0;
        for (line, block) in blocks(page) {
            let (Block::Rules(text) | Block::Fragment(text)) = &block else { continue };
            tested += usize::from(matches!(block, Block::Rules(_)));
            folder.rule(&format!("line-{line}"), text);
        }
        assert!(tested > 0, "{page} shows a rule");
        succeeds(&folder, &["check"], page, &[]);
        let said = succeeds(&folder, &["test"], page, &[]);
        assert!(said.contains(" 0 failed") && !said.starts_with("0 passed"), "{page}: {said}");
    }
}

#[test]
fn configurations_of_the_documentation_pass_check() {
    let mut found = 0;
    for page in [
        "README.md",
        "docs/setup.md",
        "docs/polling.md",
        "docs/webhooks.md",
        "docs/watching.md",
        "docs/other-services.md",
        "docs/sandbox.md",
        "docs/operating.md",
        "docs/security.md",
    ] {
        for (line, block) in blocks(page) {
            let Block::Config(text) = block else { continue };
            found += 1;
            let folder = Folder::new("http://127.0.0.1:9");
            folder.write("tripline.yaml", &text);
            folder.write("more-rules.yaml", "rule: more\nevents: job.faulted\nsteps: [{emit: {type: acme.more}}]\n");
            folder.rule("any", "rule: any\nevents: job.faulted\nsteps: [{emit: {type: acme.seen}}]\n");
            std::fs::create_dir(folder.path("secrets")).expect("a folder");
            folder.write("secrets/webhook", SECRET);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(folder.path("secrets/webhook"), mode).expect("set");
            // What the text beside the example warns of is warned of here too; an example may be a part of a file.
            succeeds(&folder, &["check"], &format!("{page}:{line}"), &["unsigned", "no-poll", "no-sources"]);
        }
    }
    assert!(found > 0, "the documentation shows a configuration");
}

#[test]
fn every_page_is_reached_from_the_readme_and_every_setting_from_the_setup() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |page: &str| std::fs::read_to_string(root.join(page)).expect("a page");
    let readme = read("README.md");
    for page in std::fs::read_dir(root.join("docs")).expect("the pages").flatten() {
        let link = format!("](docs/{})", page.file_name().to_string_lossy());
        assert!(readme.contains(&link), "README.md has no link `{link}`");
    }
    let schema = Folder::new("http://127.0.0.1:9").output(&["schema", "config"]).stdout;
    let schema: serde_json::Value = serde_json::from_slice(&schema).expect("json");
    let setup = read("docs/setup.md");
    for key in schema["properties"].as_object().expect("keys").keys() {
        assert!(setup.contains(&format!("`{key}`")) || setup.contains(&format!("`{key}.")), "docs/setup.md does not tell of `{key}`");
    }
}
