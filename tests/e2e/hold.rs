//! `[deploy] during_migrations = "hold"`: visitors wait while the database changes, and nobody is
//! turned away.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::http;
use crate::load::Load;
use crate::project::Project;
use crate::world::{World, text};

const HOST: &str = "tienda.localhost";
const HOLDING: &str = "holding new requests of tienda while 1 migration runs";

#[test]
fn visitors_wait_for_the_migrations_and_for_no_longer() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    project.write(
        "zarpar.toml",
        "[web.health]\npath = \"/salud/\"\n[deploy]\nduring_migrations = \"hold\"\n",
    );
    project.commit("hold");
    // Before the first release nobody is there to wait, and without migrations nobody has to.
    for version in ["1", "2"] {
        renamed(&project, version);
        let pushed = project.push(&remote);
        assert!(pushed.status.success(), "{}", text(&pushed));
        assert!(!text(&pushed).contains("holding"), "{}", text(&pushed));
    }

    // From the moment the pusher is told, requests are for the new release.
    migration(
        &project,
        "0004_lenta",
        "0003_testimonio_estrellas_foto",
        "time.sleep(2)",
    );
    renamed(&project, "3");
    let load = Load::start(world.http, HOST, "/version/");
    load.go_on(10);
    let mut push = project.pushing(&remote);
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    let mut said = until_holding(&mut lines);
    let answer = http::get(world.http, HOST, "/version/").unwrap();
    assert_eq!((answer.status, answer.text().trim()), (200, "3"));
    said.extend(lines.map(Result::unwrap));
    assert!(push.wait().unwrap().success(), "{said:?}");
    let released = |line: &String| line.contains("released the held requests after");
    assert!(said.iter().any(released), "{said:?}");
    load.stop().assert_nothing_dropped(&["2", "3"]);

    // One that fails: the visitors go on to the release that was live, at once.
    migration(
        &project,
        "0005_rota",
        "0004_lenta",
        "raise RuntimeError('no')",
    );
    renamed(&project, "4");
    let load = Load::start(world.http, HOST, "/version/");
    load.go_on(10);
    let mut push = project.pushing(&remote);
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    until_holding(&mut lines);
    let begin = Instant::now();
    let answer = http::get(world.http, HOST, "/version/").unwrap();
    assert_eq!((answer.status, answer.text().trim()), (200, "3"));
    // The edge alone would have let go after thirty seconds.
    assert!(begin.elapsed() < Duration::from_secs(25));
    for line in lines {
        line.unwrap();
    }
    assert!(!push.wait().unwrap().success());
    load.stop().assert_nothing_dropped(&["3"]);
}

#[test]
fn a_hold_whose_control_plane_died_ends_by_itself() {
    let mut world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    project.write(
        "zarpar.toml",
        "[web.health]\npath = \"/salud/\"\n[deploy]\nduring_migrations = \"hold\"\n",
    );
    project.commit("hold");
    assert!(project.push(&remote).status.success());
    migration(
        &project,
        "0004_lenta",
        "0003_testimonio_estrellas_foto",
        "time.sleep(5)",
    );
    renamed(&project, "2");
    let mut push = project.pushing(&remote);
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    until_holding(&mut lines);
    world.kill_serve();
    drop(lines);
    push.wait().unwrap();
    // Nobody is there to lift it. A visitor's patience here is thirty seconds, so the second try
    // comes when it is over.
    let first = http::get(world.http, HOST, "/version/");
    let answer = first.or_else(|_| http::get(world.http, HOST, "/version/"));
    assert_eq!(answer.unwrap().text().trim(), "1");
    world.serve();
    assert_eq!(world.get(HOST, "/version/").text().trim(), "1");
}

fn renamed(project: &Project, version: &str) {
    let module = format!("VERSION = \"{version}\"\n");
    project.write("sitio/version.py", &module);
    project.commit(version);
}

/// A migration of `servicios` that does this.
fn migration(project: &Project, name: &str, after: &str, statement: &str) {
    let path = format!("servicios/migrations/{name}.py");
    project.write(
        &path,
        &format!(
            "import time\nfrom django.db import migrations\n\n\ndef run(apps, schema_editor):\n    {statement}\n\n\nclass Migration(migrations.Migration):\n    dependencies = [(\"servicios\", \"{after}\")]\n    operations = [migrations.RunPython(run)]\n"
        ),
    );
}

fn until_holding(lines: &mut impl Iterator<Item = std::io::Result<String>>) -> Vec<String> {
    let mut said = Vec::new();
    loop {
        let line = lines.next();
        let line = line.unwrap_or_else(|| panic!("nobody was held: {said:?}"));
        said.push(line.unwrap());
        if said.iter().any(|line| line.contains(HOLDING)) {
            return said;
        }
    }
}
