//! The example site from its first push: swaps under load, rollback, files, every listing.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::http;
use crate::load::Load;
use crate::project::Project;
use crate::world::{World, text, until};

const HOST: &str = "tienda.localhost";

#[test]
fn pushes_and_a_rollback_under_load_drop_nothing() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");

    let first = project.push(&remote);
    let shown = text(&first);
    assert!(first.status.success(), "{shown}");
    for line in [
        "building the image",
        "migrate",
        "static files copied",
        "v1 is live: http://tienda.localhost",
    ] {
        assert!(shown.contains(line), "`{line}` is missing in:\n{shown}");
    }
    // A page of release 1, as a browser has it open, and what it names.
    let old_css = css_of(&world);
    let old_files: Vec<(String, Vec<u8>)> = static_paths(&world)
        .into_iter()
        .map(|path| {
            let body = world.get(HOST, &path).body;
            (path, body)
        })
        .collect();
    assert!(old_files.len() > 1, "{old_files:?}");

    // Two pushes: the answers change twice and never back.
    let load = Load::start(world.http, HOST, "/version/");
    for (from, to) in [("1", "2"), ("2", "3")] {
        project.replace(
            "sitio/version.py",
            &format!("VERSION = \"{from}\""),
            &format!("VERSION = \"{to}\""),
        );
        // The stylesheet changes too, so that its hashed name does.
        project.write("sitio/static/sitio/extra.css", &format!("/* {to} */"));
        let css = find(&project, "estilo.css");
        project.write(
            &css,
            &format!(
                "{}\n/* version {to} */\n",
                std::fs::read_to_string(project.folder.join(&css)).unwrap()
            ),
        );
        project.commit(to);
        let pushed = project.push(&remote);
        assert!(pushed.status.success(), "{}", text(&pushed));
        assert_eq!(
            world.get(HOST, "/version/").text().trim(),
            to,
            "the push returned, so the new release answers"
        );
    }
    load.stop().assert_nothing_dropped(&["1", "2", "3"]);

    // A page of release 1 still finds its css.
    assert_ne!(css_of(&world), old_css);
    for (path, body) in old_files {
        let answer = world.get(HOST, &path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.body, body, "{path}");
    }

    // A rollback: no build, the answers change once.
    let load = Load::start(world.http, HOST, "/version/");
    let shown = world.ok(&["rollback", "tienda"]);
    assert!(
        shown.contains("v4 is live") && !shown.contains("building"),
        "{shown}"
    );
    load.stop().assert_nothing_dropped(&["3", "2"]);

    static_files(&world);
    media(&world);
    contact_form(&world);
    listings(&world, &remote, &project);
}

/// A rollback leaves the branch at another commit than the live one.
fn commits_that_are_here(world: &World, remote: &str, project: &Project) {
    let deployments = || {
        let listed = world.json(&["deployments", "tienda", "--json"]);
        listed.as_array().unwrap().clone()
    };
    world.ok(&["rollback", "tienda"]);
    let live = world.json(&["apps", "info", "tienda", "--json"])["commit"].clone();
    let live = live.as_str().unwrap();
    let tip = project.git(&["ls-remote", remote, "refs/heads/main"]);
    assert!(!text(&tip).starts_with(live), "{}", text(&tip));
    let before = deployments().len();
    let began = Instant::now();
    let pushed = project.git(&["push", "-f", remote, &format!("{live}:main")]);
    let (took, shown) = (began.elapsed(), text(&pushed));
    assert!(pushed.status.success(), "{shown}");
    assert!(
        shown.contains("this commit is live already, as v"),
        "{shown}"
    );
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert_eq!(deployments().len(), before);
    let there = project.git(&["ls-remote", remote, "refs/heads/main"]);
    assert!(text(&there).starts_with(live), "{}", text(&there));

    let shown = world.ok(&["deploy", "tienda", "main"]);
    assert!(shown.contains(" is live: "), "{shown}");
    let newest = &deployments()[0];
    assert_eq!(newest["kind"], "deploy");
    assert_eq!(newest["commit"], live);
}

fn find(project: &Project, name: &str) -> String {
    let listed = project.git(&["ls-files"]);
    let listed = String::from_utf8(listed.stdout).unwrap();
    listed
        .lines()
        .find(|path| path.ends_with(name))
        .unwrap()
        .to_owned()
}

/// The static files that the first page names.
fn static_paths(world: &World) -> Vec<String> {
    let page = world.get(HOST, "/").text();
    page.split("/static/")
        .skip(1)
        .map(|rest| format!("/static/{}", rest.split('"').next().unwrap()))
        .collect()
}

fn css_of(world: &World) -> String {
    let mut paths = static_paths(world).into_iter();
    paths.find(|path| path.ends_with(".css")).unwrap()
}

fn static_files(world: &World) {
    let path = css_of(world);
    let whole = world.get(HOST, &path);
    assert_eq!(
        whole.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    let etag = whole.header("etag").unwrap().to_owned();
    let ask = |method, headers: &[(&str, &str)]| {
        http::request(world.http, method, HOST, &path, headers, b"").unwrap()
    };
    assert_eq!(ask("GET", &[("If-None-Match", &etag)]).status, 304);
    let part = ask("GET", &[("Range", "bytes=0-9")]);
    assert_eq!((part.status, &part.body[..]), (206, &whole.body[..10]));
    let head = ask("HEAD", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    // The plain name may change its content with the next release.
    let plain = zarpar_model::is_hashed_name(&path).unwrap();
    assert_eq!(
        world.get(HOST, &plain).header("cache-control"),
        Some("public, max-age=2592000")
    );
    // Its compressed forms are made behind the deployment.
    let squeezed = until("a compressed form", 120, || {
        let answer = ask("GET", &[("Accept-Encoding", "gzip;q=0.5, br")]);
        (answer.header("content-encoding") == Some("br")).then_some(answer)
    });
    assert!(squeezed.body.len() < whole.body.len());
    assert_ne!(squeezed.header("etag"), Some(etag.as_str()));
    for answer in [&whole, &squeezed] {
        assert_eq!(answer.header("vary"), Some("accept-encoding"));
    }
    assert_eq!(world.get(HOST, "/static/none.css").status, 404);
    assert_eq!(world.get("unknown.test", "/").status, 404);
}

/// What the app writes into MEDIA_ROOT is on the site, and stays over releases.
fn media(world: &World) {
    let program = "import pathlib; from django.conf import settings; pathlib.Path(settings.MEDIA_ROOT, 'nota.txt').write_text('hola')";
    world.ok(&[
        "run",
        "tienda",
        "--",
        "python3",
        "manage.py",
        "shell",
        "-c",
        program,
    ]);
    let answer = world.get(HOST, "/media/nota.txt");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hola"));
    assert_eq!(
        answer.header("cache-control"),
        Some("public, max-age=604800")
    );
    assert_eq!(world.get(HOST, "/media/../nota.txt").status, 404);
}

/// A visitor's message goes through the edge into Postgres, and its attachment comes back.
fn contact_form(world: &World) {
    let form = world.get(HOST, "/contacto/");
    let hidden = form.text();
    let hidden = hidden
        .split("csrfmiddlewaretoken\" value=\"")
        .nth(1)
        .unwrap();
    let hidden = hidden.split('"').next().unwrap();
    let cookie = form.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap();
    let mut body = String::new();
    for (name, value) in [
        ("csrfmiddlewaretoken", hidden),
        ("nombre", "Ana"),
        ("correo", "ana@example.test"),
        ("texto", "¿Cuánto cuesta?"),
    ] {
        body.push_str(&format!(
            "--frontera\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    let attachment = "línea\n".repeat(50_000);
    body.push_str(&format!(
        "--frontera\r\nContent-Disposition: form-data; name=\"adjunto\"; filename=\"plano.txt\"\r\nContent-Type: text/plain\r\n\r\n{attachment}\r\n--frontera--\r\n"
    ));
    let headers = [
        ("Content-Type", "multipart/form-data; boundary=frontera"),
        ("Cookie", cookie),
    ];
    let sent = http::request(
        world.http,
        "POST",
        HOST,
        "/contacto/",
        &headers,
        body.as_bytes(),
    );
    let sent = sent.unwrap();
    assert_eq!(sent.status, 302, "{}", sent.text());
    let stored = world.ok(&[
        "run",
        "tienda",
        "--",
        "python3",
        "manage.py",
        "shell",
        "-v",
        "0",
        "-c",
        "from contacto.models import Mensaje; m = Mensaje.objects.get(); print(m.nombre, m.texto, m.adjunto.url)",
    ]);
    let url = stored
        .trim()
        .strip_prefix("Ana ¿Cuánto cuesta? ")
        .unwrap_or_else(|| panic!("{stored}"));
    let back = world.get(HOST, url);
    assert_eq!(
        (back.status, back.text() == attachment),
        (200, true),
        "{url}"
    );
}

fn listings(world: &World, remote: &str, project: &Project) {
    let releases = world.json(&["releases", "tienda", "--json"]);
    let states: Vec<&Value> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| &release["state"])
        .collect();
    assert_eq!(states[0], "active");
    assert_eq!(releases[0]["origin"], "v2");
    let deployments = world.json(&["deployments", "tienda", "--json"]);
    assert_eq!(deployments.as_array().unwrap().len(), 4);
    assert_eq!(deployments[0]["kind"], "rollback");
    let processes = world.json(&["ps", "tienda", "--json"]);
    assert!(
        processes
            .as_array()
            .unwrap()
            .iter()
            .any(|process| process["process"] == "web" && process["state"] == "running")
    );
    assert!(
        processes
            .as_array()
            .unwrap()
            .iter()
            .any(|process| process["process"] == "postgres")
    );
    assert_eq!(world.json(&["apps", "list", "--json"])[0]["state"], "live");
    assert_eq!(
        world.json(&["tokens", "list", "--json"])[0]["apps"][0],
        "tienda"
    );
    let log = text(&world.cli(&["logs", "tienda"]));
    assert!(
        log.contains("gunicorn") || log.contains("Listening"),
        "{log}"
    );
    assert_eq!(
        world
            .cli(&["run", "tienda", "--", "sh", "-c", "exit 7"])
            .status
            .code(),
        Some(7)
    );

    // A variable reaches the app by a restart, and a domain by the route and the app.
    world.ok(&["env", "set", "tienda", "SALUDO=con espacio y $signo"]);
    let printed = text(&world.cli(&["run", "tienda", "--", "printenv", "SALUDO"]));
    assert_eq!(printed.trim(), "con espacio y $signo");
    assert_eq!(
        world.json(&["env", "list", "tienda", "--json"])["SALUDO"],
        "con espacio y $signo"
    );
    world.ok(&["domains", "add", "tienda", "www.tienda.test"]);
    assert_eq!(world.get("www.tienda.test", "/version/").status, 200);
    assert_eq!(
        world.json(&["domains", "list", "tienda", "--json"])[1]["domain"],
        "www.tienda.test"
    );
    world.ok(&["domains", "remove", "tienda", "www.tienda.test"]);
    assert_eq!(world.get("www.tienda.test", "/version/").status, 404);

    // The live release has the commit of version 2; a push of version 3 is a new deployment,
    // and pushing it again says that there is nothing to do.
    project.commit("again");
    let pushed = project.push(remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    assert_eq!(world.get(HOST, "/version/").text().trim(), "3");

    commits_that_are_here(world, remote, project);
    world.ok(&["apps", "destroy", "tienda", "--force"]);
    assert_eq!(world.inventory(), Vec::<String>::new());
    assert_eq!(world.get(HOST, "/version/").status, 404);
}
