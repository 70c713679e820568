#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::*;
use crate::receives::Receive;
use crate::receives::Receives;

/// A program in the place of git, in a group of its own as git is.
fn program(script: &str, receive: Option<Receive>, repository: &Path) -> Served {
    let child = tokio::process::Command::new("python3")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    // A busy machine may need a second to start Python.
    let limits = GitLimits {
        receive: Duration::from_millis(1500),
        idle: Duration::from_secs(4),
        ..GitLimits::default()
    };
    Served::new(child, repository, receive, limits)
}

async fn bounded(work: impl Future<Output = io::Result<ExitStatus>>) -> ExitStatus {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .unwrap()
        .unwrap()
}

#[tokio::test]
async fn an_input_that_stays_open_does_not_hold_the_end_up() {
    let script =
        "import sys; print(sys.stdin.readline(), end=''); print('e', file=sys.stderr); exit(3)";
    let child = program(script, None, Path::new("/none"));
    let (mut ours, theirs) = tokio::io::duplex(64);
    ours.write_all(b"uno\n").await.unwrap();
    let (out, mut taken) = mpsc::channel(PIECES);
    let (err, mut errors) = mpsc::channel(PIECES);
    let err = Some(err);
    let status = bounded(exchange(child, theirs, u64::MAX, Outputs { out, err })).await;
    assert_eq!(status.code(), Some(3));
    assert_eq!(taken.recv().await.unwrap(), "uno\n");
    assert_eq!(errors.recv().await.unwrap(), "e\n");
    drop(ours);
}

#[tokio::test]
async fn without_a_client_a_push_ends_as_it_would_have() {
    // More than a pipe holds, on both outputs.
    let script = "import sys; [f.write('x' * 300000) for f in (sys.stdout, sys.stderr)]; exit(5)";
    let receive = Receives::default().begin(Path::new("/none"));
    let mut child = program(script, Some(receive), Path::new("/none"));
    child.limits.receive = Duration::from_secs(60);
    let (out, taken) = mpsc::channel(PIECES);
    drop(taken);
    let outputs = Outputs { out, err: None };
    let status = bounded(exchange(child, tokio::io::empty(), 1, outputs)).await;
    assert_eq!(status.code(), Some(5));
}

#[tokio::test]
async fn without_a_client_a_fetch_is_ended() {
    let script = "import sys\nwhile True: sys.stdout.write('x' * 300000)";
    let child = program(script, None, Path::new("/none"));
    let (out, taken) = mpsc::channel(PIECES);
    drop(taken);
    let outputs = Outputs { out, err: None };
    let status = bounded(exchange(child, tokio::io::empty(), 1, outputs)).await;
    assert!(status.signal().is_some(), "{status}");
}

/// Starts a child of its own and waits for ever; the child's id comes first.
const FAMILY: &str = "import subprocess, time
child = subprocess.Popen(['sleep', '1000'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print('process %d.' % child.pid, flush=True)
time.sleep(1000)";

fn runs(id: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.starts_with(" Z") && !rest.is_empty())
}

#[tokio::test]
async fn a_silent_client_ends_git_and_all_it_started_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let left = folder.path().join("objects/tmp_objdir-incoming-aB3xYz");
    std::fs::create_dir_all(&left).unwrap();
    let receives = Receives::default();
    let receive = receives.begin(folder.path());
    let mut child = program(FAMILY, Some(receive), folder.path());
    child.limits.receive = Duration::from_secs(60);
    let (ours, theirs) = tokio::io::duplex(64);
    let (out, mut taken) = mpsc::channel(PIECES);
    let outputs = Outputs { out, err: None };
    let began = Instant::now();
    let status = bounded(exchange(child, theirs, u64::MAX, outputs)).await;
    assert_eq!(status.signal(), Some(15));
    assert!(began.elapsed() < Duration::from_secs(10));
    let mut all = Vec::new();
    while let Some(piece) = taken.recv().await {
        all.extend_from_slice(&piece);
    }
    let all = String::from_utf8(all).unwrap();
    let (id, words) = all.split_once(".\n").unwrap();
    let id = &id["process ".len()..];
    assert!(
        words[4..].starts_with("\u{3}nothing came or went for 4.0 s"),
        "{words}"
    );
    let length = usize::from_str_radix(&words[..4], 16).unwrap();
    assert_eq!(length, words.len());
    let deadline = Instant::now() + Duration::from_secs(5);
    while runs(id) {
        assert!(Instant::now() < deadline, "the child of git goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!left.exists());
    assert!(receives.begin_alone(folder.path()).is_some());
    drop(ours);
}

#[tokio::test]
async fn a_push_that_drips_has_a_limit_until_it_is_whole() {
    for whole in [false, true] {
        let receives = Receives::default();
        let receive = receives.begin(Path::new("/none"));
        let id = receive.id();
        // Ends with its input, as git does.
        let child = program(
            "import sys; sys.stdin.read()",
            Some(receive),
            Path::new("/none"),
        );
        let (mut ours, theirs) = tokio::io::duplex(64);
        let drip = async {
            for _ in 0..25 {
                if whole {
                    receives.is_whole(id);
                }
                let _ = ours.write_all(b".").await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            drop(ours);
        };
        let (out, mut taken) = mpsc::channel(PIECES);
        let outputs = Outputs { out, err: None };
        let (status, ()) = tokio::join!(bounded(exchange(child, theirs, u64::MAX, outputs)), drip);
        assert_eq!(status.success(), whole, "{status}");
        let words = taken.recv().await;
        assert_eq!(words.is_none(), whole, "{words:?}");
        if let Some(words) = words {
            assert!(String::from_utf8_lossy(&words).contains("not here within 1.5 s"));
        }
    }
}

#[tokio::test]
async fn a_git_that_says_nothing_but_on_its_error_output_is_heard() {
    let script = "import sys; print('fatal: protocol error: bad line', file=sys.stderr); exit(128)";
    let child = program(script, None, Path::new("/none"));
    let (out, mut taken) = mpsc::channel(PIECES);
    let outputs = Outputs { out, err: None };
    let status = bounded(exchange(child, tokio::io::empty(), 1, outputs)).await;
    assert_eq!(status.code(), Some(128));
    let words = taken.recv().await.unwrap();
    assert_eq!(words, "0027ERR fatal: protocol error: bad line");
}

#[tokio::test]
async fn over_ssh_a_push_may_begin_late_but_not_stop() {
    for stops in [false, true] {
        let receive = Receives::default().begin(Path::new("/none"));
        let script = "import sys; sys.stdin.readline(); sys.stdin.readline()";
        let mut child = program(script, Some(receive), Path::new("/none"));
        child.limits.receive = Duration::from_secs(60);
        child.limits.idle = Duration::from_millis(300);
        let (mut ours, theirs) = tokio::io::duplex(64);
        let (out, _taken) = mpsc::channel(PIECES);
        let (err, mut errors) = mpsc::channel(PIECES);
        let err = Some(err);
        let late = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = ours.write_all(b"one\n").await;
            if !stops {
                let _ = ours.write_all(b"two\n").await;
            }
        };
        let work = exchange(child, theirs, u64::MAX, Outputs { out, err });
        let (status, ()) = tokio::join!(bounded(work), late);
        let said = errors.recv().await.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(said.starts_with("nothing came"), stops, "{status} {said}");
    }
}

#[tokio::test]
async fn a_third_push_waits_until_one_is_here_and_says_so() {
    let receives = Receives::default();
    let (first, second) = (
        receives.begin(Path::new("/one")),
        receives.begin(Path::new("/two")),
    );
    assert!(first.take_turn_now() && second.take_turn_now());
    let third = receives.begin(Path::new("/three"));
    let script = "import sys; sys.stdout.write(sys.stdin.read())";
    let child = program(script, Some(third), Path::new("/three"));
    let (out, mut taken) = mpsc::channel(PIECES);
    let (err, mut errors) = mpsc::channel(PIECES);
    let err = Some(err);
    let work = exchange(child, &b"uno"[..], u64::MAX, Outputs { out, err });
    let others = async {
        assert_eq!(
            errors.recv().await.unwrap(),
            "waiting: other pushes are arriving\n"
        );
        assert!(taken.try_recv().is_err());
        // Its hook waits for a deployment now, so it is no more among those that arrive.
        receives.is_whole(first.id());
        assert_eq!(taken.recv().await.unwrap(), "uno");
    };
    let (status, ()) = tokio::join!(bounded(work), others);
    assert!(status.success());
    assert!(receives.begin(Path::new("/four")).take_turn_now());
}
