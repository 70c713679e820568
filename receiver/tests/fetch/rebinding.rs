//! A name that means a public address when it is judged and this machine a moment later. In
//! namespaces of its own, with a resolver of its own: what answers is a real DNS server, and what
//! asks is the system's resolver and git's.

use std::net::{IpAddr, Ipv4Addr, TcpListener, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use zarpar_receiver::{Credentials, FetchError, FetchRules};

use crate::forge::{Forge, Manner};

const FORGE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const RESOLVER: &str = "127.0.0.53";
const PORT: u16 = 8443;

#[test]
fn a_name_that_changes_its_meaning_leads_nowhere() {
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "rebinding::inside", "--nocapture"])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "runs in namespaces that the test above makes"]
async fn inside() {
    run("ip", &["link", "set", "lo", "up"]);
    run("ip", &["address", "add", &FORGE.to_string(), "dev", "lo"]);
    let folder = tempfile::tempdir().unwrap();
    over(
        "/etc/resolv.conf",
        &format!("nameserver {RESOLVER}\n"),
        folder.path(),
    );
    over("/etc/nsswitch.conf", "hosts: files dns\n", folder.path());
    let asked = Arc::new(AtomicUsize::new(0));
    let server = UdpSocket::bind((RESOLVER, 53)).unwrap();
    let counted = asked.clone();
    // Ends with the process, which is this test's alone.
    std::thread::spawn(move || serve_names(&server, &counted));

    let forge = Forge::start_at(&FORGE.to_string(), PORT, Manner::Serve).await;
    let canary = TcpListener::bind(("127.0.0.1", PORT)).unwrap();
    canary.set_nonblocking(true).unwrap();
    let rules = FetchRules {
        allow: vec![FORGE.to_string().parse().unwrap()],
        ..forge.rules()
    };
    let fetch = async |host: &str| {
        let url = format!("https://{host}:{PORT}/yo/tienda.git");
        forge
            .fetch_from(&url, "main", Credentials::None, &rules)
            .await
    };

    fetch("forge.test").await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "somebody asked again");
    let mut now = ("forge.test", PORT).to_socket_addrs().unwrap();
    assert_eq!(now.next().unwrap().ip(), IpAddr::from([127, 0, 0, 1]));
    for host in ["forge.test", "both.test"] {
        let error = fetch(host).await.unwrap_err();
        let FetchError::Address { address, .. } = error else {
            panic!("{host}: {error}");
        };
        assert_eq!(address, IpAddr::from([127, 0, 0, 1]), "{host}");
    }
    let knocked = canary.accept().unwrap_err();
    assert_eq!(knocked.kind(), std::io::ErrorKind::WouldBlock);
}

/// Puts a text over a file of the system, in this namespace alone.
fn over(path: &str, text: &str, folder: &Path) {
    let own = folder.join(path.replace('/', "-"));
    std::fs::write(&own, text).unwrap();
    run("mount", &["--bind", own.to_str().unwrap(), path]);
}

/// DNS (RFC 1035): `forge.test` is the forge at the first question and this machine afterwards,
/// `both.test` is both at once. There are no other addresses.
fn serve_names(server: &UdpSocket, asked: &AtomicUsize) {
    let mut buffer = [0; 512];
    loop {
        let (length, from) = server.recv_from(&mut buffer).unwrap();
        let query = &buffer[..length];
        let name_end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap();
        let question = &query[12..name_end + 5];
        let is_a = query[name_end + 1..name_end + 3] == [0, 1];
        let both = query[13..].starts_with(b"both");
        let mut answers = Vec::new();
        if is_a && both {
            answers = vec![FORGE, Ipv4Addr::LOCALHOST];
        } else if is_a {
            let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
            answers.push(if first { FORGE } else { Ipv4Addr::LOCALHOST });
        }
        let mut reply = query[..2].to_vec();
        reply.extend([0x81, 0x80, 0, 1, 0, u8::try_from(answers.len()).unwrap()]);
        reply.extend([0, 0, 0, 0]);
        reply.extend(question);
        for answer in answers {
            // The name of the question, A, IN, no time to live, four bytes.
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            reply.extend(answer.octets());
        }
        server.send_to(&reply, from).unwrap();
    }
}
