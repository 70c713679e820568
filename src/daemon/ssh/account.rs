//! Users of this machine, by /etc/passwd (passwd(5)). Users that a directory service alone knows
//! are not found; `[ssh] user` must be a local one.

use std::path::PathBuf;

const PASSWD: &str = "/etc/passwd";

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) home: PathBuf,
}

/// The user of this name.
pub(super) fn by_name(name: &str) -> anyhow::Result<Account> {
    find(|account| account.name == name)?.ok_or_else(|| {
        anyhow::anyhow!(
            "there is no user `{name}` on this machine to come in by SSH as\nhint: `useradd --system --create-home --shell /bin/sh --password '*' {0}` makes one; `[ssh] user` of the configuration names another one",
            if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') { name } else { "NAME" }
        )
    })
}

/// The user of this number.
pub(super) fn by_id(uid: u32) -> anyhow::Result<Account> {
    find(|account| account.uid == uid)?.ok_or_else(|| {
        anyhow::anyhow!("the user {uid}, whom `zarpar serve` runs as, is not in `{PASSWD}`, so nobody can come in by SSH as them\nhint: run it as a user of this machine")
    })
}

/// What the user of this number is called, when they are a user of this machine.
pub(crate) fn name_of(uid: u32) -> Option<String> {
    let found = find(|account| account.uid == uid).ok()?;
    found.map(|account| account.name)
}

fn find(wanted: impl Fn(&Account) -> bool) -> anyhow::Result<Option<Account>> {
    let text = std::fs::read(PASSWD)?;
    Ok(String::from_utf8_lossy(&text)
        .lines()
        .filter_map(parse)
        .find(wanted))
}

fn parse(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, _] = fields[..] else {
        return None;
    };
    Some(Account {
        name: name.to_owned(),
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        home: home.into(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn users_of_this_machine() {
        assert_eq!(by_name("root").unwrap().uid, 0);
        assert_eq!(by_id(0).unwrap().name, "root");
        assert_eq!(name_of(0).as_deref(), Some("root"));
        assert_eq!(name_of(u32::MAX), None);
        let missing = by_name("nobody-of-this-name").unwrap_err().to_string();
        assert!(missing.contains("useradd --system"), "{missing}");
        assert_eq!(parse("+::::::"), None);
        assert_eq!(parse("z:x:1:2"), None);
    }
}
