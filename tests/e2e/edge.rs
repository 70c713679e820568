//! The edge of the real binary: certificates by command, a table written by hand.

use std::fs;
use std::process::{Child, Command};

use serde_json::json;

use crate::http;
use crate::project::Project;
use crate::world::{World, text, until};

const HOST: &str = "app.localhost";

/// Asks over TLS with the certificate `ca` as the only trusted one, as curl would: the answer's
/// status, one header and the body, a line each.
const VISIT: &str = r#"import http.client, socket, ssl, sys
port, ca = int(sys.argv[1]), sys.argv[2]
context = ssl.create_default_context(cafile=ca)
with socket.create_connection(("127.0.0.1", port), 10) as plain:
    with context.wrap_socket(plain, server_hostname="app.localhost") as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nHost: app.localhost\r\nConnection: close\r\n\r\n")
        answer = http.client.HTTPResponse(stream)
        answer.begin()
        print(answer.status, answer.headers["strict-transport-security"], answer.read().decode().strip())
"#;

pub fn visit(world: &World, ca: &str) -> String {
    let asked = Command::new("python3")
        .args(["-c", VISIT, &world.https.to_string()])
        .arg(world.path(ca))
        .output()
        .unwrap();
    text(&asked).trim().to_owned()
}

/// A certificate signed by itself in `NAME.pem`, its key in `NAME.key`.
pub fn certificate(world: &World, name: &str, host: &str) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
    let signed = params.self_signed(&key).unwrap();
    fs::write(world.path(&format!("{name}.pem")), signed.pem()).unwrap();
    fs::write(world.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
}

#[test]
fn a_certificate_of_ones_own_is_served_from_the_command_on() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let none = world.cli(&["certificates", "list"]);
    assert!(
        text(&none).contains("no certificates yet"),
        "{}",
        text(&none)
    );
    for name in ["good", "other"] {
        certificate(&world, name, HOST);
    }
    certificate(&world, "stranger", "stranger.test");
    let file = |name: &str| world.path(name).display().to_string();
    for (cert, key, says) in [
        (
            "good.pem",
            "other.key",
            "does not belong to the certificate",
        ),
        (
            "stranger.pem",
            "stranger.key",
            "for no host of the app (`app.localhost`)",
        ),
        ("good.pem", "good.pem", "expected a private key"),
        ("missing.pem", "good.key", "cannot read"),
    ] {
        let refused = world.cli(&["certificates", "add", "app", &file(cert), &file(key)]);
        let shown = text(&refused);
        assert_eq!(refused.status.code(), Some(1), "{shown}");
        assert!(shown.contains(says), "`{says}` is missing in: {shown}");
    }
    assert_eq!(world.get(HOST, "/").status, 200, "still without TLS");
    let shown = world.ok(&[
        "certificates",
        "add",
        "app",
        &file("good.pem"),
        &file("good.key"),
    ]);
    assert!(
        shown.contains("app.localhost is served with TLS until"),
        "{shown}"
    );
    assert_eq!(visit(&world, "good.pem"), "200 max-age=31536000 1");
    let plain = world.get(HOST, "/page");
    let there = format!("https://app.localhost:{}/page", world.https);
    assert_eq!(
        (plain.status, plain.header("location")),
        (301, Some(there.as_str()))
    );
    let listed = world.json(&["certificates", "list", "--json"]);
    assert_eq!(listed[0]["names"], json!([HOST]));
    assert_eq!(listed[0]["source"], "own");

    world.ok(&["maintenance", "on", "app"]);
    assert_eq!(visit(&world, "good.pem").split(' ').next(), Some("503"));
    world.ok(&["maintenance", "off", "app"]);

    project.write("VERSION", "2");
    project.commit("2");
    let shown = text(&project.push(&remote));
    let url = format!("https://app.localhost:{}", world.https);
    assert!(shown.contains(&format!("v2 is live: {url}")), "{shown}");
    assert_eq!(
        world.json(&["apps", "info", "app", "--json"])["url"],
        url.as_str()
    );
    let env = world.ok(&[
        "run",
        "app",
        "--",
        "sh",
        "-c",
        "echo $SITE_URL $CSRF_TRUSTED_ORIGINS",
    ]);
    let http = format!("http://app.localhost:{}", world.http);
    assert_eq!(
        env.trim(),
        format!("{url} https://app.localhost,{http},{url}")
    );

    // Neither the control plane's death nor the edge's own matters.
    world.kill_serve();
    assert_eq!(visit(&world, "good.pem"), "200 max-age=31536000 2");
    world.serve();
    world.kill_edge();
    until("a new edge with the certificate", 20, || {
        (visit(&world, "good.pem") == "200 max-age=31536000 2").then_some(())
    });
    world.ok(&["certificates", "remove", HOST]);
    assert_eq!(world.get(HOST, "/").status, 200);
    assert!(!visit(&world, "good.pem").contains("200"));
}

/// A process of the test, ended with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_table_written_by_hand_is_served_without_a_control_plane() {
    let world = World::bare();
    let files = world.path("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("hola.txt"), "hola").unwrap();
    let table = world.path("table.json");
    let start = |text: &str| {
        fs::write(&table, text).unwrap();
        world
            .server_command("router")
            .arg("--table")
            .arg(&table)
            .spawn()
            .unwrap()
    };
    let mut wrong = start("{\"routes\": [{\"app\": \"A\"}]}");
    assert_eq!(wrong.wait().unwrap().code(), Some(64));
    let log = fs::read_to_string(world.log()).unwrap();
    assert!(
        log.contains("table.json` is wrong") && log.contains("line 1"),
        "{log}"
    );

    let route = json!({"app": "tienda", "hosts": [HOST], "targets": [],
        "media": {"url": "/files/", "root": files}});
    let _edge = Running(start(&json!({"routes": [route]}).to_string()));
    let answer = until("the edge", 20, || {
        http::get(world.http, HOST, "/files/hola.txt").ok()
    });
    assert_eq!((answer.status, answer.text().as_str()), (200, "hola"));
    assert_eq!(world.get(HOST, "/").status, 503);
    assert_eq!(world.get("other.localhost", "/").status, 404);
    // Nothing is left that another edge would take for its last table.
    assert!(!world.data().join("edge/table.json").exists());

    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/edge/table.json");
    let example = fs::read_to_string(example).unwrap();
    let example: zarpar_model::RouteTable = serde_json::from_str(&example).unwrap();
    example.check().unwrap();
}
