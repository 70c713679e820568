#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
use std::process::Command;

use super::*;

const ED25519: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE0cOaEDZmKS0gojFpWWm1N8TvueNWCyu0BR7P0AEPag";

fn parse(text: &str) -> Result<PublicKey, PublicKeyError> {
    text.parse()
}

/// A key of OpenSSH's own making, and its fingerprint.
fn made(words: &[&str]) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    let ran = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-C", "ana@laptop"])
        .args(words)
        .arg("-f")
        .arg(&file)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let public = file.with_extension("pub");
    let shown = Command::new("ssh-keygen")
        .arg("-lf")
        .arg(&public)
        .output()
        .unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    (
        std::fs::read_to_string(public).unwrap(),
        shown.split(' ').nth(1).unwrap().to_owned(),
    )
}

#[test]
fn keys_of_ssh_keygen_are_read_and_written_as_they_are() {
    for words in [
        &["-t", "ed25519"][..],
        &["-t", "ecdsa", "-b", "256"],
        &["-t", "ecdsa", "-b", "384"],
        &["-t", "ecdsa", "-b", "521"],
        &["-t", "rsa", "-b", "2048"],
    ] {
        let (text, fingerprint) = made(words);
        let key = parse(&text).unwrap();
        assert_eq!(key.to_string(), text.trim_end(), "{words:?}");
        assert_eq!(key.fingerprint(), fingerprint, "{words:?}");
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    let (short, _) = made(&["-t", "rsa", "-b", "1024"]);
    assert_eq!(parse(&short), Err(PublicKeyError::RsaBits(1024)));
}

/// Keys that need a device to be made, put together by hand (OpenSSH's PROTOCOL.u2f).
#[test]
fn keys_of_security_devices() {
    let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let line = |name: &str, fields: &[&[u8]]| {
        let blob: Vec<u8> = [name.as_bytes()]
            .iter()
            .chain(fields)
            .flat_map(|bytes| field(bytes))
            .collect();
        format!("{name} {}", STANDARD.encode(blob))
    };
    let ed25519 = line("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]);
    assert_eq!(parse(&ed25519).unwrap().line(), ed25519);
    let point = [&[4][..], &[7; 64]].concat();
    let ecdsa = line(
        "sk-ecdsa-sha2-nistp256@openssh.com",
        &[b"nistp256", &point, b"ssh:"],
    );
    assert_eq!(parse(&ecdsa).unwrap().line(), ecdsa);
    // Another curve, a compressed point, a field too many, one too few.
    let name = "sk-ecdsa-sha2-nistp256@openssh.com";
    for wrong in [
        line(name, &[b"nistp384", &point, b"ssh:"]),
        line(name, &[b"nistp256", &[2; 33], b"ssh:"]),
        line(name, &[b"nistp256", &point, b"ssh:", b"x"]),
        line(name, &[b"nistp256", &point]),
        line("ssh-ed25519", &[&[7; 31]]),
    ] {
        assert!(
            matches!(parse(&wrong), Err(PublicKeyError::Blob(_))),
            "{wrong}"
        );
    }
}

#[test]
fn a_comment_keeps_harmless_letters_alone() {
    for (comment, kept) in [
        ("ana@laptop", "ana@laptop"),
        ("Ana  María \"x\" \u{1b}[2J", "AnaMarax2J"),
        ("'; touch /tmp/x #", "touchtmpx"),
    ] {
        assert_eq!(
            parse(&format!("{ED25519} {comment}")).unwrap().comment(),
            kept
        );
    }
    let long = parse(&format!("{ED25519} {}", "x".repeat(500))).unwrap();
    assert_eq!(long.comment().len(), 64);
    assert_eq!(
        parse(&format!("\n{ED25519}\r\n\n")).unwrap().to_string(),
        ED25519
    );
}

#[test]
fn what_is_no_single_public_key_is_refused() {
    let refused = |text: &str| parse(text).unwrap_err();
    assert_eq!(refused(" \n"), PublicKeyError::Empty);
    assert_eq!(refused(&"x".repeat(20_000)), PublicKeyError::Long);
    assert_eq!(
        refused(&format!("{ED25519}\n{ED25519}")),
        PublicKeyError::Several(2)
    );
    // A comment that would be a second line of the file.
    assert_eq!(
        refused(&format!("{ED25519} a\rcommand=\"x\" {ED25519}")),
        PublicKeyError::Several(2)
    );
    for options in [
        "no-pty",
        "command=\"id\"",
        "restrict,pty,command=\"sh -c id\"",
    ] {
        assert_eq!(
            refused(&format!("{options} {ED25519}")),
            PublicKeyError::Options
        );
    }
    assert_eq!(
        refused(&ED25519.replacen("ssh-ed25519", "ssh-ed25519-cert-v01@openssh.com", 1)),
        PublicKeyError::Certificate
    );
    assert_eq!(
        refused("ssh-dss AAAAB3NzaC1kc3MAAACBAP"),
        PublicKeyError::Dsa
    );
    assert_eq!(refused("hello there"), PublicKeyError::Algorithm);
    for damaged in [
        "ssh-ed25519".to_owned(),
        ED25519[..ED25519.len() - 4].to_owned(),
        ED25519.replacen("ssh-ed25519", "ecdsa-sha2-nistp256", 1),
        format!("{ED25519}AAAA"),
        ED25519.replace("AAAAIE0c", "A\0AAIE0c"),
    ] {
        assert!(
            matches!(refused(&damaged), PublicKeyError::Blob(_)),
            "{damaged}"
        );
    }
}

#[test]
fn a_private_key_is_refused_and_never_shown() {
    for text in [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
        "PuTTY-User-Key-File-3: ssh-ed25519\nc2VjcmV0",
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error, PublicKeyError::Private);
        assert!(!error.to_string().contains("c2VjcmV0"));
    }
}

#[test]
fn roles_are_in_order() {
    assert!(Role::Deploy < Role::Operate && Role::Operate < Role::Admin);
    for role in Role::ALL {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!("root".parse::<Role>(), Err(RoleError));
}
