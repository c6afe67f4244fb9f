//! `tripline demo`, as a new user runs it.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// For a whole story; it takes seconds on a machine that does nothing else.
const STORY: Duration = Duration::from_secs(200);

fn demo(arguments: &[&str]) -> Child {
    demo_in(Path::new(env!("CARGO_MANIFEST_DIR")), arguments)
}

fn demo_in(folder: &Path, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tripline"))
        .arg("demo")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the demo starts")
}

async fn told(child: Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(STORY, child.wait_with_output()).await.expect("the story ends").expect("it is read");
    (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_ends_with_zero_once_every_effect_was_observed() {
    let (code, text) = told(demo(&["--once"])).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("yes  ")).count(), 12, "{text}");
    assert!(!text.contains("not observed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_alone_tells_the_story_too() {
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (code, text) = told(demo_in(elsewhere.path(), &["--once"])).await;
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_rules_the_story_ends_with_one_and_says_why() {
    let (code, text) = told(demo(&["--once", "--rules", "rules/there-is-none.yaml"])).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("not observed:") && text.contains("rules/there-is-none.yaml"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_takes_the_daemon_and_its_folder_along() {
    let mut child = demo(&[]);
    let pid = child.id().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (mut daemon, mut folder) = (String::new(), String::new());
    let reading = async {
        while let Some(line) = lines.next_line().await.expect("text") {
            if let Some((_, rest)) = line.split_once("pid ") {
                daemon = rest.chars().take_while(char::is_ascii_digit).collect();
            }
            if let Some((_, config)) = line.split_once("-c ") {
                folder = config.trim().trim_end_matches("/tripline.yaml").to_owned();
            }
            if line.contains("Ctrl-C ends it") {
                break;
            }
        }
    };
    tokio::time::timeout(STORY, reading).await.expect("the story is told");
    assert!(Path::new("/proc").join(&daemon).exists(), "the daemon `{daemon}` runs while one looks around");
    assert!(Path::new(&folder).exists(), "`{folder}` is there meanwhile");
    let interrupted = Command::new("kill").args(["-INT", &pid.to_string()]).status().await.expect("kill runs");
    assert!(interrupted.success());
    let status = tokio::time::timeout(STORY, child.wait()).await.expect("it ends").expect("its status");
    assert_eq!(status.code(), Some(0));
    assert!(!Path::new(&folder).exists(), "its folder is gone");
    crate::support::until("the daemon gone", async || (!Path::new("/proc").join(&daemon).exists()).then_some(())).await;
}
