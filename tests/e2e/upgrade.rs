//! The real binary in the place of a running one, under load: nobody is refused, nobody is cut.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::http;
use crate::load::Load;
use crate::project::Project;
use crate::world::{BINARY, World, until};

const HOST: &str = "app.localhost";
const TIMES: usize = 10;

/// A visitor who asks without a pause on a connection that is kept as long as the edge keeps it,
/// and takes nothing but whole answers.
struct KeepAlive {
    over: Arc<AtomicBool>,
    answers: Arc<AtomicUsize>,
    thread: JoinHandle<Result<(), String>>,
}

impl KeepAlive {
    fn start(port: u16, path: &'static str) -> KeepAlive {
        let (over, answers) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let thread = {
            let (over, answers) = (over.clone(), answers.clone());
            std::thread::spawn(move || ask(port, path, &over, &answers))
        };
        KeepAlive {
            over,
            answers,
            thread,
        }
    }

    /// Waits for some more answers.
    fn go_on(&self) {
        let enough = self.answers.load(SeqCst) + 20;
        until("more answers on a kept connection", 20, || {
            (self.answers.load(SeqCst) >= enough || self.thread.is_finished()).then_some(())
        });
    }

    #[track_caller]
    fn assert_never_cut(self) {
        self.go_on();
        self.over.store(true, SeqCst);
        assert_eq!(self.thread.join().unwrap(), Ok(()));
    }
}

fn ask(port: u16, path: &str, over: &AtomicBool, answers: &AtomicUsize) -> Result<(), String> {
    let connect = || {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).map_err(|e| format!("connect: {e}"))?;
        stream
            .set_read_timeout(Some(Duration::from_secs(40)))
            .unwrap();
        Ok::<_, String>(stream)
    };
    let mut stream = connect()?;
    while !over.load(SeqCst) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .map_err(|e| format!("request: {e}"))?;
        let mut answer = Vec::new();
        // The answers asked for here end like this.
        while !answer.ends_with(b"\r\n\r\nhola") {
            let mut piece = [0; 4096];
            match stream.read(&mut piece) {
                Ok(0) => {
                    return Err(format!(
                        "ended after {:?}",
                        String::from_utf8_lossy(&answer)
                    ));
                }
                Ok(length) => answer.extend_from_slice(&piece[..length]),
                Err(error) => return Err(format!("answer: {error}")),
            }
        }
        let answer = String::from_utf8(answer).unwrap();
        if !answer.starts_with("HTTP/1.1 200 ") {
            return Err(answer);
        }
        answers.fetch_add(1, SeqCst);
        if answer.contains("\r\nconnection: close\r\n") {
            stream = connect()?;
        }
    }
    Ok(())
}

/// A table with one file for everybody.
fn table(world: &World) {
    let files = world.path("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("hola.txt"), "hola").unwrap();
    let route = json!({"app": "tienda", "hosts": [HOST], "targets": [],
        "media": {"url": "/files/", "root": files}});
    let table = json!({ "routes": [route] });
    fs::write(world.path("table.json"), table.to_string()).unwrap();
}

fn serves(world: &World, pid: u32) {
    until("the edge to serve", 20, || {
        (world.edge_pid() == Some(pid)).then_some(())
    });
    until("an answer", 20, || {
        http::get(world.http, HOST, "/files/hola.txt").ok()
    });
}

#[test]
fn ten_edges_in_a_row_take_over_by_the_control_socket() {
    let world = World::bare();
    table(&world);
    let start = || {
        let mut command = world.server_command("router");
        command
            .arg("--table")
            .arg(world.path("table.json"))
            .spawn()
            .unwrap()
    };
    let mut edge = start();
    serves(&world, edge.id());
    let kept = [(); 3].map(|()| KeepAlive::start(world.http, "/files/hola.txt"));
    let load = Load::start(world.http, HOST, "/files/hola.txt");
    for _ in 0..TIMES {
        kept.iter().for_each(KeepAlive::go_on);
        let next = start();
        serves(&world, next.id());
        assert_eq!(edge.wait().unwrap().code(), Some(0));
        edge = next;
    }
    load.stop().assert_nothing_dropped(&["hola"]);
    kept.into_iter().for_each(KeepAlive::assert_never_cut);
    edge.kill().unwrap();
    edge.wait().unwrap();
}

/// An edge that is given its listening sockets as by systemd: descriptors from 3 on, and two
/// variables (sd_listen_fds(3)).
fn activated(world: &World, sockets: &[TcpListener; 2]) -> Child {
    let log = fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(world.log())
        .unwrap();
    let [http, https] = sockets
        .each_ref()
        .map(|socket| Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Command::new("sh")
        .arg("-c")
        .arg("exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec \"$@\"")
        .args(["sh", BINARY, "router"])
        .arg("--data")
        .arg(world.data())
        // Systemd's socket decides where exactly; the port says which one it is.
        .args(["--http", &format!("0.0.0.0:{}", world.http)])
        .args(["--https", &format!("0.0.0.0:{}", world.https)])
        .arg("--table")
        .arg(world.path("table.json"))
        .stdin(http)
        .stdout(https)
        .stderr(log)
        .spawn()
        .unwrap()
}

#[test]
fn ten_restarts_on_sockets_of_systemd() {
    let world = World::bare();
    table(&world);
    let sockets =
        [world.http, world.https].map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let mut edge = activated(&world, &sockets);
    serves(&world, edge.id());
    let kept = [(); 3].map(|()| KeepAlive::start(world.http, "/files/hola.txt"));
    let load = Load::start(world.http, HOST, "/files/hola.txt");
    for _ in 0..TIMES {
        kept.iter().for_each(KeepAlive::go_on);
        // As `systemctl restart`: the old one ends, then the new one starts.
        Command::new("kill")
            .arg(edge.id().to_string())
            .status()
            .unwrap();
        assert_eq!(edge.wait().unwrap().code(), Some(0));
        edge = activated(&world, &sockets);
    }
    load.stop().assert_nothing_dropped(&["hola"]);
    kept.into_iter().for_each(KeepAlive::assert_never_cut);
    edge.kill().unwrap();
    edge.wait().unwrap();
}

#[test]
fn a_new_version_of_the_control_plane_brings_its_own_edge() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    assert!(project.push(&remote).status.success());
    let first = world.edge_pid().unwrap();

    world.kill_serve();
    world.serve();
    assert_eq!(
        world.edge_pid(),
        Some(first),
        "the same program leaves the edge alone"
    );
    world.kill_serve();

    // Another file is another version, whatever is in it.
    let newer = world.path("zarpar-next");
    fs::copy(BINARY, &newer).unwrap();
    let load = Load::start(world.http, HOST, "/");
    world.serve_from(&newer);
    let second = world.edge_pid().unwrap();
    assert_ne!(second, first);
    until("the old edge to be gone", 20, || {
        (!fs::exists(format!("/proc/{first}")).unwrap() || is_zombie(first)).then_some(())
    });
    // It takes tables and drains like any other.
    project.write("VERSION", "2");
    project.commit("2");
    assert!(project.push(&remote).status.success());
    load.stop().assert_nothing_dropped(&["1", "2"]);
    assert_eq!(world.edge_pid(), Some(second));
}

/// The test started the control plane that started it, and that one was killed; whoever inherits
/// it here may not reap it.
fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}
