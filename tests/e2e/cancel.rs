//! A deployment is cancelled in every state it can be in: everyone is told by whom, nothing of it
//! is left, and the next push works.

use std::fs;
use std::io::Read;
use std::process::Child;
use std::time::{Duration, Instant};

use crate::project::Project;
use crate::world::{World, docker, text, until};

/// No other process on this machine has such a word.
const LONG: &str = "4242.0625";

fn said(push: &mut Child) -> (bool, String) {
    let mut said = String::new();
    push.stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (push.wait().unwrap().success(), said)
}

/// Whether a process with [`LONG`] among its words runs, in whatever container.
fn runs_long() -> bool {
    fs::read_dir("/proc").unwrap().any(|entry| {
        let line = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|word| word == LONG.as_bytes())
    })
}

fn state(world: &World, app: &str, state: &str) {
    until(&format!("a deployment that is {state}"), 60, || {
        (world.newest(app)["state"] == state).then_some(())
    });
}

/// Cancels the newest deployment and looks at what everyone is told.
#[track_caller]
fn cancel(world: &World, app: &str, push: &mut Child, during: &str) {
    let id = world.newest(app)["id"].to_string();
    let began = Instant::now();
    let cancelled = world.cli(&["deployments", "cancel", &id]);
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}",
        began.elapsed()
    );
    let (done, said) = said(push);
    for told in [&text(&cancelled), &said] {
        assert!(told.contains("cancelled: by cli:"), "{told}");
        assert!(
            told.contains(during) && told.contains("hint: to deploy it"),
            "{told}"
        );
    }
    assert!(
        !done && said.contains("[remote rejected] main -> main (cancelled)"),
        "{said}"
    );
    let newest = world.newest(app);
    assert_eq!(newest["state"], "cancelled");
    assert!(
        newest["reason"]
            .as_str()
            .unwrap()
            .starts_with("cancelled by cli:")
    );
    let filter = format!("label=zarpar.test={}", world.run);
    let deployment = format!("label=zarpar.deployment={id}");
    for list in [["ps", "-aq"], ["images", "-aq"]] {
        let left = docker(&[&list[..], &["--filter", &filter, "--filter", &deployment]].concat());
        assert_eq!(left, "", "left behind of {during}");
    }
}

#[test]
fn a_cancelled_deployment_leaves_nothing_in_whatever_state_it_was() {
    let world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "app", "one");
    assert!(project.push(&remote).status.success());
    let dockerfile = fs::read_to_string(project.folder.join("Dockerfile")).unwrap();
    let before = project.git(&["ls-remote", &remote]).stdout;

    // While its image is built, and one that waits for it.
    project.write(
        "Dockerfile",
        &dockerfile.replace("COPY", &format!("RUN sleep {LONG}\nCOPY")),
    );
    project.commit("builds long");
    let mut building = project.pushing(&remote);
    until("the command of the build", 60, || runs_long().then_some(()));
    let first = world.newest("app")["id"].to_string();
    project.write("Dockerfile", &dockerfile);
    project.commit("waits");
    let mut waiting = project.pushing(&remote);
    state(&world, "app", "queued");
    let id = world.newest("app")["id"].to_string();
    let following = world.cli(&["deployments", "cancel", &id, "again"]);
    assert_eq!(following.status.code(), Some(2));
    cancel(&world, "app", &mut waiting, "while it waited");

    project.write("VERSION", "two");
    project.commit("two");
    let mut next = project.pushing(&remote);
    state(&world, "app", "queued");
    assert_eq!(project.git(&["ls-remote", &remote]).stdout, before);
    let cancelled = world.cli(&["deployments", "app", "cancel", &first]);
    assert!(
        text(&cancelled).contains("while it was building"),
        "{}",
        text(&cancelled)
    );
    let (done, told) = said(&mut building);
    assert!(!done && told.contains("(cancelled)"), "{told}");
    until("the build to be aborted", 10, || {
        (!runs_long()).then_some(())
    });
    // The one that waited starts, with nobody's help.
    let (done, told) = said(&mut next);
    assert!(done && told.contains("v2 is live"), "{told}");
    assert_eq!(world.get("app.localhost", "/").text().trim(), "two");
    world.settled("app");
    let kept = world.inventory();
    let before = project.git(&["ls-remote", &remote]).stdout;

    // While a task of the project's own runs, which is asked to end.
    let task = format!("sh -c 'trap \"exit 3\" TERM; sleep {LONG} & wait'");
    project.write("zarpar.toml", &format!("[release]\ntasks = [{task:?}]\n"));
    project.commit("releases long");
    let mut push = project.pushing(&remote);
    until("the task", 60, || runs_long().then_some(()));
    cancel(&world, "app", &mut push, "while it was releasing");

    // While it is asked for its health.
    project.git(&["rm", "-q", "zarpar.toml"]);
    project.write("start.py", "import time; time.sleep(60)");
    project.commit("starts slowly");
    let mut push = project.pushing(&remote);
    state(&world, "app", "probing");
    cancel(&world, "app", &mut push, "while it was probing");

    assert_eq!(world.inventory(), kept, "something is left behind");
    assert_eq!(project.git(&["ls-remote", &remote]).stdout, before);
    assert_eq!(world.get("app.localhost", "/").text().trim(), "two");

    // A follower reads it from its start, also afterwards; what is over cannot be cancelled.
    let id = world.newest("app")["id"].to_string();
    let followed = world.cli(&["deployments", "follow", &id]);
    assert_eq!(followed.status.code(), Some(1));
    for line in [
        &format!("deployment {id}"),
        "checking out",
        "cancelled: by cli:",
    ] {
        assert!(text(&followed).contains(line), "{}", text(&followed));
    }
    let over = world.cli(&["deployments", "cancel", &id]);
    assert!(
        text(&over).contains("has ended (cancelled)"),
        "{}",
        text(&over)
    );

    project.write("start.py", "");
    project.write("VERSION", "three");
    project.commit("three");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let id = world.newest("app")["id"].to_string();
    let live = world.cli(&["deployments", "cancel", &id]);
    assert_eq!(live.status.code(), Some(1));
    assert!(
        text(&live).contains("is live\nhint: `zarpar rollback app`"),
        "{}",
        text(&live)
    );
    assert_eq!(world.get("app.localhost", "/").text().trim(), "three");
    let absent = world.cli(&["deployments", "cancel", "4711"]);
    assert!(
        text(&absent).contains("there is no deployment 4711"),
        "{}",
        text(&absent)
    );
}

#[test]
fn a_crash_in_the_middle_of_a_cancel_ends_the_deployment_with_a_reason() {
    let mut world = World::start();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "app", "one");
    assert!(project.push(&remote).status.success());
    world.settled("app");
    let kept = world.inventory();
    // The first process of a container that does not ask for SIGTERM does not get it.
    project.write("zarpar.toml", "[release]\ntasks = [\"sleep 6\"]\n");
    project.commit("two");
    let mut push = project.pushing(&remote);
    let task = format!("label=zarpar.test={}", world.run);
    until("the task", 60, || {
        let process = "label=zarpar.process=release";
        let running = docker(&["ps", "-q", "--filter", &task, "--filter", process]);
        (!running.is_empty()).then_some(())
    });
    let cancelling = std::process::Command::new(crate::world::BINARY)
        .args(["deployments", "cancel", "2"])
        .env("ZARPAR_DATA", world.data())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    let log = world.data().join("logs/deployments/2.jsonl");
    until("the cancel", 10, || {
        let text = fs::read_to_string(&log).unwrap();
        text.contains("ending what is at work").then_some(())
    });
    world.kill_serve();
    assert!(!cancelling.unwrap().wait().unwrap().success());
    let (done, _) = said(&mut push);
    assert!(!done);
    world.serve();
    let newest = world.newest("app");
    assert_eq!(newest["state"], "failed", "{newest}");
    assert!(
        newest["reason"]
            .as_str()
            .unwrap()
            .contains("zarpar stopped while it was releasing")
    );
    assert_eq!(world.inventory(), kept, "something is left behind");
    project.git(&["rm", "-q", "zarpar.toml"]);
    project.commit("three");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
}

/// The names of the migrations that the database has, beyond the example's own.
fn applied(world: &World) -> Vec<String> {
    let program = "from django.db.migrations.recorder import MigrationRecorder as R\nprint(*R.Migration.objects.filter(app='servicios', name__gt='0004').values_list('name', flat=True))";
    let words = [
        "run",
        "tienda",
        "--",
        "python",
        "manage.py",
        "shell",
        "-v",
        "0",
        "-c",
        program,
    ];
    let mut names: Vec<String> = world
        .ok(&words)
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

#[test]
fn a_migration_that_a_transaction_protects_is_cut_and_another_gets_its_end() {
    let world = World::start();
    let remote = world.app("tienda", &["--postgres"]);
    let project = Project::example(&world, "site");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let migration = |name: &str, after: &str, atomic: &str, seconds: u32| {
        let text = format!(
            "from django.db import migrations\nclass Migration(migrations.Migration):\n    atomic = {atomic}\n    dependencies = [('servicios', '{after}')]\n    operations = [migrations.RunPython(lambda *_: print('begins {name}', flush=True)), migrations.RunSQL('CREATE TABLE t{name} (x int)'), migrations.RunSQL('SELECT pg_sleep({seconds})')]\n"
        );
        project.write(&format!("servicios/migrations/{name}.py"), &text);
    };
    let applying = |world: &World, name: &str| {
        let id = world.newest("tienda")["id"].to_string();
        let log = world.data().join(format!("logs/deployments/{id}.jsonl"));
        until(name, 60, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.contains(&format!("begins {name}")).then_some(())
        });
    };
    migration("0005_whole", "0003_testimonio_estrellas_foto", "True", 60);
    project.commit("in a transaction");
    let mut push = project.pushing(&remote);
    state(&world, "tienda", "releasing");
    applying(&world, "0005_whole");
    cancel(&world, "tienda", &mut push, "while it was releasing");
    assert_eq!(applied(&world), Vec::<String>::new());

    migration("0005_whole", "0003_testimonio_estrellas_foto", "False", 5);
    migration("0006_next", "0005_whole", "True", 0);
    project.commit("without one");
    let mut push = project.pushing(&remote);
    state(&world, "tienda", "releasing");
    applying(&world, "0005_whole");
    let id = world.newest("tienda")["id"].to_string();
    let cancelled = world.cli(&["deployments", "cancel", &id]);
    assert!(cancelled.status.success(), "{}", text(&cancelled));
    assert!(
        text(&cancelled).contains("no transaction protects"),
        "{}",
        text(&cancelled)
    );
    let (done, told) = said(&mut push);
    assert!(!done && told.contains("(cancelled)"), "{told}");
    assert_eq!(applied(&world), ["0005_whole"]);

    let again = project.push(&remote);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(applied(&world), ["0005_whole", "0006_next"]);
}
