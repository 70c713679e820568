//! Public keys of OpenSSH (sshd(8), AUTHORIZED_KEYS FILE FORMAT; RFC 4253 §6.6), and what a key
//! may. A key is parsed to its last byte and written anew, so that nothing of what somebody
//! pasted reaches `authorized_keys`: no option, no second line, no strange comment.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{AppName, Scope, Timestamp};

/// The longest text that is looked at, in bytes; an RSA key of 16,384 bits takes 2,800.
const LONGEST: usize = 16 * 1024;
/// The longest comment that is kept, in bytes.
const COMMENT: usize = 64;
/// The shortest RSA key, in bits (NIST SP 800-131A).
const RSA_BITS: usize = 2048;
/// What OpenSSH itself takes at most, in bits.
const RSA_MOST: usize = 16_384;

/// Who pushes and speaks over SSH.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshKey {
    /// Its name, unique on this server; `ssh:NAME` appears as `by` in deployments.
    pub name: AppName,
    /// The key.
    pub key: PublicKey,
    /// What it may say.
    pub role: Role,
    /// The apps it may touch.
    pub scope: Scope,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What a key may say; each role may all that the ones before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Push, deploy, roll back, and look.
    Deploy,
    /// Also change what runs: variables, commands, numbers, hosts.
    Operate,
    /// Everything.
    Admin,
}

impl Role {
    /// All of them, the smallest first.
    pub const ALL: [Role; 3] = [Role::Deploy, Role::Operate, Role::Admin];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Deploy => "deploy",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected `deploy`, `operate` or `admin`")]
pub struct RoleError;

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Role, RoleError> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(RoleError)
    }
}

/// A public key whose every byte was understood. As text it is one line,
/// `ALGORITHM BASE64 [COMMENT]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey {
    algorithm: Algorithm,
    blob: Vec<u8>,
    comment: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Ed25519,
    EcdsaP256,
    EcdsaP384,
    EcdsaP521,
    Rsa,
    SkEd25519,
    SkEcdsaP256,
}

impl Algorithm {
    const ALL: [Algorithm; 7] = [
        Algorithm::Ed25519,
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
        Algorithm::EcdsaP521,
        Algorithm::Rsa,
        Algorithm::SkEd25519,
        Algorithm::SkEcdsaP256,
    ];

    fn name(self) -> &'static str {
        match self {
            Algorithm::Ed25519 => "ssh-ed25519",
            Algorithm::EcdsaP256 => "ecdsa-sha2-nistp256",
            Algorithm::EcdsaP384 => "ecdsa-sha2-nistp384",
            Algorithm::EcdsaP521 => "ecdsa-sha2-nistp521",
            Algorithm::Rsa => "ssh-rsa",
            Algorithm::SkEd25519 => "sk-ssh-ed25519@openssh.com",
            Algorithm::SkEcdsaP256 => "sk-ecdsa-sha2-nistp256@openssh.com",
        }
    }

    fn from_name(name: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|all| all.name() == name)
    }
}

/// Why a text is not taken for a public key. What was given is never part of the message: it may
/// be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// Nothing but space.
    #[error(
        "expected a public key, found nothing\nhint: it is in a file such as ~/.ssh/id_ed25519.pub"
    )]
    Empty,
    /// Far longer than any key.
    #[error(
        "expected a public key of one line, found a text of more than {LONGEST} bytes\nhint: it is in a file such as ~/.ssh/id_ed25519.pub"
    )]
    Long,
    /// The half that must stay secret.
    #[error(
        "this is a PRIVATE key; it was not kept, and must not leave its owner's machine\nhint: the public half is in the file of the same name with `.pub`, or `ssh-keygen -y -f FILE` prints it"
    )]
    Private,
    /// Another format.
    #[error(
        "expected a public key in OpenSSH's format, found the one of RFC 4716\nhint: `ssh-keygen -i -f FILE` prints it in OpenSSH's"
    )]
    Rfc4716,
    /// More than one key.
    #[error(
        "expected one key on one line, found {0} lines\nhint: `zarpar keys add` once for each, under a name of its own"
    )]
    Several(usize),
    /// Options in front, as a line of `authorized_keys` may have.
    #[error(
        "expected a public key without options in front of it\nhint: what a key may is said by `--role` and `--app`; start with the algorithm, such as `ssh-ed25519`"
    )]
    Options,
    /// A certificate of OpenSSH's own kind.
    #[error(
        "expected a public key, found a certificate\nhint: give the key that was signed, the file without `-cert`"
    )]
    Certificate,
    /// DSA, which OpenSSH has given up.
    #[error(
        "DSA keys are too weak, and OpenSSH takes them no more\nhint: `ssh-keygen -t ed25519` makes a good one"
    )]
    Dsa,
    /// No algorithm that is known.
    #[error(
        "expected a public key that starts with its algorithm, such as `ssh-ed25519 AAAA…`\nhint: it is in a file such as ~/.ssh/id_ed25519.pub; `ssh-keygen -t ed25519` makes one"
    )]
    Algorithm,
    /// The second word is not the key that the first one says.
    #[error(
        "the key is damaged: its second word is not a key of `{0}`\nhint: copy the whole line of the file that ends with `.pub`"
    )]
    Blob(&'static str),
    /// Too short to be safe.
    #[error(
        "expected an RSA key of {RSA_BITS} to {RSA_MOST} bits, found one of {0}\nhint: `ssh-keygen -t ed25519` makes a good one"
    )]
    RsaBits(usize),
}

impl PublicKey {
    /// The algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm.name()
    }

    /// The comment, of letters, digits and `@._-` alone.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    /// `ALGORITHM BASE64`, as the file of keys has it.
    pub fn line(&self) -> String {
        format!("{} {}", self.algorithm(), STANDARD.encode(&self.blob))
    }

    /// `SHA256:…`, as `ssh-keygen -l` shows it.
    pub fn fingerprint(&self) -> String {
        format!(
            "SHA256:{}",
            STANDARD_NO_PAD.encode(Sha256::digest(&self.blob))
        )
    }

    /// Whether it is the same key, whatever the comments say.
    pub fn is_same(&self, other: &PublicKey) -> bool {
        self.blob == other.blob
    }
}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<PublicKey, PublicKeyError> {
        // First of all, so that no other message hides what happened.
        if text.contains("PRIVATE KEY") || text.contains("PuTTY-User-Key-File") {
            return Err(PublicKeyError::Private);
        }
        if text.len() > LONGEST {
            return Err(PublicKeyError::Long);
        }
        if text.contains("BEGIN SSH2 PUBLIC KEY") {
            return Err(PublicKeyError::Rfc4716);
        }
        let lines: Vec<&str> = text
            .split(['\n', '\r'])
            .filter(|line| !line.trim().is_empty())
            .collect();
        match lines[..] {
            [] => Err(PublicKeyError::Empty),
            [line] => parse_line(line),
            _ => Err(PublicKeyError::Several(lines.len())),
        }
    }
}

fn parse_line(line: &str) -> Result<PublicKey, PublicKeyError> {
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
    let name = words.next().ok_or(PublicKeyError::Empty)?;
    let Some(algorithm) = Algorithm::from_name(name) else {
        return Err(if name.contains("-cert-v0") {
            PublicKeyError::Certificate
        } else if name == "ssh-dss" {
            PublicKeyError::Dsa
        } else if words.any(|word| Algorithm::from_name(word).is_some()) {
            PublicKeyError::Options
        } else {
            PublicKeyError::Algorithm
        });
    };
    let damaged = PublicKeyError::Blob(algorithm.name());
    let blob = words
        .next()
        .and_then(|word| STANDARD.decode(word).ok())
        .ok_or(damaged.clone())?;
    let mut fields = Fields(&blob);
    if fields.next() != Some(name.as_bytes()) {
        return Err(damaged);
    }
    let understood = match algorithm {
        Algorithm::Ed25519 => fields.is_long(32),
        Algorithm::SkEd25519 => fields.is_long(32) && fields.next().is_some(),
        Algorithm::EcdsaP256 => fields.is_point(b"nistp256", 32),
        Algorithm::EcdsaP384 => fields.is_point(b"nistp384", 48),
        Algorithm::EcdsaP521 => fields.is_point(b"nistp521", 66),
        Algorithm::SkEcdsaP256 => fields.is_point(b"nistp256", 32) && fields.next().is_some(),
        Algorithm::Rsa => {
            let (exponent, modulus) = (fields.next(), fields.next());
            let bits = bits(modulus.ok_or(damaged.clone())?);
            if !(RSA_BITS..=RSA_MOST).contains(&bits) {
                return Err(PublicKeyError::RsaBits(bits));
            }
            exponent.is_some_and(|exponent| (2..=64).contains(&self::bits(exponent)))
        }
    };
    if !understood || !fields.0.is_empty() {
        return Err(damaged);
    }
    // The words of a comment are run together: what is left of them only helps its owner.
    let comment = words
        .flat_map(str::chars)
        .filter(|letter| letter.is_ascii_alphanumeric() || "@._-".contains(*letter))
        .take(COMMENT)
        .collect();
    Ok(PublicKey {
        algorithm,
        blob,
        comment,
    })
}

/// The fields of a key, each with its length in front (RFC 4251 §5).
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
    fn next(&mut self) -> Option<&'b [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }

    fn is_long(&mut self, bytes: usize) -> bool {
        self.next().is_some_and(|field| field.len() == bytes)
    }

    /// The curve's name and an uncompressed point (RFC 5656 §3.1).
    fn is_point(&mut self, curve: &[u8], bytes: usize) -> bool {
        self.next() == Some(curve)
            && self
                .next()
                .is_some_and(|point| point.len() == 1 + 2 * bytes && point[0] == 4)
    }
}

/// The length of a positive number; 0 for one that is not.
fn bits(number: &[u8]) -> usize {
    let significant = match number {
        [0, rest @ ..] => rest,
        // The highest bit is the sign.
        [128..=255, ..] => return 0,
        all => all,
    };
    match significant {
        [] | [0, ..] => 0,
        [first, rest @ ..] => rest.len() * 8 + (8 - first.leading_zeros() as usize),
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("{} {}", self.line(), self.comment);
        f.write_str(line.trim_end())
    }
}

impl TryFrom<String> for PublicKey {
    type Error = PublicKeyError;
    fn try_from(text: String) -> Result<Self, PublicKeyError> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

#[cfg(test)]
mod tests;
