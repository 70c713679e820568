//! TLS as an outside scanner (sslscan) sees it: nothing beyond Mozilla's "intermediate" profile,
//! guideline 5.7 (<https://ssl-config.mozilla.org/guidelines/5.7.json>), with either kind of
//! certificate. The same scan of a server that allows everything shows that it sees what it looks
//! for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::json;

use crate::tls::{add, secured};
use crate::world::{Edge, PATIENCE, route};

/// The profile's cipher suites, by the names of OpenSSL.
const CIPHERS: [&str; 12] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256",
    "DHE-RSA-AES256-GCM-SHA384",
    "DHE-RSA-CHACHA20-POLY1305",
];
/// X25519, P-256 and P-384, by their numbers.
const GROUPS: [&str; 3] = ["0x001d", "0x0017", "0x0018"];

#[test]
fn a_scanner_finds_mozillas_intermediate_profile_and_no_more() {
    let edge = Edge::start();
    edge.apply(1, json!([route(&[])]));
    secured(&edge);
    let folder = tempfile::tempdir().unwrap();
    let rsa = rsa_pair(folder.path());
    add(&edge, &["rsa.test"], fs::read_to_string(&rsa).unwrap());
    for (name, own) in [("a.test", "ECDSA"), ("rsa.test", "RSA")] {
        let report = scan(edge.https.port(), name);
        assert_eq!(faults(&report), Vec::<String>::new(), "{name}: {report}");
        for found in [
            "TLS_AES_128_GCM_SHA256",
            &format!("ECDHE-{own}-AES128-GCM-SHA256"),
            "0x001d",
        ] {
            assert!(report.contains(found), "{found} for {name}: {report}");
        }
    }

    let lax = Lax::start(&rsa);
    let report = scan(lax.port, "rsa.test");
    let found = faults(&report);
    for expected in [
        "tls 1.0 is enabled",
        "tls 1.1 is enabled",
        "a visitor may renegotiate",
        "cipher AES128-SHA of TLSv1.2",
        "cipher ECDHE-RSA-AES256-SHA of TLSv1.0",
        "group x448",
    ] {
        assert!(
            found.iter().any(|fault| fault == expected),
            "the scanner is blind to `{expected}`, found {found:?}"
        );
    }
}

/// What of a report is not of the profile.
fn faults(report: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut versions = Vec::new();
    for element in report.lines().map(str::trim) {
        let value = |name| attribute(element, name);
        match element.split(' ').next() {
            Some("<protocol") => {
                let version = format!("{} {}", value("type"), value("version"));
                match (&*version, value("enabled")) {
                    ("tls 1.2" | "tls 1.3", "1") => versions.push(version),
                    (_, "0") => {}
                    _ => faults.push(format!("{version} is enabled")),
                }
            }
            Some("<renegotiation") if value("supported") != "0" => {
                faults.push("a visitor may renegotiate".to_owned());
            }
            Some("<compression") if value("supported") != "0" => {
                faults.push("compression".to_owned());
            }
            Some("<heartbleed") if value("vulnerable") != "0" => {
                faults.push("heartbleed".to_owned());
            }
            Some("<cipher") if !CIPHERS.contains(&value("cipher")) => {
                let (cipher, version) = (value("cipher"), value("sslversion"));
                faults.push(format!("cipher {cipher} of {version}"));
            }
            Some("<group") if !GROUPS.contains(&value("id")) => {
                faults.push(format!("group {}", value("name")));
            }
            _ => {}
        }
    }
    for needed in ["tls 1.2", "tls 1.3"] {
        if !versions.iter().any(|version| version == needed) {
            faults.push(format!("{needed} is missing"));
        }
    }
    for needed in ["<renegotiation", "<heartbleed", "<cipher", "<group"] {
        if !report.contains(needed) {
            faults.push(format!("the report says nothing of {needed}>"));
        }
    }
    faults
}

fn attribute<'a>(element: &'a str, name: &str) -> &'a str {
    let begin = format!(" {name}=\"");
    let value = element.split_once(&begin).map(|(_, rest)| rest);
    value
        .and_then(|rest| rest.split_once('"'))
        .map_or("", |(value, _)| value)
}

/// Two reports in one. Groups are asked with TLS 1.3 alone: with 1.2 the scanner expects the
/// messages of a handshake in a record each, and rustls packs them into one.
fn scan(port: u16, name: &str) -> String {
    let ask = |options: &[&str]| {
        run("sslscan", |command| {
            command
                .args(["--no-colour", "--xml=-"])
                .args(options)
                .arg(format!("--sni-name={name}"))
                .arg(format!("127.0.0.1:{port}"));
        })
    };
    let groups = [
        "--tls13",
        "--no-ciphersuites",
        "--no-renegotiation",
        "--no-heartbleed",
        "--no-fallback",
        "--no-check-certificate",
    ];
    ask(&["--no-groups"]) + &ask(&groups)
}

/// A key and a certificate in one file, as an operator may bring them.
fn rsa_pair(folder: &Path) -> PathBuf {
    let (key, certificate) = (folder.join("key.pem"), folder.join("certificate.pem"));
    run("openssl", |command| {
        command
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"])
            .args(["-days", "90", "-subj", "/CN=rsa.test"])
            .args(["-addext", "subjectAltName=DNS:rsa.test"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
    });
    let both = folder.join("both.pem");
    let text = fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap();
    fs::write(&both, text).unwrap();
    both
}

/// OpenSSL's own server with every door open.
struct Lax {
    port: u16,
    child: Child,
    /// Read no more, and open: it would end if it could not write.
    _output: BufReader<ChildStdout>,
}

impl Lax {
    fn start(pair: &Path) -> Lax {
        let mut child = command("openssl")
            .args(["s_server", "-www", "-accept", "127.0.0.1:0"])
            .args(["-cipher", "ALL:@SECLEVEL=0", "-min_protocol", "TLSv1"])
            .args(["-legacy_renegotiation", "-client_renegotiation"])
            .arg("-cert")
            .arg(pair)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let port = loop {
            line.clear();
            let read = output.read_line(&mut line).unwrap();
            assert!(read > 0, "openssl s_server ended: {:?}", child.wait());
            if let Some((_, port)) = line.trim().split_once("ACCEPT 127.0.0.1:") {
                break port.parse().unwrap();
            }
        };
        Lax {
            port,
            child,
            _output: output,
        }
    }
}

impl Drop for Lax {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program's output, after a limited time.
fn run(program: &str, arguments: impl FnOnce(&mut Command)) -> String {
    let mut command = command("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(program);
    arguments(&mut command);
    let output = command.output().unwrap();
    let (code, errors) = (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr),
    );
    let hint = match code {
        Some(124) => "\nhint: it took too long",
        Some(127) => "\nhint: scripts/setup --test installs it",
        _ => "",
    };
    assert_eq!(code, Some(0), "{program}: {errors}{hint}");
    String::from_utf8(output.stdout).unwrap()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the environment is emptied here as well"
)]
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    command
}
