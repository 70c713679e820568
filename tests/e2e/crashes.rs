//! `kill -9` of the control plane at any moment: visitors notice nothing, and the next start
//! brings everything in order by itself.

use std::io::{BufRead, BufReader};

use crate::load::Load;
use crate::project::Project;
use crate::world::{World, docker, text, until};

const HOST: &str = "app.localhost";

#[test]
fn visitors_do_not_notice_that_the_control_plane_is_killed() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));

    let load = Load::start(world.http, HOST, "/");
    load.go_on(100);
    world.kill_serve();
    let refused = project.push(&remote);
    assert!(!refused.status.success());
    load.go_on(250);
    world.serve();
    project.write("VERSION", "2");
    project.commit("2");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    load.stop().assert_nothing_dropped(&["1", "2"]);

    // The edge alone, from its own table, when everything of ours was killed.
    world.kill_serve();
    world.kill_edge();
    let mut edge = world.server_command("router").spawn().unwrap();
    let answer = until("the edge to answer", 10, || {
        crate::http::get(world.http, HOST, "/").ok()
    });
    assert_eq!(answer.text().trim(), "2");
    edge.kill().unwrap();
    edge.wait().unwrap();
    // Both again: `serve` starts the edge first.
    world.serve();
    assert_eq!(world.get(HOST, "/").text().trim(), "2");
    // An edge that dies is started again.
    world.kill_edge();
    until("a new edge", 20, || {
        crate::http::get(world.http, HOST, "/")
            .ok()
            .filter(|answer| answer.status == 200)
    });
}

/// The phases as a pusher sees them begin, and as the records name them.
const PHASES: [(&str, &str); 6] = [
    ("checking out", "checking out"),
    ("planning", "planning"),
    ("building the image", "building"),
    ("releasing", "releasing"),
    ("starting the new release", "starting"),
    ("probing its health", "probing"),
];

#[test]
fn a_deployment_that_is_killed_in_any_phase_ends_with_a_reason() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    project.write(
        "zarpar.toml",
        "[release]\ntasks = [\"sleep 2\"]\n[web.health]\ntimeout = \"30s\"\n",
    );
    let dockerfile = std::fs::read_to_string(project.folder.join("Dockerfile")).unwrap();
    project.commit("tasks");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    for (number, (shown, phase)) in PHASES.iter().enumerate() {
        let (old, new) = ((number + 1).to_string(), (number + 2).to_string());
        world.settled("app");
        let before = world.inventory();
        project.write("VERSION", &new);
        project.write("start.py", "import time; time.sleep(3)\n");
        project.write(
            "Dockerfile",
            &dockerfile.replace("COPY . .", "COPY . .\nRUN sleep 2"),
        );
        project.commit(phase);
        let branch = project.git(&["ls-remote", &remote]).stdout;
        let said = push_and_kill_at(&mut world, &project, &remote, shown);
        assert!(
            said.contains("[remote rejected]") || said.contains("error:"),
            "{said}"
        );
        assert_eq!(world.get(HOST, "/").text().trim(), old, "{phase}");

        world.serve();
        let ended = world.newest("app");
        assert_eq!(ended["state"], "failed", "{phase}: {ended}");
        let reason = ended["reason"].as_str().unwrap();
        assert!(
            reason.contains("zarpar stopped while it was") && reason.contains("hint:"),
            "{ended}"
        );
        // The kill came after the line; a short phase may have been over by then.
        let found = ended["failed_in"].as_str().unwrap();
        let found = PHASES.iter().position(|(_, name)| *name == found);
        assert!(found.is_some_and(|found| found >= number), "{ended}");
        eprintln!("killed at `{shown}`, found {}", ended["failed_in"]);
        assert_eq!(world.get(HOST, "/").text().trim(), old, "{phase}");
        assert_eq!(
            world.inventory(),
            before,
            "{phase}: something is left behind"
        );
        assert_eq!(
            project.git(&["ls-remote", &remote]).stdout,
            branch,
            "{phase}"
        );

        // Quick again, without any manual step.
        project.write("start.py", "");
        project.write("Dockerfile", &dockerfile);
        project.commit("quick");
        let pushed = project.push(&remote);
        assert!(pushed.status.success(), "{phase}: {}", text(&pushed));
        assert_eq!(world.get(HOST, "/").text().trim(), new, "{phase}");
    }
}

/// Pushes, kills the control plane when the pusher sees `shown`, and gives what the pusher saw.
fn push_and_kill_at(world: &mut World, project: &Project, remote: &str, shown: &str) -> String {
    let mut push = project.pushing(remote);
    let mut lines = BufReader::new(push.stderr.take().unwrap()).lines();
    let mut said = String::new();
    loop {
        let line = lines
            .next()
            .unwrap_or_else(|| panic!("the push ended before `{shown}`:\n{said}"))
            .unwrap();
        said.push_str(&line);
        said.push('\n');
        if line.contains(&format!("-----> {shown}")) {
            break;
        }
    }
    world.kill_serve();
    for line in lines {
        said.push_str(&line.unwrap());
        said.push('\n');
    }
    assert!(!push.wait().unwrap().success(), "{said}");
    said
}

#[test]
fn a_deployment_that_waited_runs_after_the_crash_and_the_killed_one_does_not() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let states = |world: &World| {
        let all = world.json(&["deployments", "app", "--json"]);
        [0, 1].map(|index| all[index]["state"].as_str().unwrap().to_owned())
    };
    project.write("VERSION", "2");
    project.replace("Dockerfile", "COPY . .", "COPY . .\nRUN sleep 30");
    project.commit("slow");
    let mut push = project.pushing(&remote);
    until("the build", 60, || {
        (world.newest("app")["state"] == "building").then_some(())
    });
    // Waits behind the build; the client is cut off with the server.
    let mut deploy = std::process::Command::new(crate::world::BINARY)
        .args(["deploy", "app"])
        .env("ZARPAR_DATA", world.data())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("a second one that waits", 20, || {
        (states(&world) == ["queued", "building"]).then_some(())
    });
    world.kill_serve();
    assert!(!push.wait().unwrap().success());
    assert!(!deploy.wait().unwrap().success());
    world.serve();
    until("the one that waited to be live", 60, || {
        (states(&world) == ["live", "failed"]).then_some(())
    });
    // It was for the branch, which has never moved to the killed commit.
    assert_eq!(world.get(HOST, "/").text().trim(), "1");
}

#[test]
fn a_crash_just_after_the_switch_leaves_the_new_release_whole() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    project.write("VERSION", "2");
    project.write(
        "zarpar.toml",
        "[processes]\none = \"sleep 600\"\ntwo = \"sleep 600\"\n",
    );
    let commit = project.commit("2");
    let mut push = project.pushing(&remote);
    until("the record of the switch", 60, || {
        let newest = world.newest("app");
        (newest["commit"] == *commit && newest["state"] == "live").then_some(())
    });
    world.kill_serve();
    push.wait().unwrap();
    world.serve();
    assert_eq!(world.newest("app")["state"], "live");
    assert_eq!(world.get(HOST, "/").text().trim(), "2");
    world.settled("app");
    // Recorded as live, so everything of it runs, also what had not been started yet.
    let processes = world.json(&["ps", "app", "--json"]);
    let mut running: Vec<&str> = processes
        .as_array()
        .unwrap()
        .iter()
        .filter(|process| process["state"] == "running")
        .map(|process| process["process"].as_str().unwrap())
        .collect();
    running.sort_unstable();
    assert_eq!(running, ["one", "two", "web"], "{processes}");
    // The same commit again: nothing to do, and the branch follows.
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
}

#[test]
fn a_container_that_stopped_while_nobody_looked_is_started_again() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let web = world.json(&["ps", "app", "--json"])[0]["container"].clone();
    world.kill_serve();
    docker(&["kill", web.as_str().unwrap()]);
    assert!((500..600).contains(&world.get(HOST, "/").status));
    world.serve();
    until("the app to answer again", 30, || {
        crate::http::get(world.http, HOST, "/")
            .ok()
            .filter(|answer| answer.status == 200)
    });
}

#[test]
fn a_container_that_was_removed_by_hand_is_made_anew_from_its_image() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let web = world.json(&["ps", "app", "--json"])[0]["container"].clone();
    world.kill_serve();
    docker(&["rm", "-f", web.as_str().unwrap()]);
    world.serve();
    // The server answers only when what was live has been started, probed and routed.
    assert_eq!(world.get(HOST, "/").text().trim(), "1");
    let processes = world.json(&["ps", "app", "--json"]);
    assert_ne!(processes[0]["container"], web);
    assert_eq!(processes.as_array().unwrap().len(), 1, "{processes}");
}
