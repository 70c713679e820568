//! Deploy keys: an Ed25519 key that is made here for one app, and may read one repository at its
//! forge. Written as OpenSSH writes keys (PROTOCOL.key of OpenSSH), because its ssh reads it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use zarpar_control::Secret;
use zarpar_model::AppName;

const KIND: &str = "ssh-ed25519";
/// Characters of a line, as ssh-keygen writes them.
const LINE: usize = 70;

/// A key, both halves.
#[derive(Debug, Clone)]
pub struct DeployKey {
    /// The line that the forge is given.
    pub public: String,
    /// The private half, without a passphrase.
    pub private: Secret,
}

impl DeployKey {
    /// A new key for an app.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn new(app: &AppName) -> Result<DeployKey, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let mut check = [0; 4];
        getrandom::fill(&mut check)?;
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| getrandom::Error::UNEXPECTED)?;
        let comment = format!("zarpar:{app}");
        let mut public = Vec::new();
        put(&mut public, KIND.as_bytes());
        put(&mut public, pair.public_key().as_ref());

        // The same number twice tells a reader with a passphrase whether it was the right one.
        let mut secret = [check, check].concat();
        put(&mut secret, KIND.as_bytes());
        put(&mut secret, pair.public_key().as_ref());
        put(
            &mut secret,
            &[seed.as_slice(), pair.public_key().as_ref()].concat(),
        );
        put(&mut secret, comment.as_bytes());
        let padding = (8 - secret.len() % 8) % 8;
        secret.extend((1..=8_u8).take(padding));

        let mut file = b"openssh-key-v1\0".to_vec();
        put(&mut file, b"none");
        put(&mut file, b"none");
        put(&mut file, b"");
        file.extend_from_slice(&1_u32.to_be_bytes());
        put(&mut file, &public);
        put(&mut file, &secret);
        Ok(DeployKey {
            public: format!("{KIND} {} {comment}", STANDARD.encode(&public)),
            private: Secret::new(armour(&STANDARD.encode(&file))),
        })
    }
}

/// A string of the SSH protocol (RFC 4251 §5): its length, and its bytes.
fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn armour(text: &str) -> String {
    let mut out = String::from("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    let mut rest = text;
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(LINE));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str("-----END OPENSSH PRIVATE KEY-----\n");
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    #![allow(
        clippy::disallowed_methods,
        reason = "ssh-keygen itself says whether it is a key"
    )]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn openssh_reads_the_key_and_finds_the_same_public_half() {
        // Names of all lengths, so that all paddings occur.
        for length in 1..10 {
            let app: AppName = "a".repeat(length).parse().unwrap();
            let key = DeployKey::new(&app).unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("key");
            std::fs::write(&path, key.private.expose()).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let found = std::process::Command::new("ssh-keygen")
                .args(["-y", "-P", "", "-f"])
                .arg(&path)
                .output()
                .unwrap();
            assert!(found.status.success(), "{found:?}");
            let public = String::from_utf8(found.stdout).unwrap();
            assert_eq!(public.trim(), key.public);
            assert!(!format!("{key:?}").contains("PRIVATE"));
        }
    }
}
