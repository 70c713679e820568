//! The console's own host: real pushes through the edge, by TLS.

use std::fs;
use std::io::Write;
use std::process::Output;

use crate::edge::certificate;
use crate::http;
use crate::project::Project;
use crate::world::{World, text};

const HOST: &str = "ship.localhost";

#[test]
fn pushes_come_in_through_the_edge_with_tls() {
    let mut world = World::bare();
    let mut config = fs::OpenOptions::new()
        .append(true)
        .open(world.config())
        .unwrap();
    write!(config, "[console]\nhost = \"{HOST}\"\n").unwrap();
    world.serve();
    world.app("app", &[]);
    let token = world.ok(&["tokens", "create", "laptop"]);
    let remote = format!("https://{HOST}:{}/git/app.git", world.https);
    let shown = world.json(&["apps", "info", "app", "--json"]);
    assert_eq!(shown["remote"], remote.as_str());
    let remote = remote.replace("://", &format!("://{}@", token.trim()));
    let project = Project::tiny(&world, "site", "1");
    let ca = format!("http.sslCAInfo={}", world.path("ship.pem").display());
    let git = |words: &[&str]| -> Output { project.git(&[&["-c", &ca], words].concat()) };

    let early = world.get(HOST, "/git/app.git/info/refs?service=git-receive-pack");
    assert_eq!(early.status, 503, "{}", early.text());
    certificate(&world, "ship", HOST);
    let file = |name: &str| world.path(name).display().to_string();
    let (pem, key) = (file("ship.pem"), file("ship.key"));
    let wrong = world.cli(&["certificates", "add", "other.localhost", &pem, &key]);
    assert!(
        text(&wrong).contains("neither an app nor the `host` of `[console]`"),
        "{}",
        text(&wrong)
    );
    let added = world.ok(&["certificates", "add", HOST, &pem, &key]);
    assert!(
        added.contains("ship.localhost is served with TLS until"),
        "{added}"
    );

    let pushed = git(&["push", &remote, "main"]);
    let shown = text(&pushed);
    assert!(
        pushed.status.success() && shown.contains("v1 is live"),
        "{shown}"
    );
    assert_eq!(world.get("app.localhost", "/").text().trim(), "1");
    for version in ["0", "2"] {
        let protocol = format!("protocol.version={version}");
        let http = format!(
            "http.version=HTTP/{}",
            if version == "0" { "1.1" } else { "2" }
        );
        let copy = world.path(&format!("copy-{version}")).display().to_string();
        let cloned = git(&["-c", &protocol, "-c", &http, "clone", "-q", &remote, &copy]);
        assert!(cloned.status.success(), "{}", text(&cloned));
    }
    // More than an app may be sent, refused by the hook after the last byte.
    project.noise("noise", 25 * 1024 * 1024);
    project.commit("large");
    let refused = git(&["push", &remote, "main:dev"]);
    let shown = text(&refused);
    assert!(!refused.status.success());
    assert!(
        shown.contains("`app` is deployed from the branch `main`"),
        "{shown}"
    );
    let strange = remote.replace(token.trim(), "zarpar_wrong");
    let shown = text(&git(&["push", &strange, "main"]));
    assert!(
        shown.contains("remote: expected a token of this server"),
        "{shown}"
    );

    // What is for this machine alone.
    let code = |url: &str| {
        let asked = std::process::Command::new("curl")
            .args([
                "-s",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                "--path-as-is",
                "--noproxy",
                "*",
                "--cacert",
                &pem,
            ])
            .arg(url)
            .output()
            .unwrap();
        text(&asked)
    };
    let port = world.https;
    let at = |path: &str| format!("https://{HOST}:{port}{path}");
    assert_eq!(code(&at("/healthz")), "200");
    for path in [
        "/metrics",
        "/git/../metrics",
        "/git/%2e%2e/metrics",
        "/",
        "/git/app.git/HEAD",
    ] {
        assert_eq!(code(&at(path)), "404", "{path}");
    }
    assert_eq!(
        http::get(world.console, HOST, "/metrics").unwrap().status,
        200
    );

    // One host, one owner.
    for words in [
        &["apps", "create", "other", "--domain", HOST][..],
        &["domains", "add", "app", HOST],
    ] {
        let refused = world.cli(words);
        assert_eq!(refused.status.code(), Some(1));
        assert!(
            text(&refused).contains("is that of the console"),
            "{}",
            text(&refused)
        );
    }
    // A new control plane has a new key, and the edge that stayed is told.
    world.kill_serve();
    world.serve();
    assert_eq!(code(&at("/healthz")), "200");
    let listed = git(&["ls-remote", &remote]);
    assert!(listed.status.success(), "{}", text(&listed));

    world.kill_serve();
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), config.replace(HOST, "app.localhost")).unwrap();
    let refused = world
        .server_command("serve")
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let shown = text(&refused);
    assert!(
        !refused.status.success() && shown.contains("is one of the app `app`"),
        "{shown}"
    );
    assert!(shown.contains("hint: start without it"), "{shown}");
}
