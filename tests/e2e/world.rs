//! A server for one test, and everything it made gone at the end.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub const BINARY: &str = env!("CARGO_BIN_EXE_zarpar");

pub struct World {
    pub folder: tempfile::TempDir,
    pub run: String,
    pub http: u16,
    pub https: u16,
    pub console: u16,
    pub serve: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Waits for a state, at most `seconds`.
#[track_caller]
pub fn until<T>(what: &str, seconds: u64, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_secs(seconds),
            "waited {seconds} s in vain for {what}"
        );
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

pub fn docker(words: &[&str]) -> String {
    let output = Command::new("docker")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl World {
    /// A folder and ports, nothing started.
    pub fn bare() -> World {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("zarpar-e2e-")
            .tempdir()
            .unwrap();
        let run = folder
            .path()
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let world = World {
            http: free_port(),
            https: free_port(),
            console: free_port(),
            serve: None,
            run,
            folder,
            _turn: turn,
        };
        fs::write(
            world.config(),
            format!(
                "[engine]\nlabels = {{ \"zarpar.test\" = \"{}\" }}\n",
                world.run
            ),
        )
        .unwrap();
        world
    }

    /// A server that answers.
    pub fn start() -> World {
        let mut world = World::bare();
        world.serve();
        world
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("zarpar.toml")
    }

    pub fn server_command(&self, word: &str) -> Command {
        self.command_of(Path::new(BINARY), word)
    }

    fn command_of(&self, binary: &Path, word: &str) -> Command {
        let mut command = Command::new(binary);
        command
            .arg(word)
            .arg("--config")
            .arg(self.config())
            .arg("--data")
            .arg(self.data());
        command
            .arg("--http")
            .arg(format!("127.0.0.1:{}", self.http))
            .arg("--https")
            .arg(format!("127.0.0.1:{}", self.https));
        if word == "serve" {
            command
                .arg("--console")
                .arg(format!("127.0.0.1:{}", self.console));
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())
            .unwrap();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    pub fn log(&self) -> PathBuf {
        self.folder.path().join("serve.log")
    }

    pub fn serve(&mut self) {
        self.serve_from(Path::new(BINARY));
    }

    /// Starts the control plane from this file.
    pub fn serve_from(&mut self, binary: &Path) {
        let mut child = self.command_of(binary, "serve").spawn().unwrap();
        until("the console to answer", 60, || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!(
                    "serve ended with {status}: {}",
                    fs::read_to_string(self.log()).unwrap()
                );
            }
            http::get(self.console, "localhost", "/healthz")
                .ok()
                .filter(|answer| answer.status == 200)
        });
        self.serve = Some(child);
    }

    /// `kill -9`.
    pub fn kill_serve(&mut self) {
        let mut child = self.serve.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn serve_pid(&self) -> u32 {
        self.serve.as_ref().unwrap().id()
    }

    pub fn edge_pid(&self) -> Option<u32> {
        fs::read_to_string(self.data().join("run/router.lock"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub fn kill_edge(&self) {
        if let Some(pid) = self.edge_pid() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
            // Another one may be there before anybody could see that nobody answers.
            until("the edge to be gone", 10, || {
                (!is_edge(pid, &self.data())).then_some(())
            });
        }
    }

    pub fn cli(&self, words: &[&str]) -> Output {
        Command::new(BINARY)
            .args(words)
            .env("ZARPAR_DATA", self.data())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// A command that must succeed; its standard output.
    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.cli(words);
        assert!(
            output.status.success(),
            "zarpar {words:?}: {}\n{}",
            text(&output),
            fs::read_to_string(self.log()).unwrap_or_default()
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        serde_json::from_str(&self.ok(words)).unwrap()
    }

    /// An app with a token that opens it alone; the remote's address.
    #[track_caller]
    pub fn app(&self, name: &str, options: &[&str]) -> String {
        self.ok(&[&["apps", "create", name], options].concat());
        let token = self.ok(&["tokens", "create", &format!("{name}-token"), "--app", name]);
        self.remote(token.trim(), name)
    }

    pub fn remote(&self, token: &str, app: &str) -> String {
        format!("http://{token}@127.0.0.1:{}/git/{app}.git", self.console)
    }

    /// What visitors of `host` see at `path`.
    #[track_caller]
    pub fn get(&self, host: &str, path: &str) -> http::Answer {
        http::get(self.http, host, path).unwrap()
    }

    /// The newest deployment's state.
    pub fn newest(&self, app: &str) -> Value {
        self.json(&["deployments", app, "--json"])[0].clone()
    }

    /// Everything of this test in Docker, and every file and folder of builds and static sets,
    /// for "nothing left behind". Without logs and the store, which are meant to stay.
    pub fn inventory(&self) -> Vec<String> {
        let filter = format!("label=zarpar.test={}", self.run);
        let mut all = Vec::new();
        for (kind, list) in [
            ("container", ["ps", "-aq", "--no-trunc"].as_slice()),
            ("image", &["images", "-aq", "--no-trunc"]),
            ("network", &["network", "ls", "-q", "--no-trunc"]),
            ("volume", &["volume", "ls", "-q"]),
        ] {
            let listed = docker(&[list, &["--filter", &filter]].concat());
            all.extend(listed.lines().map(|id| format!("{kind} {id}")));
        }
        let mut folders = vec![self.data().join("static"), self.data().join("work")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                // A compressed variant comes a moment after its file, and belongs to it.
                if path.extension().is_some() && path.with_extension("").is_file() {
                    continue;
                }
                all.push(path.display().to_string());
                if path.is_dir() {
                    folders.push(path);
                }
            }
        }
        all.sort();
        all
    }

    /// Waits until only the live release's web container is left of `app`, and no container of
    /// release tasks.
    #[track_caller]
    pub fn settled(&self, app: &str) {
        let tasks = [
            "ps",
            "-aq",
            "--filter",
            &format!("label=zarpar.test={}", self.run),
            "--filter",
            "label=zarpar.process=release",
        ];
        until("the old release to be retired", 60, || {
            let processes = self.json(&["ps", app, "--json"]);
            let web = processes.as_array().unwrap().iter();
            (docker(&tasks).trim().is_empty()
                && web.filter(|process| process["process"] == "web").count() == 1
                && self
                    .json(&["releases", app, "--json"])
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|release| release["state"] != "draining"))
            .then_some(())
        });
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut child) = self.serve.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(pid) = self.edge_pid().filter(|pid| is_edge(*pid, &self.data())) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        if std::thread::panicking() {
            eprintln!(
                "--- serve.log\n{}",
                fs::read_to_string(self.log()).unwrap_or_default()
            );
        }
        let filter = format!("label=zarpar.test={}", self.run);
        let remove = |list: &[&str], remove: &[&str]| {
            let listed = docker(&[list, &["--filter", &filter]].concat());
            let found: Vec<&str> = listed.lines().collect();
            if !found.is_empty() {
                docker(&[remove, &found].concat());
            }
        };
        remove(&["ps", "-aq"], &["rm", "-fv"]);
        remove(&["network", "ls", "-q"], &["network", "rm"]);
        remove(&["volume", "ls", "-q"], &["volume", "rm", "-f"]);
        remove(&["images", "-aq"], &["rmi", "-f"]);
    }
}

/// Process ids are used again; only our edge is ended.
fn is_edge(pid: u32, data: &Path) -> bool {
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| String::from_utf8_lossy(&line).contains(data.to_str().unwrap()))
}
