#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use clap::CommandFactory;

use super::*;
use crate::cli::Cli;

fn spoken(said: &str) -> Spoken {
    let said: Vec<String> = shell_words::split(said).unwrap();
    Spoken::read(&with_client_options(Cli::command()), &said)
}

#[track_caller]
fn sent(said: &str, expected: &str) {
    let words = spoken(said).words_for(&"tienda".parse().unwrap());
    assert_eq!(words, shell_words::split(expected).unwrap(), "{said}");
}

/// Names of the same form that mean something else than an app that is there.
const NO_APP: [&str; 5] = [
    "apps create",
    "keys add",
    "keys remove",
    "tokens create",
    "tokens revoke",
];

/// Every word with a positional that is an app, and how many stand before it.
fn leaves(command: &Command, path: &[&str], found: &mut BTreeSet<(String, usize)>) {
    // Some words take all of theirs as one list, whose name says what comes first.
    let names_app = |arg: &Arg| {
        let names = arg.get_value_names().unwrap_or_default();
        is_app(arg) || names.first().is_some_and(|name| name.starts_with("APP"))
    };
    for word in command.get_subcommands() {
        let path = [path, &[word.get_name()]].concat();
        if let Some(place) = word.get_positionals().position(names_app) {
            found.insert((path.join(" "), place));
        }
        leaves(word, &path, found);
    }
}

#[test]
fn every_word_about_an_app_has_a_row() {
    let mut found = BTreeSet::new();
    leaves(&Cli::command(), &[], &mut found);
    found.retain(|(path, _)| !NO_APP.contains(&path.as_str()));
    found.insert(("ps scale".to_owned(), 0));
    let command = Cli::command();
    let rows = ROWS
        .iter()
        .filter(|row| command.find_subcommand(row.path[0]).is_some());
    let rows = rows.map(|row| (row.path.join(" "), row.before));
    assert_eq!(
        found,
        rows.collect(),
        "a new word with an APP needs a row in ROWS (path, words before APP), or a place in NO_APP"
    );
}

#[test]
fn the_app_takes_its_place() {
    sent("rollback", "rollback tienda");
    sent("rollback v3", "rollback tienda v3");
    sent("logs -f", "logs tienda -f");
    sent(
        "logs -fn 5 --process web",
        "logs tienda -fn 5 --process web",
    );
    sent("logs --lines=5", "logs tienda --lines=5");
    sent("env set A=b 'C=d e'", "env set tienda A=b 'C=d e'");
    sent("env set --app x A=b", "env set x A=b");
    sent(
        "run -- python manage.py shell",
        "run tienda -- python manage.py shell",
    );
    sent(
        "run -- logs --app x --remote y",
        "run tienda -- logs --app x --remote y",
    );
    sent("deployments", "deployments tienda");
    sent("deployments follow 12", "deployments tienda follow 12");
    sent("ps --json", "ps tienda --json");
    sent("ps scale web=2", "ps scale tienda web=2");
    sent("maintenance on", "maintenance on tienda");
    sent(
        "domains add www.x.example",
        "domains add tienda www.x.example",
    );
    sent("apps info", "apps info tienda");
    sent("deploy main", "deploy tienda main");
}

#[test]
fn an_app_that_is_named_is_not_named_twice() {
    sent("logs tienda -f", "logs tienda -f");
    sent("maintenance off tienda", "maintenance off tienda");
    sent("ps scale tienda web=2", "ps scale tienda web=2");
    sent("rollback --app otra v3", "rollback otra v3");
    sent(
        "certificates renew --app ship.example",
        "certificates renew ship.example",
    );
    sent("rollback --app=tienda tienda", "rollback tienda tienda");
}

#[test]
fn what_is_about_no_app_stays_as_it_is() {
    sent("apps list --json", "apps list --json");
    sent(
        "apps create otra --branch main",
        "apps create otra --branch main",
    );
    sent("tokens create ci --app x", "tokens create ci --app x");
    sent("certificates list", "certificates list");
    // A word is missing; clap says which.
    sent("maintenance", "maintenance");
}

#[test]
fn options_of_the_client_are_its_own() {
    let found = spoken("logs --remote staging -f --app=otra --data /srv/z");
    assert_eq!(found.remote.as_deref(), Some("staging"));
    assert_eq!(found.app.as_deref(), Some("otra"));
    assert!(found.data);
    assert_eq!(found.words_here().join(" "), "logs otra -f --data /srv/z");
    let found = spoken("tokens --remote=staging list");
    assert_eq!(found.remote.as_deref(), Some("staging"));
    assert!(!found.data && !found.is_about_an_app());
}

#[test]
fn words_about_this_machine_stay_here() {
    for said in [
        "",
        "serve --data x",
        "build --print-dockerfile .",
        "logs --help",
        "-V",
    ] {
        assert!(spoken(said).stays_here(), "{said}");
    }
    for said in ["logs", "apps list", "run -- cat --help"] {
        assert!(!spoken(said).stays_here(), "{said}");
    }
}
