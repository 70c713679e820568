//! What is refused: one clear message with what to do, and nothing made.

use std::fs;

use crate::project::Project;
use crate::world::{World, text};

#[test]
fn a_second_server_a_bad_configuration_and_a_missing_engine_are_refused() {
    let world = World::start();
    let second = world
        .server_command("serve")
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let said = text(&second);
    assert!(!second.status.success());
    assert!(
        said.contains(&format!("pid {}", world.serve_pid())) && said.contains("hint:"),
        "{said}"
    );

    for (wrong, says) in [
        ("htp = \"1\"\n", "htp"),
        ("http = \"nowhere\"\n", "`nowhere`"),
        ("[engine\n", "line 1"),
    ] {
        fs::write(world.config(), wrong).unwrap();
        let mut command = std::process::Command::new(crate::world::BINARY);
        let output = command
            .arg("serve")
            .arg("--config")
            .arg(world.config())
            .arg("--data")
            .arg(world.path("other"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{}", text(&output));
        let said = text(&output);
        assert!(said.contains(says) && said.contains("hint:"), "{said}");
        assert!(!world.path("other").exists());
    }

    let output = std::process::Command::new(crate::world::BINARY)
        .arg("serve")
        .arg("--data")
        .arg(world.path("other"))
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(
        text(&output).contains("/nowhere/docker.sock") && text(&output).contains("hint:"),
        "{}",
        text(&output)
    );
    assert!(
        !world.path("other").exists(),
        "nothing is made without an engine"
    );
}

#[test]
fn bad_names_are_refused_before_anything_is_made() {
    let world = World::start();
    let long = "a".repeat(64);
    for bad in ["a;id", "../x", "-rf", "A_B", "", &long] {
        let output = world.cli(&["apps", "create", bad]);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(2), "{bad}: {said}");
        // `-rf` is an option to the parser, whose own words end with the way to `--help`.
        let names_it = bad.is_empty() || said.contains(bad) || said.contains("'-r'");
        assert!(names_it, "{bad}: {said}");
        assert!(
            said.contains("hint:") || said.contains("--help"),
            "{bad}: {said}"
        );
        assert_eq!(said.matches("error").count(), 1, "{bad}: {said}");
    }
    // The folder comes with the first app.
    let repositories = fs::read_dir(world.data().join("repos"));
    assert_eq!(repositories.map_or(0, Iterator::count), 0);
    assert_eq!(world.inventory(), Vec::<String>::new());
    assert_eq!(
        world.json(&["apps", "list", "--json"]),
        serde_json::json!([])
    );
    let none = world.cli(&["rollback", "nobody"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        text(&none).contains("there is no app `nobody`") && text(&none).contains("hint:"),
        "{}",
        text(&none)
    );
}

#[test]
fn pushes_that_may_not_be_are_refused_in_words() {
    let world = World::start();
    let remote = world.app("app", &[]);
    world.app("other", &[]);
    let project = Project::tiny(&world, "site", "1");
    let before = world.inventory();
    let refused = |words: &[&str], says: &[&str]| {
        let output = project.git(words);
        let shown = text(&output);
        assert!(!output.status.success(), "{words:?}: {shown}");
        for needed in says {
            assert!(
                shown.contains(needed),
                "{words:?}: `{needed}` is missing in:\n{shown}"
            );
        }
    };
    refused(
        &["push", &world.remote("zarpar_wrong", "app"), "main"],
        &["expected a token of this server", "hint:"],
    );
    let strange = remote.replace("/app.git", "/other.git");
    refused(
        &["push", &strange, "main"],
        &["opens no app of this name", "hint:"],
    );
    refused(
        &["push", &remote.replace("/app.git", "/nobody.git"), "main"],
        &["opens no app of this name"],
    );
    refused(
        &["push", &remote, "main:dev"],
        &[
            "deployed from the branch `main`",
            "hint: `git push REMOTE dev:main`",
            "[remote rejected]",
        ],
    );
    refused(
        &["push", &remote, "main:refs/heads/--upload-pack=x"],
        &["--upload-pack=x", "[remote rejected]"],
    );
    refused(
        &["push", &remote, "main:refs/tags/v1"],
        &["[remote rejected]"],
    );
    refused(
        &["push", &remote, "main", "main:dev"],
        &["expected one branch"],
    );
    assert_eq!(world.inventory(), before);
    assert_eq!(
        world.json(&["deployments", "app", "--json"]),
        serde_json::json!([])
    );

    // No token in what the server writes down.
    let secret = remote
        .split("//")
        .nth(1)
        .unwrap()
        .split('@')
        .next()
        .unwrap();
    assert!(!fs::read_to_string(world.log()).unwrap().contains(secret));

    // A project that cannot be planned says what was looked for.
    fs::remove_file(project.folder.join("Dockerfile")).unwrap();
    project.commit("nothing to build");
    refused(
        &["push", &remote, "main"],
        &["expected a `Dockerfile`, or a Django project", "hint:"],
    );
    // And the branch did not move, so the next push is whole.
    assert!(project.git(&["ls-remote", &remote]).stdout.is_empty());
}
