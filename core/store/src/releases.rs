//! Releases. A release is written once as a candidate and then only its state and its containers
//! change. Going live is one batch: the candidate becomes active, the one before it drains, the
//! app's pointer moves and the deployment is live, all of it or nothing. At most one release of
//! an app is active, and the pointer names it.

use std::collections::BTreeMap;

use zarpar_model::{
    AppName, DeploymentId, EnvKey, PhaseEvent, Release, ReleaseNumber, ReleaseState, Target,
    Timestamp,
};

use crate::apps::{find_app, the_app};
use crate::commit::{Purpose, Writer};
use crate::deployments::{put as put_deployment, the_deployment};
use crate::env::{Sealed, open_map, seal_map};
use crate::rows::{Rows, Table};
use crate::{Store, StoreError};

impl Store {
    /// Gives a deployment the number of the release it makes. Asked again, it is the same number,
    /// so a deployment that is resumed does not use up another.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::Invariant`] when the deployment has ended or is
    /// another app's; a failed write.
    pub fn reserve_release(
        &self,
        app: &AppName,
        deployment: DeploymentId,
    ) -> Result<ReleaseNumber, StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        let mut app = the_app(&writer, app)?;
        let mut deployment = the_deployment(&writer, deployment)?;
        if deployment.app != app.name || deployment.phase.outcome().is_some() {
            return Err(StoreError::Invariant(format!(
                "the deployment `{}` of `{}` makes no release of `{}` any more",
                deployment.id, deployment.app, app.name
            )));
        }
        if let Some(number) = deployment.release {
            return Ok(number);
        }
        let number = app.next_release;
        app.next_release = ReleaseNumber(number.0 + 1);
        deployment.release = Some(number);
        writer.put(Table::Apps, app.name.as_str(), &app)?;
        put_deployment(&mut writer, &deployment)?;
        writer.commit_and_export()?;
        Ok(number)
    }

    /// Records a candidate with the env it starts with. Until it is active it may be recorded
    /// again.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::Invariant`] when it is no candidate, its number was
    /// not reserved for its deployment, or it was active before; [`StoreError::EnvTooLarge`]; a
    /// failed write.
    pub fn put_candidate(
        &self,
        release: &Release,
        env: &BTreeMap<EnvKey, String>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        the_app(&writer, &release.app)?;
        let deployment = the_deployment(&writer, release.deployment)?;
        let before = find(&writer, &release.app, release.number)?;
        let fresh = before.is_none_or(|before| before.state == ReleaseState::Candidate);
        if deployment.app != release.app
            || deployment.release != Some(release.number)
            || release.state != ReleaseState::Candidate
            || !fresh
        {
            return Err(StoreError::Invariant(format!(
                "`{}` of `{}` is no candidate of deployment `{}`",
                release.number, release.app, release.deployment
            )));
        }
        let which = Sealed::Release(release.number);
        let sealed = seal_map(&self.inner.sealer, &release.app, which, env)?;
        writer.put_bytes(Table::Env, which.key(&release.app), sealed);
        put(&mut writer, release)?;
        writer.commit_and_export()
    }

    /// Makes a candidate active, durably, and returns the release it replaced, which drains now.
    /// This is the moment a deployment is live; the swap of routes only shows it.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::Release`] when it is no candidate;
    /// [`StoreError::Phase`] when its deployment is not probing; [`StoreError::Invariant`] when
    /// the deployment did not make it; a failed write, after which it may be active at the next
    /// start.
    pub fn activate(
        &self,
        app: &AppName,
        number: ReleaseNumber,
        deployment: DeploymentId,
        targets: Vec<Target>,
        at: Timestamp,
    ) -> Result<Option<ReleaseNumber>, StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let mut app = the_app(&writer, app)?;
        let mut release = the_release(&writer, &app.name, number)?;
        let mut deployment = the_deployment(&writer, deployment)?;
        if release.deployment != deployment.id {
            return Err(StoreError::Invariant(format!(
                "`{number}` of `{}` was made by deployment `{}`, not `{}`",
                app.name, release.deployment, deployment.id
            )));
        }
        release.state = release.state.advance(ReleaseState::Active)?;
        release.targets = targets;
        deployment.phase = deployment.phase.next(PhaseEvent::GoLive)?;
        deployment.finished_at = Some(at);
        let previous = app.active.replace(number);
        if let Some(previous) = previous {
            let mut previous = the_release(&writer, &app.name, previous)?;
            previous.state = previous.state.advance(ReleaseState::Draining)?;
            put(&mut writer, &previous)?;
        }
        put(&mut writer, &release)?;
        put_deployment(&mut writer, &deployment)?;
        writer.put(Table::Apps, app.name.as_str(), &app)?;
        writer.commit_and_export()?;
        Ok(previous)
    }

    /// Records that no container of a release runs. An active release that is retired leaves the
    /// app without one. A retired release stays as it is, so that recovery may say it twice.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], or a failed write.
    pub fn retire(&self, app: &AppName, number: ReleaseNumber) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let mut app = the_app(&writer, app)?;
        let mut release = the_release(&writer, &app.name, number)?;
        if release.state == ReleaseState::Retired {
            return Ok(());
        }
        release.state = release.state.advance(ReleaseState::Retired)?;
        release.targets.clear();
        put(&mut writer, &release)?;
        if app.active == Some(number) {
            app.active = None;
            writer.put(Table::Apps, app.name.as_str(), &app)?;
        }
        writer.commit_and_export()
    }

    /// Records the containers that run a release now.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::Invariant`] for a retired release; a failed write.
    pub fn set_targets(
        &self,
        app: &AppName,
        number: ReleaseNumber,
        targets: Vec<Target>,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let mut release = the_release(&writer, app, number)?;
        if release.state == ReleaseState::Retired {
            return Err(StoreError::Invariant(format!(
                "`{number}` of `{app}` is retired, no container runs it"
            )));
        }
        release.targets = targets;
        put(&mut writer, &release)?;
        writer.commit_and_export()
    }

    /// A release of an app.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn release(
        &self,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, StoreError> {
        find(&self.read(), app, number)
    }

    /// The releases of an app, newest first; none for an app that is not there.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn releases(&self, app: &AppName) -> Result<Vec<Release>, StoreError> {
        let mut releases: Vec<Release> = self.read().list(Table::Releases, &format!("{app}/"))?;
        releases.reverse();
        Ok(releases)
    }

    /// The env a release was recorded with.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::Unsealable`], or a failed read.
    pub fn release_env(
        &self,
        app: &AppName,
        number: ReleaseNumber,
    ) -> Result<BTreeMap<EnvKey, String>, StoreError> {
        let rows = self.read();
        open_map(&self.inner.sealer, &rows, app, Sealed::Release(number))?
            .ok_or_else(|| StoreError::no_such("release", number))
    }

    /// Removes a release and its env.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::ReleaseActive`]; a failed write.
    pub fn remove_release(&self, app: &AppName, number: ReleaseNumber) -> Result<(), StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        the_release(&writer, app, number)?;
        if find_app(&writer, app)?.is_some_and(|app| app.active == Some(number)) {
            return Err(StoreError::ReleaseActive {
                app: app.clone(),
                number,
            });
        }
        writer.remove(Table::Releases, row_key(app, number));
        writer.remove(Table::Env, Sealed::Release(number).key(app));
        writer.commit_and_export()
    }
}

fn find(rows: &Rows, app: &AppName, number: ReleaseNumber) -> Result<Option<Release>, StoreError> {
    rows.get(Table::Releases, &row_key(app, number))
}

fn the_release(rows: &Rows, app: &AppName, number: ReleaseNumber) -> Result<Release, StoreError> {
    find(rows, app, number)?.ok_or_else(|| StoreError::no_such("release", number))
}

fn put(writer: &mut Writer<'_>, release: &Release) -> Result<(), StoreError> {
    writer.put(
        Table::Releases,
        row_key(&release.app, release.number),
        release,
    )
}

fn row_key(app: &AppName, number: ReleaseNumber) -> String {
    format!("{app}/{:020}", number.0)
}
