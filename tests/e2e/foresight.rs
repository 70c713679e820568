//! A candidate that is started while the static files are still being collected: on a right guess
//! it is kept, on a wrong one the release still has its own files and nothing else.

use serde_json::Value;

use crate::project::Project;
use crate::world::{World, docker, text};

const HOST: &str = "tienda.localhost";
const CSS: &str = "/static/sitio/extra.css";

#[test]
fn what_the_live_release_foretells_is_used_and_never_trusted() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    project.write("sitio/static/sitio/extra.css", "/* the same in all */");
    push(&project, &remote, "first");
    let first_time = last_modified(&world);

    // Code alone: the container runs before the release tasks are done.
    project.replace("sitio/version.py", "VERSION = \"1\"", "VERSION = \"2\"");
    push(&project, &remote, "only code");
    assert_eq!(world.get(HOST, "/version/").text().trim(), "2");
    let (started, tasks_done) = (started(&web(&world)), tasks_done(&world));
    assert!(started < tasks_done, "{started} is after {tasks_done}");
    assert_eq!(last_modified(&world), first_time, "the file did not change");

    // A template among the static files looks like code: the guess is wrong and is found out.
    project.write("sitio/static/sitio/pagina.html", "<p>new</p>");
    push(&project, &remote, "a static file");
    assert_eq!(
        world.get(HOST, "/static/sitio/pagina.html").text(),
        "<p>new</p>"
    );
    assert_eq!(
        inside(&world, "/app/staticfiles/sitio/pagina.html"),
        "<p>new</p>"
    );
    assert!(inside(&world, "/app/staticfiles/staticfiles.json").contains("pagina.html"));

    // Another STATIC_ROOT, known only from the settings.
    project.replace(
        "sitio/settings.py",
        "BASE_DIR / \"staticfiles\"",
        "BASE_DIR / \"elsewhere\"",
    );
    push(&project, &remote, "another root");
    assert_eq!(
        inside(&world, "/app/elsewhere/sitio/pagina.html"),
        "<p>new</p>"
    );
    assert_eq!(last_modified(&world), first_time);

    // A release task that fails after the candidate has started takes it along.
    let settings = project.folder.join("sitio/settings.py");
    let text_of = std::fs::read_to_string(&settings).unwrap();
    let broken = "STORAGES[\"staticfiles\"] = {\"BACKEND\": \"none.Such\"}";
    std::fs::write(&settings, format!("{text_of}\n{broken}\n")).unwrap();
    let alive = web(&world);
    project.commit("collectstatic fails");
    let refused = project.push(&remote);
    assert!(!refused.status.success());
    let shown = text(&refused);
    assert!(shown.contains("`collectstatic` ended with"), "{shown}");
    world.settled("tienda");
    assert_eq!(web(&world), alive);
}

fn push(project: &Project, remote: &str, message: &str) {
    project.commit(message);
    let pushed = project.push(remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
}

fn last_modified(world: &World) -> String {
    let answer = world.get(HOST, CSS);
    answer.header("last-modified").unwrap().to_owned()
}

/// The one web container.
fn web(world: &World) -> String {
    world.settled("tienda");
    let test = format!("label=zarpar.test={}", world.run);
    let found = docker(&[
        "ps",
        "-aq",
        "--no-trunc",
        "--filter",
        &test,
        "--filter",
        "label=zarpar.process=web",
    ]);
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_owned()
}

fn inside(world: &World, path: &str) -> String {
    docker(&["exec", &web(world), "cat", path])
}

/// When a container was started, in milliseconds of Unix time.
fn started(container: &str) -> u64 {
    let time = docker(&["inspect", "-f", "{{.State.StartedAt}}", container]);
    let program = "import datetime, sys; print(round(datetime.datetime.fromisoformat(sys.argv[1][:23] + '+00:00').timestamp() * 1000))";
    let printed = std::process::Command::new("python3")
        .args(["-c", program, time.trim()])
        .output()
        .unwrap();
    text(&printed).trim().parse().unwrap()
}

/// When the release tasks of the newest deployment were done, in the same unit.
fn tasks_done(world: &World) -> u64 {
    let newest = world.newest("tienda")["id"].as_u64().unwrap();
    let log = world
        .data()
        .join(format!("logs/deployments/{newest}.jsonl"));
    let log = std::fs::read_to_string(&log).unwrap();
    log.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|event| event["event"] == "ended" && event["phase"] == "releasing")
        .and_then(|event| event["at"].as_u64())
        .unwrap()
}
