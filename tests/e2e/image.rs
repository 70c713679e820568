//! `zarpar deploy APP --image REF`: an image that was built elsewhere, from a real registry on this
//! machine or from the engine, becomes a release like any other.

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::http;
use crate::project::Project;
use crate::world::{World, docker, free_port, text, until};

struct Registry {
    process: Child,
    port: u16,
}

impl Registry {
    fn start(world: &World) -> Registry {
        let port = free_port();
        let config = world.path("registry.yml");
        let storage = world.path("registry");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \"127.0.0.1:{port}\" }}\n",
                storage.display()
            ),
        )
        .unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry; `scripts/setup --test` installs it");
        until("the registry", 20, || {
            let answer = http::get(port, "127.0.0.1", "/v2/").ok()?;
            (answer.status == 200).then_some(())
        });
        Registry { process, port }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds the project as an image of this test under `tag`.
fn build(world: &World, project: &Project, tag: &str) {
    let label = format!("zarpar.test={}", world.run);
    let folder = project.folder.to_str().unwrap();
    docker(&["build", "-q", "--label", &label, "-t", tag, folder]);
    assert!(
        !docker(&["images", "-q", tag]).is_empty(),
        "{tag} is not built"
    );
}

#[test]
fn an_image_that_was_built_elsewhere_is_a_release_like_any_other() {
    let world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "app", "image");
    let version = || world.get("app.localhost", "/").text().trim().to_owned();

    // From a registry: what the engine has of it is removed before.
    let registry = Registry::start(&world);
    let reference = format!("127.0.0.1:{}/shop/app:1.0", registry.port);
    build(&world, &project, &reference);
    docker(&["push", "-q", &reference]);
    docker(&["rmi", "-f", &reference]);
    let deployed = world.cli(&["deploy", "app", "--image", &reference]);
    let said = text(&deployed);
    assert!(deployed.status.success(), "{said}");
    for line in [
        "pulling the image",
        "Status: Downloaded newer image",
        "the image is sha256:",
        "v1 is live",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    assert_eq!(version(), "image");

    // Without a registry the engine's own is taken, and that is said.
    drop(registry);
    let deployed = world.cli(&["deploy", "app", "--image", &reference]);
    let said = text(&deployed);
    assert!(deployed.status.success(), "{said}");
    for line in [
        "its registry does not give `127.0.0.1:",
        "the settings of `zarpar.toml` are those of v1",
        "v2 is live",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    let releases = world.json(&["releases", "app", "--json"]);
    assert_eq!(releases[0]["reference"], reference.as_str());
    assert_eq!(releases[0]["commit"], serde_json::Value::Null);
    let id = releases[0]["image"].as_str().unwrap().to_owned();
    assert!(world.ok(&["releases", "app"]).contains(&reference));
    assert!(world.ok(&["deployments", "app"]).contains(&reference));

    // A push after it, and back and forth between the two kinds.
    project.write("VERSION", "pushed");
    project.commit("pushed");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    assert_eq!(version(), "pushed");
    world.ok(&["rollback", "app"]);
    assert_eq!(version(), "image");
    world.ok(&["rollback", "app", "v3"]);
    assert_eq!(version(), "pushed");
    // By its id, which no registry is asked for.
    let said = world.ok(&["deploy", "app", "--image", &id]);
    assert!(!said.contains("registry"), "{said}");
    assert_eq!(version(), "image");

    let before = world.json(&["releases", "app", "--json"]);
    let absent = world.cli(&["deploy", "app", "--image", "127.0.0.1:1/no/such:1"]);
    assert_eq!(absent.status.code(), Some(1));
    let said = text(&absent);
    for line in [
        "there is no image `127.0.0.1:1/no/such:1`",
        "hint: is the name right?",
    ] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    assert_eq!(world.newest("app")["failed_in"], "pulling");
    assert_eq!(version(), "image");
    for words in [
        ["deploy", "app", "--image", "../etc"].as_slice(),
        &["deploy", "app", "main", "--image", "a"],
    ] {
        assert_eq!(world.cli(words).status.code(), Some(2));
    }
    // One that failed changed nothing, and the image, which is not ours, is still there.
    world.settled("app");
    let after = world.json(&["releases", "app", "--json"]);
    assert_eq!(after[0]["release"], before[0]["release"]);
    assert!(!docker(&["images", "-q", &reference]).is_empty());
}

#[test]
fn an_image_with_a_manage_py_gets_djangos_release_tasks() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let releases = world.json(&["releases", "tienda", "--json"]);
    let said = world.ok(&[
        "deploy",
        "tienda",
        "--image",
        releases[0]["image"].as_str().unwrap(),
    ]);
    for line in ["migrate took", "static files", "v2 is live"] {
        assert!(said.contains(line), "`{line}` is missing in:\n{said}");
    }
    let page = world.get("tienda.localhost", "/").text();
    let sheet = page.split('"').find(|word| word.ends_with(".css")).unwrap();
    assert_eq!(world.get("tienda.localhost", sheet).status, 200, "{sheet}");
}
