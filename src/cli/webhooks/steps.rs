//! What is to be done at the forge, step by step and in its own words.

use zarpar_control::WebhookEnabled;
use zarpar_model::{Provider, RepositoryUrl, Transport};

/// Where the pages and fields of a forge are.
struct Names {
    keys: &'static str,
    key_fields: &'static str,
    hooks: &'static str,
    url: &'static str,
    secret: &'static str,
    more: &'static str,
    resend: &'static str,
    token: &'static str,
}

/// The steps for a webhook that was just made.
pub(super) fn steps(made: &WebhookEnabled) -> String {
    // A server of another version may know a provider that this client does not.
    let names = names(made.provider.parse().unwrap_or(Provider::Github));
    let page = page(&made.repository);
    let by_ssh = made.repository.starts_with("ssh:");
    let mut text = format!(
        "`{}` follows `{}` of {}\n\n",
        made.app, made.branch, made.repository
    );
    if made.kept {
        text.push_str(&format!(
            "Secret and deploy key are as before, so nothing is to be pasted there. `zarpar webhooks show {}` shows what there is\n",
            made.app
        ));
        if let Some(seconds) = made.poll_seconds {
            let poll = zarpar_model::show_span(std::time::Duration::from_secs(seconds));
            text.push_str(&format!("It is also looked at every {poll}\n"));
        }
        return text.trim_end().to_owned();
    }
    for key in &made.host_keys {
        text.push_str(&format!(
            "The host key that is trusted from now on: {key}\nCompare it with what your forge publishes.\n\n"
        ));
    }
    // Over https no deploy key is asked for.
    if by_ssh {
        text.push_str(&format!(
            "1. Let this server read the repository\n   {page}: {}\n   {}\n   Key:\n\n{}\n\n",
            names.keys, names.key_fields, made.deploy_key
        ));
    }
    let step = if by_ssh { 2 } else { 1 };
    text.push_str(&format!(
        "{step}. Have the forge tell of each push\n   {page}: {}\n   {}:\n\n{}\n\n   {} (shown this once):\n\n{}\n\n   {}\n\n",
        names.hooks, names.url, made.url, names.secret, made.secret, names.more
    ));
    if !made.reachable {
        text.push_str(&format!(
            "   warning: a forge cannot reach this address, it is this machine's own\n   hint: write `host = \"…\"` under `[console]` in the server's configuration, restart `zarpar serve` and\n   `zarpar webhooks show {0}` shows the address; or `zarpar webhooks enable {0} --poll 5m` looks without being told\n\n",
            made.app
        ));
    }
    text.push_str(&format!(
        "{}. Push to `{}`, or {}; then `zarpar webhooks show {}` says what came and what became of it\n",
        step + 1, made.branch, names.resend, made.app
    ));
    if !made.forge_token {
        text.push_str(&format!(
            "\nTo have the result shown at the commit there{}, give a token:\n{}\n`zarpar webhooks enable {} --token-stdin` reads it; secret and key stay as they are\n",
            if by_ssh { "" } else { ", and to fetch a private repository over https" },
            names.token,
            made.app
        ));
    }
    text.trim_end().to_owned()
}

/// The repository's page, as far as its address tells.
fn page(repository: &str) -> String {
    match repository.parse::<RepositoryUrl>() {
        Ok(url) if url.transport() == Transport::Https => {
            repository.trim_end_matches(".git").to_owned()
        }
        Ok(url) => format!("https://{}/{}", url.host(), url.slug()),
        Err(_) => repository.to_owned(),
    }
}

fn names(provider: Provider) -> Names {
    match provider {
        Provider::Github => Names {
            keys: "Settings > Deploy keys > Add deploy key",
            key_fields: "Title: zarpar. Leave \"Allow write access\" off.",
            hooks: "Settings > Webhooks > Add webhook",
            url: "Payload URL",
            secret: "Secret",
            more: "Content type: application/json. \"Just the push event\". Active.",
            resend: "use \"Recent Deliveries\" > \"Redeliver\" there",
            token: "Settings of your account > Developer settings > Fine-grained tokens: this repository, \"Contents\" read, \"Commit statuses\" and \"Deployments\" read and write",
        },
        Provider::Gitlab => Names {
            keys: "Settings > Repository > Deploy keys > Add new key",
            key_fields: "Title: zarpar. Leave \"Grant write permissions\" off.",
            hooks: "Settings > Webhooks > Add new webhook",
            url: "URL",
            secret: "Signing token, or Secret token where there is no such field",
            more: "Trigger: \"Push events\". Leave \"SSL verification\" on.",
            resend: "use \"Test\" > \"Push events\" there",
            token: "Settings > Access tokens: role Developer, scope \"api\"",
        },
        Provider::Gitea => Names {
            keys: "Settings > Deploy Keys > Add Deploy Key",
            key_fields: "Title: zarpar. Leave \"Enable Write Access\" off.",
            hooks: "Settings > Webhooks > Add Webhook > Gitea or Forgejo",
            url: "Target URL",
            secret: "Secret",
            more: "HTTP method: POST. Content type: application/json. Trigger on: Push events. Active.",
            resend: "use \"Test Delivery\" there",
            token: "Settings of your account > Applications > Generate New Token: \"repository\" read and write",
        },
        Provider::Bitbucket => Names {
            keys: "Repository settings > Access keys > Add key",
            key_fields: "Label: zarpar.",
            hooks: "Repository settings > Webhooks > Add webhook",
            url: "URL",
            secret: "Secret",
            more: "Status: Active. Triggers: Repository push.",
            resend: "use \"View requests\" > \"Resend\" there",
            token: "Repository settings > Access tokens: \"Repositories\" read and write",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(repository: &str) -> WebhookEnabled {
        WebhookEnabled {
            app: "tienda".to_owned(),
            provider: "github".to_owned(),
            repository: repository.to_owned(),
            branch: "main".to_owned(),
            url: "https://ship.example/hooks/tienda".to_owned(),
            reachable: true,
            secret: "the-secret".to_owned(),
            kept: false,
            deploy_key: "ssh-ed25519 AAAA zarpar:tienda".to_owned(),
            host_keys: Vec::new(),
            poll_seconds: None,
            forge_token: false,
        }
    }

    #[test]
    fn what_is_to_be_pasted_stands_alone_on_its_line() {
        for provider in [
            Provider::Github,
            Provider::Gitlab,
            Provider::Gitea,
            Provider::Bitbucket,
        ] {
            let mut made = made("ssh://git@github.com/yo/tienda.git");
            made.provider = provider.to_string();
            let text = steps(&made);
            for paste in [&made.url, &made.secret, &made.deploy_key] {
                assert!(text.lines().any(|line| line == paste), "{provider}: {text}");
            }
            assert!(text.contains("https://github.com/yo/tienda: "), "{text}");
            assert!(text.contains("--token-stdin"), "{text}");
        }
        let mut own = made("https://github.com/yo/tienda.git");
        assert!(!steps(&own).contains("warning"));
        own.reachable = false;
        let text = steps(&own);
        assert!(text.contains("a forge cannot reach this address"), "{text}");
        let text = steps(&made("https://github.com/yo/tienda.git"));
        assert!(text.contains("https://github.com/yo/tienda: "), "{text}");
        assert!(
            !text.contains("deploy key") && !text.contains(&own.deploy_key),
            "{text}"
        );
        assert!(
            text.contains("\n1. Have the forge") && text.contains("\n2. Push"),
            "{text}"
        );
        own.kept = true;
        own.secret = String::new();
        own.poll_seconds = Some(300);
        let text = steps(&own);
        assert!(
            text.contains("as before") && text.contains("every 5 m"),
            "{text}"
        );
        assert!(!text.contains("Payload URL"), "{text}");
    }
}
