//! Deployments, each in the phase that [`Phase::next`](zarpar_model::Phase::next) led it to. One
//! app has at most one queued deployment: a newer one supersedes it in the same commit. Ids are
//! never used twice, also after their app was removed. The last 200 ended ones of an app are
//! kept. A power cut may take back the begin of a step, never an acceptance or an end.

use zarpar_model::{
    AppName, Deployment, DeploymentId, DeploymentKind, Phase, PhaseEvent, Timestamp,
};

use crate::apps::the_app;
use crate::commit::{Purpose, Writer};
use crate::counters::take_deployment;
use crate::rows::{Rows, Table};
use crate::{Store, StoreError};

/// How many ended deployments an app keeps.
const KEPT: usize = 200;

impl Store {
    /// Accepts a deployment, and returns it with those it superseded, oldest first.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`], [`StoreError::DiskFull`], or a failed write.
    pub fn submit(
        &self,
        app: &AppName,
        kind: DeploymentKind,
        by: String,
        at: Timestamp,
    ) -> Result<(Deployment, Vec<Deployment>), StoreError> {
        let mut writer = self.writer(Purpose::Begin)?;
        the_app(&writer, app)?;
        let mut superseded = Vec::new();
        let mut ended = Vec::new();
        for mut deployment in of_app(&writer, app)? {
            if deployment.phase == Phase::Queued {
                deployment.phase = deployment.phase.next(PhaseEvent::Supersede)?;
                deployment.finished_at = Some(at);
                put(&mut writer, &deployment)?;
                superseded.push(deployment.clone());
            }
            if deployment.phase.outcome().is_some() {
                ended.push(deployment.id);
            }
        }
        for id in &ended[..ended.len().saturating_sub(KEPT)] {
            writer.remove(Table::Deployments, row_key(app, *id));
            writer.remove(Table::DeploymentIds, id_key(*id));
        }
        let (id, export) = take_deployment(&mut writer)?;
        let deployment = Deployment {
            id,
            app: app.clone(),
            kind,
            by,
            phase: Phase::Queued,
            release: None,
            created_at: at,
            started_at: None,
            finished_at: None,
        };
        put(&mut writer, &deployment)?;
        writer.put(Table::DeploymentIds, id_key(id), app)?;
        if export {
            writer.commit_and_export()?;
        } else {
            writer.commit()?;
        }
        Ok((deployment, superseded))
    }

    /// The deployment of this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        find(&self.read(), id)
    }

    /// At most `limit` deployments of an app, newest first; none for an app that is not there.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn deployments(&self, app: &AppName, limit: usize) -> Result<Vec<Deployment>, StoreError> {
        let mut all = of_app(&self.read(), app)?;
        all.reverse();
        all.truncate(limit);
        Ok(all)
    }

    /// All deployments that have not ended, oldest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Deployment>, StoreError> {
        let mut found = Vec::new();
        self.read().each(Table::Deployments, "", |key, bytes| {
            let deployment: Deployment = crate::rows::parse(Table::Deployments, key, bytes)?;
            if deployment.phase.outcome().is_none() {
                found.push(deployment);
            }
            Ok(())
        })?;
        found.sort_by_key(|deployment| deployment.id);
        Ok(found)
    }

    /// Moves a deployment on. The begin of a step is a note, an end is a commit.
    ///
    /// # Errors
    /// [`StoreError::NoSuch`]; [`StoreError::Phase`] for a step that does not exist;
    /// [`StoreError::Invariant`] for `GoLive`, which is [`Store::activate`]'s; a failed write.
    pub fn advance(
        &self,
        id: DeploymentId,
        event: PhaseEvent,
        at: Timestamp,
    ) -> Result<Deployment, StoreError> {
        let mut writer = self.writer(Purpose::End)?;
        let mut deployment = the_deployment(&writer, id)?;
        if event == PhaseEvent::GoLive {
            return Err(StoreError::Invariant(format!(
                "the deployment `{id}` goes live only together with its release"
            )));
        }
        deployment.phase = deployment.phase.next(event)?;
        if matches!(deployment.phase, Phase::Working { .. }) {
            deployment.started_at.get_or_insert(at);
        } else {
            deployment.finished_at = Some(at);
        }
        put(&mut writer, &deployment)?;
        if deployment.finished_at.is_some() {
            writer.commit()?;
        } else {
            writer.note()?;
        }
        Ok(deployment)
    }
}

/// The deployments of an app, oldest first.
pub(crate) fn of_app(rows: &Rows, app: &AppName) -> Result<Vec<Deployment>, StoreError> {
    rows.list(Table::Deployments, &format!("{app}/"))
}

pub(crate) fn the_deployment(rows: &Rows, id: DeploymentId) -> Result<Deployment, StoreError> {
    find(rows, id)?.ok_or_else(|| StoreError::no_such("deployment", id))
}

pub(crate) fn put(writer: &mut Writer<'_>, deployment: &Deployment) -> Result<(), StoreError> {
    writer.put(
        Table::Deployments,
        row_key(&deployment.app, deployment.id),
        deployment,
    )
}

pub(crate) fn id_key(id: DeploymentId) -> String {
    format!("{:020}", id.0)
}

fn find(rows: &Rows, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
    let app: Option<AppName> = rows.get(Table::DeploymentIds, &id_key(id))?;
    match app {
        Some(app) => rows.get(Table::Deployments, &row_key(&app, id)),
        None => Ok(None),
    }
}

fn row_key(app: &AppName, id: DeploymentId) -> String {
    format!("{app}/{}", id_key(id))
}
