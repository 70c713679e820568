//! Work trees to push: the example site, and a tiny server that builds in a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::world::World;

pub struct Project {
    pub folder: PathBuf,
}

/// Answers its VERSION, on the port zarpar says. `{start}` and `{answer}` are for failures.
const SERVER: &str = r#"import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *arguments: os._exit(0))
VERSION = open("VERSION").read().strip()
exec(open("start.py").read())
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = int(open("STATUS").read())
        body = (VERSION + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments): pass
http.server.ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Handler).serve_forever()
"#;

const DOCKERFILE: &str =
    "FROM python:3.13-slim\nWORKDIR /app\nCOPY . .\nUSER 10001\nCMD [\"python3\", \"server.py\"]\n";

impl Project {
    /// The example site in a repository of its own.
    pub fn example(world: &World, name: &str) -> Project {
        let project = Project {
            folder: world.path(name),
        };
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/django");
        assert!(
            Command::new("cp")
                .arg("-r")
                .arg(source)
                .arg(&project.folder)
                .status()
                .unwrap()
                .success()
        );
        project.git(&["init", "-q", "-b", "main"]);
        project.commit("first");
        project
    }

    /// The tiny server.
    pub fn tiny(world: &World, name: &str, version: &str) -> Project {
        let project = Project {
            folder: world.path(name),
        };
        fs::create_dir(&project.folder).unwrap();
        project.write("Dockerfile", DOCKERFILE);
        project.write("server.py", SERVER);
        project.write("start.py", "");
        project.write("STATUS", "200");
        project.write("VERSION", version);
        project.git(&["init", "-q", "-b", "main"]);
        project.commit(version);
        project
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[track_caller]
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.folder.join(path)).unwrap();
        assert!(text.contains(from), "`{from}` is not in {path}");
        self.write(path, &text.replace(from, to));
    }

    /// A file of so many bytes that do not compress.
    pub fn noise(&self, path: &str, size: usize) {
        let mut bytes = vec![0; size];
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for word in bytes.chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
        }
        fs::write(self.folder.join(path), bytes).unwrap();
    }

    pub fn git(&self, words: &[&str]) -> Output {
        Command::new("git")
            .args([
                "-c",
                "user.name=Prueba",
                "-c",
                "user.email=prueba@example.test",
            ])
            .args(words)
            .current_dir(&self.folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            // It would win over what a test trusts.
            .env_remove("GIT_SSL_CAINFO")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Commits everything and returns the commit.
    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        let output = self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(self.git(&["rev-parse", "HEAD"]).stdout)
            .unwrap()
            .trim()
            .to_owned()
    }

    /// A push that is under way, its lines to be read from standard error as they come.
    pub fn pushing(&self, remote: &str) -> Child {
        Command::new("git")
            .args(["push", remote, "main"])
            .current_dir(&self.folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    pub fn push(&self, remote: &str) -> Output {
        self.git(&["push", remote, "main"])
    }
}
