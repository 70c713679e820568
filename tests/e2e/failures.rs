//! A push that fails in each phase: the pusher is told, the old release is not touched, nothing
//! is left, and the repaired commit works.

use crate::project::Project;
use crate::world::{World, text};

const HOST: &str = "app.localhost";

#[test]
fn a_failed_push_changes_nothing_and_the_repaired_one_works() {
    let world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let mut version = 1;
    // (what is broken, in which file, with what, the phase's words, a line of the failure)
    // The label makes whatever the builder leaves of the steps before the broken one countable.
    let broken_build = format!(
        "FROM python:3.13-slim\nLABEL zarpar.test={}\nRUN echo made > /made\nRUN echo cannot go on && exit 3\n",
        world.run
    );
    let cases = [
        (
            "build",
            "Dockerfile",
            broken_build.as_str(),
            "building the image",
            "cannot go on",
        ),
        (
            "plan",
            "zarpar.toml",
            "[web]\ncomand = \"x\"\n",
            "planning",
            "did you mean `web.command`?",
        ),
        (
            "release",
            "zarpar.toml",
            "[release]\ntasks = [\"python3 -c 'print(\\\"no table\\\"); exit(4)'\"]\n",
            "releasing",
            "no table",
        ),
        (
            "boot",
            "start.py",
            "sys.exit('no harbour')\n",
            "failed: the new release ended with exit code 1",
            "no harbour",
        ),
        (
            "health",
            "STATUS",
            "500",
            "probing",
            "last found: status 500",
        ),
    ];
    for (what, path, broken, phase, line) in cases {
        world.settled("app");
        let before = (
            world.inventory(),
            project.git(&["ls-remote", &remote]).stdout,
        );
        let whole = std::fs::read_to_string(project.folder.join(path)).ok();
        project.write(path, broken);
        if what == "health" {
            project.write("zarpar.toml", "[web.health]\ntimeout = \"3s\"\n");
        }
        project.commit(what);
        let failed = project.push(&remote);
        let shown = text(&failed);
        assert!(!failed.status.success(), "{what}: {shown}");
        for needed in ["[remote rejected]", phase, line, "hint:"] {
            assert!(
                shown.contains(needed),
                "{what}: `{needed}` is missing in:\n{shown}"
            );
        }
        assert_eq!(
            world.get(HOST, "/").text().trim(),
            version.to_string(),
            "{what}: the old release answers"
        );
        assert_eq!(
            (
                world.inventory(),
                project.git(&["ls-remote", &remote]).stdout
            ),
            before,
            "{what}: something is left behind"
        );
        assert_eq!(world.newest("app")["state"], "failed", "{what}");

        match whole {
            Some(whole) => project.write(path, &whole),
            None => std::fs::remove_file(project.folder.join(path)).unwrap(),
        }
        let _ = std::fs::remove_file(project.folder.join("zarpar.toml"));
        version += 1;
        project.write("VERSION", &version.to_string());
        project.commit("repaired");
        let repaired = project.push(&remote);
        assert!(repaired.status.success(), "{what}: {}", text(&repaired));
        assert_eq!(world.get(HOST, "/").text().trim(), version.to_string());
        // The replaced release goes away a moment later; the next case counts what is there.
        world.settled("app");
    }
}

#[test]
fn a_failed_migration_leaves_the_old_release_and_says_why() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    world.settled("tienda");
    let before = (
        world.inventory(),
        project.git(&["ls-remote", &remote]).stdout,
    );
    let path = "servicios/migrations/0099_broken.py";
    let migration = "from django.db import migrations\nclass Migration(migrations.Migration):\n    dependencies = [('servicios', '0003_testimonio_estrellas_foto')]\n    operations = [migrations.RunSQL('SELECT * FROM no_such_table')]\n";
    project.write(path, migration);
    // A static file of its own must go with the release that never was.
    project.write("sitio/static/sitio/nuevo.css", "/* never live */");
    project.commit("broken");
    let failed = project.push(&remote);
    let shown = text(&failed);
    assert!(!failed.status.success());
    for needed in [
        "[remote rejected]",
        "releasing",
        "no_such_table",
        "failed: `migrate` ended with exit code 1",
        "hint:",
    ] {
        assert!(shown.contains(needed), "`{needed}` is missing in:\n{shown}");
    }
    let version = || {
        let answer = world.get("tienda.localhost", "/version/");
        answer.text().trim().to_owned()
    };
    assert_eq!(version(), "1");
    let after = (
        world.inventory(),
        project.git(&["ls-remote", &remote]).stdout,
    );
    assert_eq!(after, before, "something is left behind");

    project.write(path, &migration.replace("* FROM no_such_table", "1"));
    project.replace("sitio/version.py", "VERSION = \"1\"", "VERSION = \"2\"");
    project.commit("repaired");
    let repaired = project.push(&remote);
    assert!(repaired.status.success(), "{}", text(&repaired));
    assert_eq!(version(), "2");
}
