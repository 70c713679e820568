//! Webhooks with a real forge at the other end: an sshd with git's server behind it, opened by the
//! deploy key that zarpar made, and deliveries signed as a forge signs them.

use std::fs;
use std::process::Child;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;

use crate::fetch_ssh::{key, run, sshd};
use crate::http;
use crate::project::Project;
use crate::world::{World, free_port, until};

/// A repository at a forge, and the webhook of `tienda` that follows it.
struct Forge {
    project: Project,
    url: String,
    secret: String,
    sshd: Child,
}

impl Drop for Forge {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// A server, an app, and its repository at a forge.
fn start() -> (World, Forge) {
    let mut world = World::bare();
    let folder = world.path("forge");
    fs::create_dir(&folder).unwrap();
    key(&folder, "host");
    fs::write(folder.join("authorized"), "").unwrap();
    let project = Project::tiny(&world, "forge/work", "one");
    let port = free_port();
    let sshd = sshd(&folder, port);
    let config = fs::read_to_string(world.config()).unwrap();
    let fetch = format!("{config}[fetch]\nallow = [\"127.0.0.1\"]\nports = [{port}]\n");
    fs::write(world.config(), fetch).unwrap();
    world.serve();
    world.ok(&["apps", "create", "tienda"]);
    let user = run(&folder, "id", &["-un"]);
    let mut forge = Forge {
        project,
        url: format!("ssh://{user}@127.0.0.1:{port}/yo/tienda.git"),
        secret: String::new(),
        sshd,
    };
    let url = forge.url.clone();
    forge.enable(&world, &["--provider", "github", "--repo", &url]);
    (world, forge)
}

impl Forge {
    /// Enables the webhook and does what its steps say.
    fn enable(&mut self, world: &World, more: &[&str]) -> Value {
        let words = ["webhooks", "enable", "tienda", "--json"];
        let made = world.json(&[&words[..], more].concat());
        let own = format!("http://127.0.0.1:{}/hooks/tienda", world.console);
        assert_eq!(made["url"], own.as_str());
        assert_eq!(made["reachable"], false);
        let line = format!("{}\n", made["deploy_key"].as_str().unwrap());
        fs::write(world.path("forge/authorized"), line).unwrap();
        self.secret = made["secret"].as_str().unwrap().to_owned();
        assert!(self.secret.len() >= 43, "{}", self.secret);
        made
    }

    fn commit(&self, version: &str) -> String {
        self.project.write("VERSION", version);
        self.project.commit(version)
    }

    fn push_event(&self, commit: &str) -> String {
        format!(
            r#"{{"ref":"refs/heads/main","after":"{commit}","repository":{{"full_name":"yo/tienda","clone_url":"https://elsewhere.test/x.git"}}}}"#
        )
    }

    fn deliver(&self, world: &World, id: &str, commit: &str) -> (u16, String) {
        let answer = self.send(world.console, "push", id, &self.push_event(commit));
        (answer.status, answer.text())
    }

    fn send(&self, console: u16, event: &str, id: &str, body: &str) -> http::Answer {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(self.secret.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let signature = format!("sha256={hex}");
        let headers = [
            ("Content-Type", "application/json"),
            ("X-GitHub-Event", event),
            ("X-GitHub-Delivery", id),
            ("X-Hub-Signature-256", &signature),
        ];
        let path = "/hooks/tienda";
        http::request(
            console,
            "POST",
            "localhost",
            path,
            &headers,
            body.as_bytes(),
        )
        .unwrap()
    }
}

/// The newest delivery of this id, once it is neither waiting nor being deployed.
#[track_caller]
fn settled(world: &World, id: &str) -> Value {
    until(&format!("the delivery `{id}` to be settled"), 90, || {
        let shown = world.json(&["webhooks", "show", "tienda", "--json"]);
        let deliveries = shown["deliveries"].as_array().unwrap();
        let found = deliveries.iter().find(|found| found["id"] == id)?;
        let under_way = found["state"] == "waiting" || found["state"] == "deploying";
        (!under_way).then(|| found.clone())
    })
}

fn site(world: &World) -> String {
    world.get("tienda.localhost", "/").text().trim().to_owned()
}

#[test]
fn a_signed_delivery_deploys_what_the_branch_has() {
    let (mut world, mut forge) = start();
    let first = forge.project.commit("the first");
    assert_eq!(
        forge.send(world.console, "ping", "p", "{}").text(),
        "pong\n"
    );
    // Until the deploy key is added there, people see why it waits.
    let authorized = world.path("forge/authorized");
    let key = fs::read_to_string(&authorized).unwrap();
    fs::write(&authorized, "").unwrap();
    let (status, said) = forge.deliver(&world, "one", &first);
    assert_eq!(status, 202, "{said}");
    let reason = until("why it waits", 30, || {
        let shown = world.json(&["webhooks", "show", "tienda", "--json"]);
        let delivery = shown["deliveries"][0].clone();
        assert_eq!(delivery["state"], "waiting", "{delivery}");
        delivery["reason"].as_str().map(str::to_owned)
    });
    assert!(
        reason.contains("deploy key in; the next try is at 2"),
        "{reason}"
    );
    fs::write(&authorized, key).unwrap();
    let one = settled(&world, "one");
    assert_eq!(
        (&one["state"], &one["release"]),
        (&"live".into(), &"v1".into()),
        "{one}"
    );
    assert_eq!(site(&world), "one");
    assert_eq!(world.newest("tienda")["by"], "webhook:github");
    assert_eq!(
        forge.deliver(&world, "one", &first).1,
        "already live: delivery 2\n"
    );

    // It fails for a reason that passes; the same delivery once more deploys it.
    forge.project.write(
        "start.py",
        "if not os.environ.get('GO'): sys.exit('no harbour')\n",
    );
    forge.project.write(
        "server.py",
        &format!(
            "import sys\n{}",
            fs::read_to_string(world.path("forge/work/server.py")).unwrap()
        ),
    );
    let second = forge.commit("two");
    assert_eq!(forge.deliver(&world, "two", &second).0, 202);
    let failed = settled(&world, "two");
    assert_eq!(failed["state"], "failed", "{failed}");
    assert!(
        failed["reason"].as_str().unwrap().contains("exit code 1"),
        "{failed}"
    );
    assert_eq!(site(&world), "one");
    world.ok(&["env", "set", "tienda", "GO=1", "--no-restart"]);
    assert_eq!(forge.deliver(&world, "two", &second).0, 202);
    assert_eq!(settled(&world, "two")["state"], "live");
    assert_eq!(site(&world), "two");

    // An old event under a new name: the head is another one.
    let deployments = world.newest("tienda")["id"].clone();
    assert_eq!(forge.deliver(&world, "old", &first).0, 202);
    let old = settled(&world, "old");
    assert_eq!(old["state"], "ignored", "{old}");
    assert!(
        old["reason"]
            .as_str()
            .unwrap()
            .contains("is not the head of `main`"),
        "{old}"
    );
    assert_eq!(world.newest("tienda")["id"], deployments);

    // What was taken before a crash is looked at after it.
    let third = forge.commit("three");
    assert_eq!(forge.deliver(&world, "three", &third).0, 202);
    world.kill_serve();
    world.serve();
    assert_eq!(settled(&world, "three")["state"], "live");
    assert_eq!(site(&world), "three");

    // By hand, what the forge has now is fetched too.
    forge.commit("by hand");
    world.ok(&["deploy", "tienda"]);
    assert_eq!(site(&world), "by hand");

    // Looks of its own; and the secret of before opens nothing.
    let enable = [
        "webhooks",
        "enable",
        "tienda",
        "--provider",
        "github",
        "--repo",
    ];
    let again = world.cli(&[&enable[..], &[&forge.url]].concat());
    assert!(!again.status.success());
    let other = world.cli(&[&enable[..], &["https://github.com/yo/x", "--poll", "5m"]].concat());
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(!other.status.success(), "{said}");
    assert!(
        said.contains("`zarpar webhooks disable tienda` first"),
        "{said}"
    );
    // One thing alone is changed with the secret and the key that are at the forge.
    let shown = world.json(&["webhooks", "show", "tienda", "--json"]);
    let kept = world.json(&["webhooks", "enable", "tienda", "--poll", "1h", "--json"]);
    assert_eq!((&kept["kept"], &kept["secret"]), (&true.into(), &"".into()));
    assert_eq!(kept["deploy_key"], shown["deploy_key"]);
    assert_eq!(kept["poll_seconds"], 3600);
    assert_eq!(forge.send(world.console, "ping", "q", "{}").status, 200);
    let before = std::mem::take(&mut forge.secret);
    let made = forge.enable(&world, &["--rotate", "--poll", "5s"]);
    assert_ne!(made["secret"], before.as_str());
    let mut new = std::mem::replace(&mut forge.secret, before);
    let fourth = forge.commit("four");
    let refused = forge.deliver(&world, "late", &fourth);
    assert_eq!(refused.0, 401);
    until("the look of our own", 60, || {
        (site(&world) == "four").then_some(())
    });
    assert_eq!(world.newest("tienda")["by"], "poll:github");

    // What people deploy by hand stays while the head does not change: neither a look of our own
    // nor a delivery about it under another name brings it back.
    world.ok(&["deploy", "tienda", &third]);
    let by_hand = world.newest("tienda")["id"].clone();
    let last_look = || {
        let shown = world.json(&["webhooks", "show", "tienda", "--json"]);
        shown["last_look"].as_str().unwrap().to_owned()
    };
    let before = last_look();
    until("two looks of our own", 60, || {
        (last_look() != before).then_some(())
    });
    let before = last_look();
    until("another look of our own", 60, || {
        (last_look() != before).then_some(())
    });
    std::mem::swap(&mut forge.secret, &mut new);
    assert_eq!(forge.deliver(&world, "replay", &fourth).0, 202);
    std::mem::swap(&mut forge.secret, &mut new);
    let replay = settled(&world, "replay");
    assert_eq!(replay["state"], "ignored", "{replay}");
    let reason = replay["reason"].as_str().unwrap();
    assert!(reason.contains("was deployed by deployment"), "{reason}");
    assert_eq!(world.newest("tienda")["id"], by_hand);
    assert_eq!(site(&world), "three");

    let shown = world.ok(&["webhooks", "show", "tienda"]);
    for secret in [&forge.secret, &new] {
        assert!(!shown.contains(secret.as_str()), "{shown}");
        let log = fs::read_to_string(world.log()).unwrap();
        assert!(!log.contains(secret.as_str()), "{log}");
    }
    assert!(
        shown.contains("last look:") && shown.contains("SHA256:"),
        "{shown}"
    );

    world.ok(&["webhooks", "disable", "tienda"]);
    forge.secret = new;
    assert_eq!(forge.deliver(&world, "late", &fourth), refused);
}

/// Deliveries of the burst, and in how many seconds they come.
const BURST: u64 = 500;
const SECONDS: u64 = 10;
/// Connections that deliver.
const SENDERS: u64 = 10;

#[test]
fn five_hundred_deliveries_during_a_build_lead_to_the_newest_commit() {
    let (world, forge) = start();
    let dockerfile = fs::read_to_string(world.path("forge/work/Dockerfile")).unwrap();
    let slow = format!(
        "{dockerfile}LABEL zarpar.slow={}\nRUN sleep 14\n",
        world.run
    );
    forge.project.write("Dockerfile", &slow);
    let first = forge.commit("slow");
    assert_eq!(forge.deliver(&world, "first", &first).0, 202);
    until("the build", 60, || {
        (world.newest("tienda")["state"] == "building").then_some(())
    });
    forge.project.write("Dockerfile", &dockerfile);
    let head = Mutex::new(forge.commit("quick"));
    let begun = Instant::now();
    let pace = Duration::from_secs(SECONDS) * u32::try_from(SENDERS).unwrap()
        / u32::try_from(BURST).unwrap();
    let longest = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (forge, head, console) = (&forge, &head, world.console);
                scope.spawn(move || {
                    let mut longest = Duration::ZERO;
                    for round in 0..BURST / SENDERS {
                        let due = begun + pace * u32::try_from(round).unwrap();
                        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
                        let commit = head.lock().unwrap().clone();
                        let id = format!("burst-{sender}-{round}");
                        let asked = Instant::now();
                        let answer = forge.send(console, "push", &id, &forge.push_event(&commit));
                        longest = longest.max(asked.elapsed());
                        assert_eq!(answer.status, 202, "{}", answer.text());
                    }
                    longest
                })
            })
            .collect();
        let mut number = 0;
        while senders.iter().any(|sender| !sender.is_finished()) {
            number += 1;
            *head.lock().unwrap() = forge.commit(&format!("version {number}"));
            let deployments = world.json(&["deployments", "tienda", "--json"]);
            let states: Vec<&str> = deployments
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["state"].as_str().unwrap())
                .collect();
            let count =
                |wanted: &dyn Fn(&str) -> bool| states.iter().filter(|state| wanted(state)).count();
            let ended = ["live", "failed", "superseded"];
            assert!(count(&|state| state == "queued") <= 1, "{states:?}");
            assert!(
                count(&|state| state != "queued" && !ended.contains(&state)) <= 1,
                "{states:?}"
            );
            std::thread::park_timeout(Duration::from_millis(300));
        }
        let longest = senders.into_iter().map(|sender| sender.join().unwrap());
        longest.max().unwrap()
    });
    assert!(
        begun.elapsed() < Duration::from_secs(SECONDS + 3),
        "{:?}",
        begun.elapsed()
    );
    let slow = world.json(&["deployments", "tienda", "--json"]);
    let slow = slow.as_array().unwrap().last().unwrap();
    assert_eq!(slow["state"], "building", "the build went on all the time");
    eprintln!("the longest answer of {BURST}: {longest:?}");
    assert!(longest < Duration::from_secs(1), "{longest:?}");
    // A commit that nobody told of yet, as the last push of all.
    let last = forge.commit("the last");
    assert_eq!(forge.deliver(&world, "last", &last).0, 202);
    assert_eq!(settled(&world, "last")["state"], "live");
    assert_eq!(site(&world), "the last");
    until("nothing to be under way", 60, || {
        let shown = world.json(&["webhooks", "show", "tienda", "--json"]);
        let deliveries = shown["deliveries"].as_array().unwrap().iter();
        let under_way = |one: &Value| one["state"] == "waiting" || one["state"] == "deploying";
        (!deliveries.clone().any(under_way)).then_some(())
    });
}
