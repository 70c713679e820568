//! Many clients push to one app at once: one of them gets the branch, one deployment is at work
//! at a time, and everyone is told the truth.

use std::fs;
use std::io::Read;
use std::process::Child;

use serde_json::Value;

use crate::project::Project;
use crate::world::{World, text, until};

/// A clone with a commit of its own.
fn clone(world: &World, remote: &str, name: &str) -> Project {
    let project = Project {
        folder: world.path(name),
    };
    let here = Project {
        folder: world.folder.path().to_owned(),
    };
    let cloned = here.git(&["clone", "-q", remote, name]);
    assert!(cloned.status.success(), "{}", text(&cloned));
    project
}

fn change(project: &Project, version: &str) -> String {
    project.write("VERSION", version);
    project.commit(version)
}

/// What a push said, and whether git called it done.
fn end(mut push: Child) -> (bool, String) {
    let mut said = String::new();
    push.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (push.wait().unwrap().success(), said)
}

/// When each deployment that began to work did, and when it ended, in milliseconds.
fn spans(world: &World) -> Vec<(u64, u64)> {
    let mut spans = Vec::new();
    for entry in fs::read_dir(world.data().join("logs/deployments")).unwrap() {
        let log = fs::read_to_string(entry.unwrap().path()).unwrap();
        let events: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let at = |word: &str| {
            let found = events.iter().find(|event| event["event"] == word)?;
            found["at"].as_u64()
        };
        if let (Some(began), Some(finished)) = (at("began"), at("finished")) {
            spans.push((began, finished));
        }
    }
    spans.sort_unstable();
    spans
}

fn tip(world: &World, project: &Project, remote: &str) -> String {
    let listed = project.git(&["ls-remote", remote, "refs/heads/main"]);
    let said = text(&listed);
    assert!(listed.status.success(), "{said}\n{}", world.run);
    said.split_whitespace().next().unwrap().to_owned()
}

/// Whether the branch, the record and the visitors agree on one commit.
#[track_caller]
fn assert_live(world: &World, project: &Project, remote: &str, commit: &str, version: &str) {
    assert_eq!(tip(world, project, remote), commit);
    let app = world.json(&["apps", "info", "tienda", "--json"]);
    assert_eq!(app["commit"], commit);
    assert_eq!(world.get("tienda.localhost", "/").text().trim(), version);
    let spans = spans(world);
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at work at once: {spans:?}");
    }
}

#[test]
fn ten_pushes_at_once_have_one_winner_and_all_are_told_the_truth() {
    let world = World::start();
    let remote = world.app("tienda", &[]);
    let first = Project::tiny(&world, "first", "one");
    assert!(first.push(&remote).status.success());
    let clones: Vec<(Project, String)> = (0..10)
        .map(|number| {
            let project = clone(&world, &remote, &format!("clone{number}"));
            let commit = change(&project, &format!("clone{number}"));
            (project, commit)
        })
        .collect();

    let pushes: Vec<Child> = clones
        .iter()
        .map(|(project, _)| project.pushing(&remote))
        .collect();
    let ends: Vec<(bool, String)> = pushes.into_iter().map(end).collect();

    let mut winners = Vec::new();
    let mut refused = 0;
    for (number, (done, said)) in ends.iter().enumerate() {
        if *done {
            assert!(said.contains("is live:"), "{said}");
            winners.push(number);
            continue;
        }
        assert!(
            !said.contains("is live") && said.contains("hint:"),
            "{said}"
        );
        // What became of it stands in what it was told, and again in git's own last line.
        if said.contains("superseded: deployment") {
            assert!(said.contains("(superseded by a newer push)"), "{said}");
        } else if said.contains("`main` moved to ") {
            assert!(said.contains("git pull --rebase"), "{said}");
            assert!(said.contains("(the deployment failed)"), "{said}");
            refused += 1;
        } else {
            // It looked after the winner was live: git itself sees that it would lose a commit.
            assert!(said.contains("fetch first"), "{said}");
            refused += 1;
        }
    }
    assert_eq!(winners.len(), 1, "{ends:#?}");
    assert!(refused > 0, "nobody was last: {ends:#?}");
    let (winner, commit) = &clones[winners[0]];
    assert_live(
        &world,
        winner,
        &remote,
        commit,
        &format!("clone{}", winners[0]),
    );
    let listed = world.json(&["deployments", "tienda", "--json"]);
    let live = |deployment: &&Value| deployment["state"] == "live";
    assert_eq!(listed.as_array().unwrap().iter().filter(live).count(), 2);

    // What the hint says works.
    let (loser, _) = &clones[(winners[0] + 1) % 10];
    let pulled = loser.git(&["pull", "-q", "--rebase", "-X", "theirs", &remote, "main"]);
    assert!(pulled.status.success(), "{}", text(&pulled));
    let commit = change(loser, "after all");
    let pushed = loser.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    assert_live(&world, loser, &remote, &commit, "after all");
}

#[test]
fn a_push_on_top_of_one_that_is_at_work_is_live_after_it() {
    let world = World::start();
    let remote = world.app("tienda", &[]);
    let first = Project::tiny(&world, "first", "one");
    assert!(first.push(&remote).status.success());
    let slow = clone(&world, &remote, "slow");
    slow.write("start.py", "import time; time.sleep(4)");
    let below = change(&slow, "below");
    let below_push = slow.pushing(&remote);
    until("the deployment at work", 30, || {
        (world.newest("tienda")["state"] == "probing").then_some(())
    });

    // The same commit from elsewhere follows the deployment instead of overtaking it.
    let same = Project {
        folder: world.path("same"),
    };
    let copied = first.git(&["clone", "-q", "../slow", "../same"]);
    assert!(copied.status.success(), "{}", text(&copied));
    let same_push = same.pushing(&remote);
    // Two on top of it; the newer one takes the place of the other.
    slow.write("start.py", "");
    let mut tops = Vec::new();
    for version in ["top", "newer"] {
        let commit = change(&slow, version);
        tops.push((commit.clone(), slow.pushing(&remote)));
        until("its deployment", 30, || {
            (world.newest("tienda")["commit"] == commit.as_str()).then_some(())
        });
    }
    // A client that goes away ends neither its deployment nor the move of its branch.
    let (newer, mut gone) = tops.pop().unwrap();
    gone.kill().unwrap();
    gone.wait().unwrap();

    let (done, said) = end(below_push);
    assert!(done && said.contains("is live:"), "{said}");
    let (done, said) = end(same_push);
    assert!(
        done && said.contains("being deployed already, as deployment 2"),
        "{said}"
    );
    assert!(said.contains("v2 is live:"), "{said}");
    let (_, top) = tops.pop().unwrap();
    let (done, said) = end(top);
    assert!(
        !done && said.contains("superseded: deployment 4 of a newer commit"),
        "{said}"
    );
    until("the newest to be live", 60, || {
        (world.newest("tienda")["state"] == "live").then_some(())
    });
    until("its branch to move", 10, || {
        (tip(&world, &slow, &remote) == newer).then_some(())
    });
    assert_live(&world, &slow, &remote, &newer, "newer");
    let listed = world.json(&["deployments", "tienda", "--json"]);
    assert_eq!(listed.as_array().unwrap().len(), 4, "{listed}");
    assert_eq!(listed[2]["commit"], below.as_str());
    // Live and the branch there: answered at once, no deployment.
    let again = slow.push(&remote);
    assert!(text(&again).contains("up-to-date"), "{}", text(&again));
}

#[test]
fn deployments_of_two_apps_wait_in_order_or_run_at_once_as_the_server_is_told() {
    let mut world = World::bare();
    let config = fs::read_to_string(world.config()).unwrap();
    fs::write(world.config(), format!("{config}[deploy]\nat_once = 1\n")).unwrap();
    world.serve();
    let apps: Vec<(Project, String)> = ["a", "b", "c"]
        .iter()
        .map(|name| {
            let remote = world.app(name, &[]);
            let project = Project::tiny(&world, name, name);
            project.write("start.py", "import time; time.sleep(2)");
            project.commit("slow");
            (project, remote)
        })
        .collect();
    let mut pushes = Vec::new();
    for (number, (project, remote)) in apps.iter().enumerate() {
        pushes.push(project.pushing(remote));
        let name = ["a", "b", "c"][number];
        until("its deployment", 30, || {
            (world.newest(name)["id"] == number + 1).then_some(())
        });
    }
    let following = world.cli(&["deployments", "follow", "3"]);
    assert!(
        text(&following).contains("deployment 3 of `c` waits: 1 at work, 1 before it in the queue"),
        "{}",
        text(&following)
    );
    let ends: Vec<(bool, String)> = pushes.into_iter().map(end).collect();
    assert!(ends.iter().all(|(done, _)| *done), "{ends:#?}");
    // What it waits for changes, and it is told.
    for waits in ["1 of `a`", "2 of `b`"] {
        let told = format!(
            "waiting: one deployment is at work, as many as this server runs at once: {waits}"
        );
        assert!(ends[2].1.contains(&told), "{}", ends[2].1);
    }
    let spans = spans(&world);
    assert_eq!(spans.len(), 3);
    for pair in spans.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "two at work at once: {spans:?}");
    }

    world.kill_serve();
    fs::write(world.config(), format!("{config}[deploy]\nat_once = 2\n")).unwrap();
    world.serve();
    let pushes: Vec<Child> = apps[..2]
        .iter()
        .map(|(project, remote)| {
            project.commit("again");
            project.pushing(remote)
        })
        .collect();
    for (done, said) in pushes.into_iter().map(end) {
        assert!(done && !said.contains("waiting:"), "{said}");
    }
    let spans = self::spans(&world);
    assert!(spans[4].0 < spans[3].1, "one after the other: {spans:?}");
}
