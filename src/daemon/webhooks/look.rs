//! One look at a repository: fetch the head of the branch, compare it with what the deliveries
//! say, and ask for its deployment. A payload alone deploys nothing: what is deployed is what the
//! configured branch has now.

use std::time::{Duration, SystemTime};

use zarpar_control::Secret;
use zarpar_model::{
    AppName, CommitId, Delivery, DeliveryState, DeploymentId, DeploymentKind, Outcome, Source,
    Timestamp, Transport, explain,
};
use zarpar_receiver::{Credentials, FetchSource, Submission};
use zarpar_store::SourceSecrets;

use super::super::Daemon;

/// Waits before the tries of a fetch: the forge sends a delivery once, so a short outage must not
/// lose it.
const TRIES: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_secs(2),
    Duration::from_secs(10),
];
/// A delivery this young may be ahead of what the forge's git servers say.
const YOUNG: Duration = Duration::from_secs(10);

/// What a look led to.
pub(super) struct Looked {
    pub(super) app: AppName,
    /// The deployment to wait for, with the deliveries it belongs to.
    pub(super) deploying: Option<(DeploymentId, Vec<u64>)>,
}

/// Looks for these deliveries, or of our own accord when there are none.
pub(super) async fn look(daemon: Daemon, app: AppName, numbers: Vec<u64>) -> Looked {
    let deploying = match try_look(&daemon, &app, &numbers).await {
        Ok(deploying) => deploying,
        Err(error) => {
            let reason = explain(error.as_ref());
            tracing::warn!(%app, %reason, "the repository of an app could not be looked at");
            if numbers.is_empty() {
                note(&daemon, &app, &format!("failed: {reason}"));
            }
            let failed = DeliveryState::Failed {
                reason,
                deployment: None,
            };
            settle(&daemon, &app, &numbers, &failed);
            None
        }
    };
    Looked { app, deploying }
}

async fn try_look(
    daemon: &Daemon,
    app: &AppName,
    numbers: &[u64],
) -> anyhow::Result<Option<(DeploymentId, Vec<u64>)>> {
    let store = &daemon.store;
    let found = tokio::task::block_in_place(|| store.source(app))?
        .zip(tokio::task::block_in_place(|| store.source_secrets(app))?);
    // It was disabled meanwhile, and its deliveries are gone.
    let Some((source, secrets)) = found else {
        return Ok(None);
    };
    let deliveries = tokio::task::block_in_place(|| {
        let found = numbers.iter().map(|number| store.delivery(app, *number));
        found.collect::<Result<Vec<_>, _>>()
    })?;
    let deliveries: Vec<Delivery> = deliveries.into_iter().flatten().collect();
    let head = head(daemon, &source, &secrets, &deliveries).await?;
    // That may have taken minutes; what was disabled meanwhile deploys nothing any more.
    match tokio::task::block_in_place(|| store.source(app))? {
        None => return Ok(None),
        Some(now) if now.url == source.url && now.branch == source.branch => {}
        Some(now) => anyhow::bail!(
            "`{app}` follows `{}` of `{}` since this was looked at",
            now.branch,
            now.url
        ),
    }
    let (current, old): (Vec<&Delivery>, Vec<&Delivery>) = deliveries
        .iter()
        .partition(|delivery| delivery.commit.as_ref() == Some(&head));
    let passed: Vec<(u64, DeliveryState)> = old
        .iter()
        .map(|delivery| (delivery.number, no_longer_head(delivery, &source, &head)))
        .collect();
    tokio::task::block_in_place(|| store.settle_deliveries(app, &passed))?;
    let current: Vec<u64> = current.iter().map(|delivery| delivery.number).collect();
    let polled = numbers.is_empty();
    if polled && source.last_seen.as_ref() == Some(&head) {
        note(
            daemon,
            app,
            &format!("`{}` is at {}, nothing new", source.branch, head.short()),
        );
        return Ok(None);
    }
    if current.is_empty() && !polled {
        return Ok(None);
    }
    if !polled
        && source.last_seen.as_ref() == Some(&head)
        && let Some(handled) = handled(daemon, &source, &head)?
    {
        settle(daemon, app, &current, &handled);
        return Ok(None);
    }
    let how = if polled { "poll" } else { "webhook" };
    let by = format!("{how}:{}", source.provider);
    if polled {
        note(
            daemon,
            app,
            &format!("`{}` is at {}, deployed", source.branch, head.short()),
        );
    }
    let submission = daemon.intake.commit(app, head.clone(), by, true)?;
    // After it is accepted: a crash in between submits the same head once more, and loses none.
    daemon.note_seen(&source, &head);
    match submission {
        Submission::AlreadyLive { release } => {
            let live = DeliveryState::Live {
                release: Some(release),
                deployment: None,
            };
            settle(daemon, app, &current, &live);
            Ok(None)
        }
        Submission::UnderWay { deployment } => {
            Ok(Some(deploying(daemon, app, deployment.id, current)))
        }
        Submission::Accepted {
            deployment,
            superseded,
        } => {
            let deploying = deploying(daemon, app, deployment.id, current);
            daemon.queue.accepted(&deployment, &superseded);
            Ok(Some(deploying))
        }
    }
}

/// The head of the branch. When it is not yet what a young delivery says, the forge may be behind
/// its own webhook, and is asked once more.
async fn head(
    daemon: &Daemon,
    source: &Source,
    secrets: &SourceSecrets,
    deliveries: &[Delivery],
) -> anyhow::Result<CommitId> {
    let mut behind = false;
    let mut last = None;
    let nexts = TRIES.iter().skip(1).map(Some).chain([None]);
    for (wait, next) in TRIES.into_iter().zip(nexts) {
        tokio::time::sleep(wait).await;
        let wanted = FetchSource {
            url: &source.url,
            branch: &source.branch,
            credentials: credentials(source, secrets.clone()),
        };
        let fetched =
            zarpar_receiver::fetch(&daemon.repositories, &source.app, &wanted, &daemon.fetch).await;
        match fetched {
            Ok(head) if !behind && may_be_behind(&head, deliveries) => {
                behind = true;
                last = Some(Ok(head));
            }
            Ok(head) => return Ok(head),
            Err(error) => {
                let reason = explain(&error);
                tracing::info!(app = %source.app, %reason, "a fetch failed");
                if let Some(next) = next {
                    note_try(daemon, &source.app, deliveries, &reason, *next);
                }
                last = Some(Err(error));
            }
        }
    }
    match last {
        Some(Ok(head)) => Ok(head),
        Some(Err(error)) => Err(error.into()),
        None => anyhow::bail!("nothing was fetched"),
    }
}

fn may_be_behind(head: &CommitId, deliveries: &[Delivery]) -> bool {
    let Some(newest) = deliveries.last() else {
        return false;
    };
    let now: Timestamp = SystemTime::now().into();
    now.since(newest.received_at) < YOUNG
        && deliveries
            .iter()
            .all(|delivery| delivery.commit.as_ref() != Some(head))
}

/// What opens the repository.
pub(super) fn credentials(source: &Source, secrets: SourceSecrets) -> Credentials {
    match (source.url.transport(), secrets.forge_token) {
        (Transport::Ssh, _) => Credentials::DeployKey {
            private: Secret::new(secrets.deploy_key),
            host_keys: source.host_keys.clone(),
        },
        (Transport::Https, Some(token)) => Credentials::Token(Secret::new(token)),
        (Transport::Https, None) => Credentials::None,
    }
}

/// What a delivery about a head that was seen before comes to, when there is nothing to do: the
/// head was deployed, and what is live now is what people chose since. `None` when it failed or is
/// under way: sent once more after a failure, it deploys.
fn handled(
    daemon: &Daemon,
    source: &Source,
    head: &CommitId,
) -> anyhow::Result<Option<DeliveryState>> {
    let app = &source.app;
    let last = daemon
        .store
        .deployments(app, usize::MAX)?
        .into_iter()
        .find(|deployment| match &deployment.kind {
            DeploymentKind::Push { commit, .. } | DeploymentKind::Deploy { commit } => {
                commit == head
            }
            _ => false,
        });
    let Some(last) = last else {
        return Ok(None);
    };
    if !matches!(
        last.phase.outcome(),
        Some(Outcome::Live | Outcome::Superseded)
    ) {
        return Ok(None);
    }
    let active = daemon.app(app)?.active;
    let release = active.map(|active| daemon.store.release(app, active));
    let live = release.transpose()?.flatten();
    if let Some(live) = live.filter(|live| live.commit.as_ref() == Some(head)) {
        return Ok(Some(DeliveryState::Live {
            release: Some(live.number),
            deployment: None,
        }));
    }
    Ok(Some(DeliveryState::Ignored {
        reason: format!(
            "{} is the head of `{}` as before and was deployed by deployment {}; something else was deployed or rolled back to since, and stays\nhint: `zarpar deploy {app}` deploys the head again",
            head.short(),
            source.branch,
            last.id
        ),
    }))
}

fn no_longer_head(delivery: &Delivery, source: &Source, head: &CommitId) -> DeliveryState {
    let commit = delivery.commit.as_ref().map_or("it", CommitId::short);
    DeliveryState::Ignored {
        reason: format!(
            "{commit} is not the head of `{}`, which is at {}",
            source.branch,
            head.short()
        ),
    }
}

fn deploying(
    daemon: &Daemon,
    app: &AppName,
    deployment: DeploymentId,
    numbers: Vec<u64>,
) -> (DeploymentId, Vec<u64>) {
    settle(
        daemon,
        app,
        &numbers,
        &DeliveryState::Deploying { deployment },
    );
    (deployment, numbers)
}

/// Notes what became of deliveries. When that fails they are looked at again after the next start.
pub(super) fn settle(daemon: &Daemon, app: &AppName, numbers: &[u64], state: &DeliveryState) {
    if numbers.is_empty() {
        return;
    }
    let states: Vec<(u64, DeliveryState)> = numbers
        .iter()
        .map(|number| (*number, state.clone()))
        .collect();
    if let Err(error) = tokio::task::block_in_place(|| daemon.store.settle_deliveries(app, &states))
    {
        tracing::error!(%app, error = %explain(&error), "what became of deliveries cannot be noted");
    }
}

/// Lets people see why deliveries still wait. That it cannot be noted holds nothing up.
fn note_try(daemon: &Daemon, app: &AppName, waiting: &[Delivery], reason: &str, next: Duration) {
    let numbers: Vec<u64> = waiting.iter().map(|delivery| delivery.number).collect();
    if numbers.is_empty() {
        return;
    }
    let at: Timestamp = (SystemTime::now() + next).into();
    let (first, rest) = reason.split_once('\n').unwrap_or((reason, ""));
    let said = format!("{first}; the next try is at {at}\n{rest}");
    if let Err(error) =
        tokio::task::block_in_place(|| daemon.store.note_try(app, &numbers, said.trim_end()))
    {
        tracing::error!(%app, error = %explain(&error), "why deliveries wait cannot be noted");
    }
}

fn note(daemon: &Daemon, app: &AppName, found: &str) {
    let now: Timestamp = SystemTime::now().into();
    daemon
        .webhooks
        .note_look(app, Some(format!("{now}: {found}")));
}
