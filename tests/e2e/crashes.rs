//! `kill -9` of the control plane at any moment: visitors notice nothing, and the next start
//! brings everything in order by itself.

use crate::load::Load;
use crate::project::Project;
use crate::world::{World, text, until};

const HOST: &str = "app.localhost";

#[test]
fn visitors_do_not_notice_that_the_control_plane_is_killed() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));

    let load = Load::start(world.http, HOST, "/");
    world.kill_serve();
    let refused = project.push(&remote);
    assert!(!refused.status.success());
    world.serve();
    project.write("VERSION", "2");
    project.commit("2");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let report = load.stop();
    assert!(report.failed.is_empty(), "{report:?}");
    assert_eq!(report.sequence, ["1", "2"]);

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
    let mut version = 1;
    for phase in ["building", "releasing", "starting", "probing"] {
        version += 1;
        project.write("VERSION", &version.to_string());
        project.write("start.py", "import time; time.sleep(3)\n");
        project.write(
            "Dockerfile",
            &dockerfile.replace("COPY . .", "COPY . .\nRUN sleep 2"),
        );
        project.commit(phase);
        std::thread::scope(|scope| {
            let push = scope.spawn(|| project.push(&remote));
            let deployments = || world.json(&["deployments", "app", "--json"]);
            // `starting` is short; the phase after it counts as well.
            until(phase, 60, || {
                let state = deployments()[0]["state"].as_str().unwrap().to_owned();
                (state == phase || (phase == "starting" && state == "probing")).then_some(())
            });
            let pid = world.serve_pid().to_string();
            assert!(
                std::process::Command::new("kill")
                    .args(["-9", &pid])
                    .status()
                    .unwrap()
                    .success()
            );
            let output = push.join().unwrap();
            assert!(!output.status.success(), "{phase}: {}", text(&output));
        });
        world.kill_serve();
        assert_eq!(
            world.get(HOST, "/").text().trim(),
            (version - 1).to_string(),
            "{phase}"
        );
        world.serve();
        let ended = world.newest("app");
        assert_eq!(ended["state"], "failed", "{phase}: {ended}");
        assert!(
            ended["reason"]
                .as_str()
                .unwrap()
                .contains("zarpar stopped while it was"),
            "{ended}"
        );
        assert_eq!(
            world.get(HOST, "/").text().trim(),
            (version - 1).to_string(),
            "{phase}"
        );
        // The same commit again, without any manual step.
        project.write("start.py", "");
        project.write("Dockerfile", &dockerfile);
        project.commit("quick");
        let pushed = project.push(&remote);
        assert!(pushed.status.success(), "{phase}: {}", text(&pushed));
        assert_eq!(world.get(HOST, "/").text().trim(), version.to_string());
    }
}
