//! `webhooks`.

mod steps;

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use zarpar_control::{DeliveryView, Request, Secret, WebhookEnabled, WebhookView};
use zarpar_model::{AppName, BranchName, Provider, RepositoryUrl};

use super::client::{ask, follow};
use super::{Listing, Remote, output, table};

/// More than any token of a forge has, in bytes.
const TOKEN: usize = 4096;

/// What may be said of a repository that is followed already, without naming it once more.
const CHANGES: [&str; 4] = ["rotate", "branch", "poll", "token_stdin"];

#[derive(Debug, Subcommand)]
pub(super) enum WebhooksCommand {
    /// Make a secret and a deploy key for a repository, and print what to do with them there
    ///
    /// When the app follows it already, `--branch`, `--poll` and `--token-stdin` change these
    /// alone: secret and key stay as they are.
    Enable {
        app: AppName,
        /// `github`, `gitlab`, `gitea` (also for Forgejo) or `bitbucket`
        #[arg(long, required_unless_present_any = CHANGES)]
        provider: Option<Provider>,
        /// The repository, such as git@github.com:OWNER/REPO.git or an https address
        #[arg(long, value_name = "URL", required_unless_present_any = CHANGES)]
        repo: Option<RepositoryUrl>,
        /// The branch that is deployed (default: the app's deploy branch)
        #[arg(long)]
        branch: Option<BranchName>,
        /// Also look without being told, such as every 5m: for a server that the forge cannot reach
        #[arg(long, value_name = "TIME", value_parser = zarpar_model::parse_span)]
        poll: Option<Duration>,
        /// Read a token of the forge from standard input: commits there show what became of them,
        /// and a private repository can be fetched over https
        #[arg(long)]
        token_stdin: bool,
        /// Make secret and key anew; what is not said stays as it was
        #[arg(long)]
        rotate: bool,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show what an app follows, the last deliveries, and what became of each
    Show {
        app: AppName,
        #[command(flatten)]
        listing: Listing,
    },
    /// Follow nothing any more
    Disable { app: AppName },
}

pub(crate) fn webhooks(remote: &Remote, command: WebhooksCommand) -> ExitCode {
    match command {
        WebhooksCommand::Enable {
            app,
            provider,
            repo,
            branch,
            poll,
            token_stdin,
            rotate,
            listing,
        } => {
            let forge_token = match token_stdin.then(token).transpose() {
                Ok(token) => token,
                Err(error) => return crate::report::fail(error.as_ref(), 1),
            };
            let request = Request::WebhookEnable {
                app,
                provider,
                repository: repo,
                branch,
                poll_seconds: poll.map(|poll| poll.as_secs()),
                forge_token,
                rotate,
            };
            ask(remote, &request, |made: WebhookEnabled| {
                if listing.json {
                    return output::json(&made);
                }
                output::line(&steps::steps(&made));
            })
        }
        WebhooksCommand::Show { app, listing } => ask(
            remote,
            &Request::WebhookShow { app },
            |view: WebhookView| {
                if listing.json {
                    return output::json(&view);
                }
                show(view);
            },
        ),
        WebhooksCommand::Disable { app } => follow(remote, &Request::WebhookDisable { app }),
    }
}

/// The first line of standard input. A token is never an argument: other users of the machine see
/// those.
fn token() -> anyhow::Result<Secret> {
    let mut line = String::new();
    let mut input = std::io::Read::take(std::io::stdin().lock(), TOKEN as u64 + 1);
    input.read_line(&mut line)?;
    let text = line.trim();
    let good = !text.is_empty() && text.len() < TOKEN && text.bytes().all(|b| b.is_ascii_graphic());
    anyhow::ensure!(
        good,
        "expected a token as one line on standard input, of at most {TOKEN} printable characters\nhint: `zarpar webhooks enable … --token-stdin < FILE`"
    );
    Ok(Secret::new(text.to_owned()))
}

fn show(view: WebhookView) {
    let mut facts = vec![
        ("repository", view.repository),
        ("provider", view.provider),
        ("branch", view.branch),
        ("url", view.url),
        ("deploy key", view.deploy_key),
    ];
    for key in view.host_keys {
        facts.push(("host key", key));
    }
    if let Some(seconds) = view.poll_seconds {
        let poll = zarpar_model::show_span(Duration::from_secs(seconds));
        facts.push(("poll", format!("every {poll}")));
        let look = view.last_look.unwrap_or_else(|| "none yet".to_owned());
        facts.push(("last look", look));
    }
    let token = if view.forge_token { "set" } else { "none" };
    facts.push(("token", token.to_owned()));
    facts.push(("created", view.created_at));
    for (name, value) in facts {
        output::line(&format!("{:<12}{}", format!("{name}:"), first_line(&value)));
    }
    output::line("");
    let rows: Vec<Vec<String>> = view.deliveries.into_iter().map(row).collect();
    table::print(
        &["NO", "RECEIVED", "EVENT", "COMMIT", "STATE", "WHY"],
        &rows,
        "no deliveries yet\nhint: the forge's settings of the webhook have a button that sends one",
    );
}

fn row(delivery: DeliveryView) -> Vec<String> {
    let why = match (delivery.reason, delivery.deployment, delivery.release) {
        (Some(reason), ..) => first_line(&reason).to_owned(),
        (None, Some(deployment), Some(release)) => format!("{release}, deployment {deployment}"),
        (None, None, Some(release)) => format!("{release} has it already"),
        (None, Some(deployment), None) => format!("deployment {deployment}"),
        (None, None, None) => String::new(),
    };
    let commit = delivery.commit.unwrap_or_default();
    vec![
        delivery.number.to_string(),
        delivery.received_at,
        delivery.event,
        commit.chars().take(7).collect(),
        delivery.state,
        why,
    ]
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
