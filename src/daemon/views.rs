//! Records as the listings show them.

use zarpar_control::{DeliveryView, DeploymentView, KeyView, ReleaseView, TokenView};
use zarpar_model::{
    Delivery, DeliveryState, Deployment, DeploymentKind, Phase, Release, Scope, SshKey, Token,
};

pub(crate) fn deployment(deployment: &Deployment) -> DeploymentView {
    let (failed_in, reason) = match &deployment.phase {
        Phase::Failed { phase, reason } => (Some(phase.to_string()), Some(reason.clone())),
        Phase::Cancelled { by } => (None, Some(format!("cancelled by {by}"))),
        _ => (None, None),
    };
    let state = match &deployment.phase {
        Phase::Failed { .. } => "failed".to_owned(),
        other => other.to_string(),
    };
    let commit = match &deployment.kind {
        DeploymentKind::Push { commit, .. } | DeploymentKind::Deploy { commit } => {
            Some(commit.to_string())
        }
        DeploymentKind::Image { .. }
        | DeploymentKind::Rollback { .. }
        | DeploymentKind::Restart => None,
    };
    let reference = match &deployment.kind {
        DeploymentKind::Image { reference } => Some(reference.to_string()),
        _ => None,
    };
    let seconds = deployment
        .started_at
        .zip(deployment.finished_at)
        .map(|(start, end)| end.since(start).as_secs_f64());
    DeploymentView {
        id: deployment.id.0,
        kind: deployment.kind.as_str().to_owned(),
        state,
        failed_in,
        reason,
        commit,
        reference,
        release: deployment.release.map(|release| release.to_string()),
        by: deployment.by.clone(),
        created_at: deployment.created_at.to_string(),
        seconds,
    }
}

pub(crate) fn release(release: &Release) -> ReleaseView {
    ReleaseView {
        release: release.number.to_string(),
        state: release.state.as_str().to_owned(),
        commit: release.commit.as_ref().map(ToString::to_string),
        reference: release.reference.as_ref().map(ToString::to_string),
        origin: release.origin.map(|origin| origin.to_string()),
        by: release.by.clone(),
        created_at: release.created_at.to_string(),
        image: release.image.clone(),
        deployment: release.deployment.0,
    }
}

pub(crate) fn token(token: &Token) -> TokenView {
    let apps = match &token.scope {
        Scope::All => None,
        Scope::Apps(apps) => Some(apps.iter().map(ToString::to_string).collect()),
    };
    TokenView {
        name: token.name.to_string(),
        apps,
        created_at: token.created_at.to_string(),
        access: token.access.as_str().to_owned(),
        expires_at: token.expires_at.map(|end| end.to_string()),
        expired: token.is_expired(std::time::SystemTime::now().into()),
    }
}

pub(crate) fn key(key: &SshKey) -> KeyView {
    let apps = match &key.scope {
        Scope::All => None,
        Scope::Apps(apps) => Some(apps.iter().map(ToString::to_string).collect()),
    };
    KeyView {
        name: key.name.to_string(),
        role: key.role.to_string(),
        apps,
        fingerprint: key.key.fingerprint(),
        algorithm: key.key.algorithm().to_owned(),
        comment: key.key.comment().to_owned(),
        created_at: key.created_at.to_string(),
    }
}

pub(crate) fn delivery(delivery: &Delivery) -> DeliveryView {
    let (deployment, release, reason) = match &delivery.state {
        DeliveryState::Waiting => (None, None, delivery.last_try.as_ref()),
        DeliveryState::Deploying { deployment } => (Some(*deployment), None, None),
        DeliveryState::Live {
            release,
            deployment,
        } => (*deployment, *release, None),
        DeliveryState::Failed { reason, deployment } => (*deployment, None, Some(reason)),
        DeliveryState::Ignored { reason } => (None, None, Some(reason)),
    };
    DeliveryView {
        number: delivery.number,
        id: delivery.id.to_string(),
        event: delivery.event.clone(),
        commit: delivery.commit.as_ref().map(ToString::to_string),
        state: delivery.state.as_str().to_owned(),
        reason: reason.cloned(),
        deployment: deployment.map(|id| id.0),
        release: release.map(|release| release.to_string()),
        received_at: delivery.received_at.to_string(),
    }
}
