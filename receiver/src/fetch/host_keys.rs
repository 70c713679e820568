//! The keys by which an ssh server is known again. They are looked at once, when a repository is
//! configured, and shown to the person who does it; from then on no other key is accepted.

use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha256};
use zarpar_model::RepositoryUrl;

use super::destination::resolve;
use super::{FetchError, FetchRules};

/// The kinds of keys that are pinned, the best one first.
const KINDS: [&str; 5] = [
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
];
/// What the look may take; a forge answers within one second.
const TIME: Duration = Duration::from_secs(20);
/// The longest key that is taken, in bytes of base64: RSA with 16384 bits has 2752.
const LENGTH: usize = 4096;

/// Fingerprints of Ed25519 keys that forges publish on pages of theirs:
/// docs.github.com "GitHub's SSH key fingerprints", docs.gitlab.com "SSH host keys fingerprints",
/// support.atlassian.com "Configure SSH" for Bitbucket Cloud. Seen there in 2026.
const PUBLISHED: [(&str, &str); 3] = [
    (
        "github.com",
        "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
    ),
    (
        "gitlab.com",
        "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
    ),
    (
        "bitbucket.org",
        "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
    ),
];

/// The host keys of an ssh address, each as `TYPE BASE64`, the best one first. Of a forge that
/// publishes its Ed25519 key, only that one is taken.
///
/// # Errors
/// [`FetchError`]: an address that must not be connected to, no ssh server there, or a known
/// forge with another key than its own.
pub async fn host_keys(url: &RepositoryUrl, rules: &FetchRules) -> Result<Vec<String>, FetchError> {
    let none = || FetchError::NoHostKey {
        host: url.host().to_owned(),
        port: url.port(),
    };
    let look = async {
        let addresses = resolve(url.host(), url.port(), rules).await?;
        let first = addresses.first().ok_or_else(none)?;
        let text = scan(&first.to_string(), url.port())
            .await
            .map_err(|source| FetchError::Files { source })?;
        let mut keys: Vec<String> = text
            .lines()
            .filter_map(|line| parse(line.split_once(' ')?.1))
            .collect();
        keys.sort_by_key(|key| KINDS.iter().position(|kind| key.starts_with(kind)));
        keys.dedup();
        if keys.is_empty() {
            return Err(none());
        }
        published(url.host(), keys)
    };
    tokio::time::timeout(TIME, look)
        .await
        .unwrap_or_else(|_| Err(none()))
}

/// Of a forge that publishes its key, that key alone.
fn published(host: &str, keys: Vec<String>) -> Result<Vec<String>, FetchError> {
    let Some((_, published)) = PUBLISHED.iter().find(|(known, _)| *known == host) else {
        return Ok(keys);
    };
    match keys.iter().find(|key| fingerprint(key) == *published) {
        Some(key) => Ok(vec![key.clone()]),
        None => Err(FetchError::NotThePublishedKey {
            host: host.to_owned(),
            found: keys.first().map(|key| fingerprint(key)).unwrap_or_default(),
            published,
        }),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that starts ssh-keyscan, with fixed arguments"
)]
async fn scan(address: &str, port: u16) -> std::io::Result<String> {
    let output = tokio::process::Command::new("ssh-keyscan")
        .args(["-T", "8", "-t", "ed25519,ecdsa,rsa", "-p"])
        .arg(port.to_string())
        .arg("--")
        .arg(address)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `TYPE BASE64` when a line is that of a public key; what follows is left out.
pub(super) fn parse(line: &str) -> Option<String> {
    let mut words = line.split(' ');
    let (kind, key) = (words.next()?, words.next()?.trim_end());
    if !KINDS.contains(&kind) || key.len() > LENGTH {
        return None;
    }
    let blob = STANDARD.decode(key).ok()?;
    // RFC 4253 section 6.6: the blob begins with the kind's name.
    let length = u32::try_from(kind.len()).ok()?.to_be_bytes();
    let named = blob.strip_prefix(&length)?.strip_prefix(kind.as_bytes())?;
    (!named.is_empty()).then(|| format!("{kind} {key}"))
}

/// The fingerprint of a key `TYPE BASE64`, as `ssh-keygen -l` shows it.
pub fn fingerprint(key: &str) -> String {
    let blob = key
        .split(' ')
        .nth(1)
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(blob)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GITHUB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
    const GITLAB: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAfuCHKVTjquxvt6CM6tdG4SLp1Btn/nOeHHE5UOzRdf";

    #[test]
    fn a_known_forge_with_another_key_is_refused() {
        assert_eq!(
            published("github.com", vec![GITLAB.to_owned(), GITHUB.to_owned()]).unwrap(),
            [GITHUB]
        );
        let error = published("github.com", vec![GITLAB.to_owned()]).unwrap_err();
        assert!(error.to_string().contains(&fingerprint(GITLAB)), "{error}");
        assert_eq!(
            published("forge.example", vec![GITLAB.to_owned()]).unwrap(),
            [GITLAB]
        );
    }

    #[test]
    fn a_line_is_one_key_or_nothing() {
        assert_eq!(parse(&format!("{GITHUB} a comment")).unwrap(), GITHUB);
        assert_eq!(parse(&format!("{GITHUB}\n")).unwrap(), GITHUB);
        let other = GITHUB.replace("ssh-ed25519", "ssh-rsa");
        for line in [
            "",
            "ssh-ed25519",
            "ssh-ed25519 ",
            "ssh-ed25519 !!!!",
            "ssh-ed25519 AAAA",
            "ssh-dss AAAAB3NzaC1kc3MAAACB",
            "@cert-authority * ssh-ed25519 AAAA",
            &other,
            &format!("{GITHUB}\nforge.example {GITLAB}"),
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
