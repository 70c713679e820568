//! `webhooks`.

mod steps;

use std::io::BufRead;
use std::process::ExitCode;
use std::time::Duration;

use zarpar_control::{DeliveryView, Request, Secret, WebhookEnabled, WebhookView};

use super::client::{ask, follow};
use super::{Remote, WebhooksCommand, output, table};

/// More than any token of a forge has, in bytes.
const TOKEN: usize = 4096;

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
