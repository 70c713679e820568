//! `apps`, `tokens`, `domains`.

use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use zarpar_control::{AppView, DomainView, Request, TokenCreated, TokenView};
use zarpar_model::{Access, AppName};

use super::client::{ask, follow};
use super::{AppsCommand, DomainsCommand, Remote, TokensCommand, output, table};

pub(crate) fn apps(remote: &Remote, command: AppsCommand) -> ExitCode {
    match command {
        AppsCommand::Create {
            name,
            domains,
            postgres,
            branch,
        } => ask(
            remote,
            &Request::AppCreate {
                name,
                domains,
                postgres,
                branch,
            },
            |app: AppView| {
                output::line(&format!(
                    "{} is ready for its first push and will answer on {}",
                    app.name, app.url
                ));
                let with_token = app.remote.replacen("://", "://TOKEN@", 1);
                output::note(&format!(
                    "next: `zarpar tokens create {0} --app {0}` prints a token; then, in the project:\n  git remote add production {with_token}\n  git push production {1}",
                    app.name, app.branch
                ));
            },
        ),
        AppsCommand::List(listing) => ask(remote, &Request::AppList, |apps: Vec<AppView>| {
            if listing.json {
                return output::json(&apps);
            }
            let rows: Vec<Vec<String>> = apps
                .into_iter()
                .map(|app| {
                    vec![
                        app.name,
                        app.state,
                        app.release.unwrap_or_default(),
                        app.url,
                    ]
                })
                .collect();
            table::print(
                &["APP", "STATE", "RELEASE", "URL"],
                &rows,
                "no apps yet\nhint: `zarpar apps create NAME` makes one",
            );
        }),
        AppsCommand::Info { name, listing } => {
            ask(remote, &Request::AppInfo { name }, |app: AppView| {
                if listing.json {
                    return output::json(&app);
                }
                let row = |name: &str, value: String| vec![name.to_owned(), value];
                let rows = [
                    row("state", app.state),
                    row("release", app.release.unwrap_or_else(|| "none".to_owned())),
                    row("commit", app.commit.unwrap_or_else(|| "none".to_owned())),
                    row("url", app.url),
                    row("domains", app.domains.join(", ")),
                    row("branch", app.branch),
                    row(
                        "postgres",
                        if app.postgres { "yes" } else { "no" }.to_owned(),
                    ),
                    row("remote", app.remote),
                    row("created", app.created_at),
                ];
                table::print(&["APP", &app.name], &rows, "");
            })
        }
        AppsCommand::Destroy { name, force } => {
            if !force && !confirmed(&name) {
                return ExitCode::from(2);
            }
            follow(remote, &Request::AppDestroy { name })
        }
    }
}

/// Removing a database cannot be taken back, so the name is typed.
pub(super) fn confirmed(name: &AppName) -> bool {
    if !std::io::stdin().is_terminal() {
        output::note(&format!(
            "zarpar: `apps destroy` removes `{name}` with its database and files, and there is no terminal to ask\nhint: `zarpar apps destroy {name} --force`"
        ));
        return false;
    }
    output::note(&format!(
        "this removes `{name}` with its containers, images, database and uploaded files\ntype its name to go on:"
    ));
    let mut typed = String::new();
    let same =
        std::io::stdin().lock().read_line(&mut typed).is_ok() && typed.trim() == name.as_str();
    if !same {
        output::note(&format!("zarpar: expected `{name}`, nothing was removed"));
    }
    same
}

pub(crate) fn tokens(remote: &Remote, command: TokensCommand) -> ExitCode {
    match command {
        TokensCommand::Create {
            name,
            apps,
            read_only,
            expires,
        } => ask(
            remote,
            &Request::TokenCreate {
                name,
                apps,
                access: if read_only {
                    Access::Read
                } else {
                    Access::Push
                },
                lifetime: expires.map(|time| time.as_secs()),
            },
            |created: TokenCreated| {
                output::note(
                    "this token is shown this once; it goes in front of the remote's address, http://TOKEN@HOST:PORT/git/APP.git\nhint: `zarpar apps info APP` shows the address",
                );
                output::line(&created.token);
            },
        ),
        TokensCommand::List(listing) => {
            ask(remote, &Request::TokenList, |tokens: Vec<TokenView>| {
                if listing.json {
                    return output::json(&tokens);
                }
                let rows: Vec<Vec<String>> = tokens
                    .into_iter()
                    .map(|token| {
                        vec![
                            token.name,
                            token
                                .apps
                                .map_or_else(|| "all".to_owned(), |apps| apps.join(", ")),
                            token.access,
                            token.created_at,
                            match (token.expires_at, token.expired) {
                                (None, _) => "never".to_owned(),
                                (Some(end), false) => end,
                                (Some(end), true) => format!("{end} (expired)"),
                            },
                        ]
                    })
                    .collect();
                table::print(
                    &["TOKEN", "APPS", "ACCESS", "CREATED", "EXPIRES"],
                    &rows,
                    "no tokens yet\nhint: `zarpar tokens create NAME` makes one",
                );
            })
        }
        TokensCommand::Revoke { name } => follow(remote, &Request::TokenRevoke { name }),
    }
}

pub(crate) fn domains(remote: &Remote, command: DomainsCommand) -> ExitCode {
    match command {
        DomainsCommand::Add { app, hosts } => follow(remote, &Request::DomainAdd { app, hosts }),
        DomainsCommand::Remove { app, hosts } => {
            follow(remote, &Request::DomainRemove { app, hosts })
        }
        DomainsCommand::List { app, listing } => ask(
            remote,
            &Request::DomainList { app },
            |domains: Vec<DomainView>| {
                if listing.json {
                    return output::json(&domains);
                }
                let rows: Vec<Vec<String>> = domains
                    .into_iter()
                    .map(|domain| {
                        vec![
                            domain.domain,
                            if domain.main { "yes" } else { "" }.to_owned(),
                        ]
                    })
                    .collect();
                table::print(&["DOMAIN", "MAIN"], &rows, "no domains");
            },
        ),
    }
}
