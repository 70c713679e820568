//! Certificates ordered by themselves, from Pebble, Let's Encrypt's own test authority.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::edge::visit;
use crate::project::Project;
use crate::world::{World, free_port, text, until};

const HOST: &str = "app.localhost";

/// Pebble and its name server, which says 127.0.0.1 for every name; both end with the value.
struct Authority {
    children: Vec<Child>,
    management: u16,
}

impl Authority {
    /// Starts both; what `zarpar` has to know goes into the configuration of `world`.
    fn start(world: &World) -> Authority {
        let path = |name: &str| world.path(name);
        let mut root = CertificateParams::default();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_key = KeyPair::generate().unwrap();
        fs::write(path("root.pem"), root.self_signed(&root_key).unwrap().pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
        fs::write(path("pebble.pem"), own.pem()).unwrap();
        fs::write(path("pebble.key"), key.serialize_pem()).unwrap();
        let (port, management) = (free_port(), free_port());
        let names = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": path("pebble.pem"),
            "privateKey": path("pebble.key"),
            "httpPort": world.http,
            "tlsPort": world.https,
        }});
        fs::write(path("pebble.json"), config.to_string()).unwrap();
        let mut config = OpenOptions::new()
            .append(true)
            .open(world.config())
            .unwrap();
        write!(
            config,
            "[acme]\ndirectory = \"https://127.0.0.1:{port}/dir\"\nroots = \"{}\"\nlook_up_names = false\n",
            path("root.pem").display()
        )
        .unwrap();
        let start = |program: &str, arguments: &[&str]| {
            let log = File::create(path(&format!("{program}.log"))).unwrap();
            Command::new(program)
                .args(arguments)
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", "50")
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("{program}: {error}\nhint: scripts/setup installs it")
                })
        };
        let names = names.to_string();
        let off = [
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-management",
            "",
        ];
        let told = ["-dns01", &names, "-defaultIPv6", ""];
        let file = path("pebble.json").display().to_string();
        let authority = Authority {
            children: vec![
                start("pebble-challtestsrv", &[&told[..], &off].concat()),
                start("pebble", &["-config", &file, "-dnsserver", &names]),
            ],
            management,
        };
        // Asked in vain, the edge would wait a minute.
        until("Pebble to listen", 20, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        authority
    }

    /// The root that it signs with, as browsers would trust it.
    fn save_root(&self, world: &World) {
        let program = "import ssl, sys, urllib.request\ncontext = ssl._create_unverified_context()\nprint(urllib.request.urlopen(sys.argv[1], context=context).read().decode())";
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let asked = Command::new("python3")
            .args(["-c", program, &url])
            .env_remove("https_proxy")
            .output()
            .unwrap();
        assert!(asked.status.success(), "{}", text(&asked));
        fs::write(world.path("authority.pem"), asked.stdout).unwrap();
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn an_app_gets_its_certificate_by_itself_and_a_restart_orders_nothing() {
    let mut world = World::bare();
    let mut config = OpenOptions::new()
        .append(true)
        .open(world.config())
        .unwrap();
    config
        .write_all(b"[console]\nhost = \"ship.localhost\"\n")
        .unwrap();
    let authority = Authority::start(&world);
    world.serve();
    let remote = world.app("app", &[]);
    let project = Project::tiny(&world, "site", "1");
    let pushed = project.push(&remote);
    assert!(pushed.status.success(), "{}", text(&pushed));
    let kept = world
        .data()
        .join("certificates")
        .join(HOST)
        .join("acme.pem");
    until("a certificate", 60, || kept.exists().then_some(()));
    authority.save_root(&world);
    until("it in force", 20, || {
        (visit(&world, "authority.pem") == "200 max-age=31536000 1").then_some(())
    });
    assert_eq!(world.get(HOST, "/").status, 301);
    let listed = until("the next step", 20, || {
        let listed = world.json(&["certificates", "list", "--json"]);
        let next = listed[0]["next_step"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        next.starts_with("renews ").then_some(listed)
    });
    assert_eq!(listed[0]["source"], "acme");
    assert_eq!(listed[0]["names"], serde_json::json!([HOST]));
    assert_eq!(listed[0]["last_error"], serde_json::Value::Null);
    let issuer = listed[0]["issuer"].as_str().unwrap();
    assert!(issuer.contains("Pebble"), "{issuer}");

    // Nobody is asked again because the edge was started again; a person may.
    let first = fs::read(&kept).unwrap();
    world.kill_edge();
    until("a new edge", 20, || {
        (visit(&world, "authority.pem") == "200 max-age=31536000 1").then_some(())
    });
    let orders = || {
        let log = fs::read_to_string(world.path("pebble.log")).unwrap();
        log.matches("/order-plz").count()
    };
    let before = orders();
    until("the list", 20, || {
        let listed = world.json(&["certificates", "list", "--json"]);
        let next = listed[0]["next_step"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        next.starts_with("renews ").then_some(())
    });
    assert_eq!(
        (orders(), fs::read(&kept).unwrap()),
        (before, first.clone())
    );
    world.ok(&["certificates", "renew", "app"]);
    until("another certificate", 60, || {
        (fs::read(&kept).unwrap() != first).then_some(())
    });
    assert!(orders() > before);
    // The console's own host has one too.
    let console = world.data().join("certificates/ship.localhost/acme.pem");
    until("the console's certificate", 60, || {
        console.exists().then_some(())
    });
    let first = fs::read(&console).unwrap();
    world.ok(&["certificates", "renew", "ship.localhost"]);
    until("another one", 60, || {
        (fs::read(&console).unwrap() != first).then_some(())
    });
    let unknown = world.cli(&["certificates", "renew", "nobody"]);
    assert_eq!(unknown.status.code(), Some(1));
}
