//! What must hold after every operation and every crash, as one check over all rows.

use std::collections::{BTreeMap, BTreeSet};

use zarpar_model::{
    App, AppName, Delivery, Deployment, Outcome, Phase, Release, ReleaseNumber, ReleaseState,
    Source,
};

use crate::counters::next_deployment;
use crate::env::{Sealed, open_map};
use crate::rows::{Rows, Table, parse};
use crate::sealed::Sealer;
use crate::{Store, StoreError};

impl Store {
    /// Looks at all records at one moment. Its time grows with the whole store; it is for tests
    /// and `zarpar doctor`.
    ///
    /// # Errors
    /// [`StoreError::Invariant`] with the first thing that does not hold, or a failed read.
    pub fn check_invariants(&self) -> Result<(), StoreError> {
        let rows = self.read();
        let apps = check_apps(&rows)?;
        let releases = check_releases(&rows, &self.inner.sealer, &apps)?;
        check_active(&apps, &releases)?;
        check_deployments(&rows, &apps)?;
        check_sources(&rows, &apps)?;
        check_sealed(&rows, &self.inner.sealer, &apps, &releases)
    }
}

type Apps = BTreeMap<AppName, App>;
type Releases = BTreeMap<(AppName, ReleaseNumber), Release>;

fn hold(condition: bool, otherwise: impl FnOnce() -> String) -> Result<(), StoreError> {
    if condition {
        Ok(())
    } else {
        Err(StoreError::Invariant(otherwise()))
    }
}

fn check_apps(rows: &Rows) -> Result<Apps, StoreError> {
    let mut apps = Apps::new();
    let mut domains = BTreeMap::new();
    rows.each(Table::Apps, "", |key, bytes| {
        let app: App = parse(Table::Apps, key, bytes)?;
        hold(app.name.as_str() == key, || {
            format!("the row `{key}` holds the app `{}`", app.name)
        })?;
        for domain in app.domains.iter().collect::<BTreeSet<_>>() {
            let other = domains.insert(domain.clone(), app.name.clone());
            hold(other.is_none(), || {
                format!("`{domain}` belongs to `{}` and `{other:?}`", app.name)
            })?;
        }
        apps.insert(app.name.clone(), app);
        Ok(())
    })?;
    Ok(apps)
}

fn check_releases(rows: &Rows, sealer: &Sealer, apps: &Apps) -> Result<Releases, StoreError> {
    let mut releases = Releases::new();
    for release in rows.list::<Release>(Table::Releases, "")? {
        let (name, number) = (release.app.clone(), release.number);
        let app = apps.get(&name);
        hold(app.is_some_and(|app| number < app.next_release), || {
            format!("`{number}` of `{name}` has a number that was not given out")
        })?;
        hold(
            release.state != ReleaseState::Retired || release.targets.is_empty(),
            || format!("`{number}` of `{name}` is retired and has containers"),
        )?;
        let env = open_map(sealer, rows, &name, Sealed::Release(number))?;
        hold(env.is_some(), || {
            format!("`{number}` of `{name}` has no env")
        })?;
        releases.insert((name, number), release);
    }
    Ok(releases)
}

fn check_active(apps: &Apps, releases: &Releases) -> Result<(), StoreError> {
    for app in apps.values() {
        let active: Vec<ReleaseNumber> = releases
            .values()
            .filter(|release| release.app == app.name && release.state == ReleaseState::Active)
            .map(|release| release.number)
            .collect();
        hold(active == Vec::from_iter(app.active), || {
            format!(
                "`{}` points to {:?}, active are {active:?}",
                app.name, app.active
            )
        })?;
    }
    Ok(())
}

fn check_deployments(rows: &Rows, apps: &Apps) -> Result<(), StoreError> {
    let mut ids = BTreeSet::new();
    let mut queued = BTreeSet::new();
    let next = next_deployment(rows)?;
    for deployment in rows.list::<Deployment>(Table::Deployments, "")? {
        let id = deployment.id;
        let app = apps.get(&deployment.app);
        hold(id.0 < next && app.is_some(), || {
            format!("the deployment `{id}` has an id or an app that is not there")
        })?;
        let ended = deployment.phase.outcome();
        hold(ended.is_some() == deployment.finished_at.is_some(), || {
            format!("the deployment `{id}` ended without a time, or the other way round")
        })?;
        hold(
            ended != Some(Outcome::Live) || deployment.release.is_some(),
            || format!("the deployment `{id}` is live without a release"),
        )?;
        hold(
            deployment.phase != Phase::Queued || queued.insert(deployment.app.clone()),
            || format!("`{}` has two queued deployments", deployment.app),
        )?;
        let given_out = app.zip(deployment.release);
        hold(
            given_out.is_none_or(|(app, number)| number < app.next_release),
            || format!("the deployment `{id}` has a release that was not given out"),
        )?;
        ids.insert((id.0, deployment.app));
    }
    let mut indexed = BTreeSet::new();
    rows.each(Table::DeploymentIds, "", |key, bytes| {
        let app: AppName = parse(Table::DeploymentIds, key, bytes)?;
        indexed.insert((key.parse().unwrap_or(0), app));
        Ok(())
    })?;
    hold(ids == indexed, || {
        "the index of deployments does not match them".to_owned()
    })
}

fn check_sources(rows: &Rows, apps: &Apps) -> Result<(), StoreError> {
    let mut followed = BTreeSet::new();
    for source in rows.list::<Source>(Table::Sources, "")? {
        let sealed = rows.get_bytes(Table::Env, &Sealed::Source.key(&source.app))?;
        hold(apps.contains_key(&source.app) && sealed.is_some(), || {
            format!("the source of `{}` has no app or no secrets", source.app)
        })?;
        followed.insert(source.app);
    }
    let mut numbers = BTreeSet::new();
    for delivery in rows.list::<Delivery>(Table::Deliveries, "")? {
        hold(followed.contains(&delivery.app), || {
            format!("a delivery is left of `{}`", delivery.app)
        })?;
        numbers.insert((delivery.app.to_string(), delivery.number));
    }
    rows.each(Table::DeliveryIds, "", |key, bytes| {
        let number: u64 = parse(Table::DeliveryIds, key, bytes)?;
        let app = key.split('/').next().unwrap_or_default().to_owned();
        hold(numbers.contains(&(app, number)), || {
            format!("the delivery id `{key}` leads to nothing")
        })
    })
}

fn check_sealed(
    rows: &Rows,
    sealer: &Sealer,
    apps: &Apps,
    releases: &Releases,
) -> Result<(), StoreError> {
    let mut expected = BTreeSet::new();
    for app in apps.keys() {
        for which in [Sealed::Env, Sealed::Secrets, Sealed::Source] {
            if open_map(sealer, rows, app, which)?.is_some() {
                expected.insert(which.key(app));
            }
        }
    }
    for (app, number) in releases.keys() {
        expected.insert(Sealed::Release(*number).key(app));
    }
    rows.each(Table::Env, "", |key, _| {
        hold(expected.contains(key), || {
            format!("the sealed row `{key}` belongs to nothing")
        })
    })
}
