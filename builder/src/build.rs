//! The image of a commit: context streamed to the engine, BuildKit's progress to the pusher.

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use zarpar_engine::{BuildLineKind, BuildRequest, Image};
use zarpar_model::{App, Deployment, EventKind, LABEL_DEPLOYMENT};

use crate::Builder;
use crate::context::stream_context;
use crate::error::DeployError;
use crate::plan::Plan;

impl Builder {
    /// Builds and returns the image as the engine describes it.
    pub(crate) async fn build(
        &self,
        deployment: &Deployment,
        app: &App,
        plan: &Plan,
    ) -> Result<Image, DeployError> {
        // The image carries the deployment's label, not the release's: a build that fails must
        // not use up a release number.
        let mut labels = self.instance.app_labels(&app.name);
        labels.insert(LABEL_DEPLOYMENT.to_owned(), deployment.id.to_string());
        let request = BuildRequest {
            dockerfile: plan.dockerfile.clone(),
            labels,
            args: plan
                .project
                .build
                .args
                .clone()
                .into_iter()
                .collect::<BTreeMap<_, _>>(),
            target: None,
            network: plan.project.build.network.clone(),
            pull: false,
            tag: None,
        };
        let always = vec![plan.dockerfile.clone(), ".dockerignore".to_owned()];
        let generated = plan
            .generated
            .iter()
            .map(|text| (plan.dockerfile.clone(), text.clone()))
            .collect();
        let context = stream_context(
            plan.checkout.clone(),
            plan.ignore.clone(),
            always,
            generated,
        );
        let (log, mut lines) = mpsc::channel::<zarpar_engine::BuildLine>(64);
        let telling = async {
            while let Some(line) = lines.recv().await {
                let text = match line.kind {
                    BuildLineKind::Output => line.text,
                    BuildLineKind::Step | BuildLineKind::Done => format!("=> {}", line.text),
                    BuildLineKind::Cached => format!("=> {} (cached)", line.text),
                    BuildLineKind::Warning => format!("warning: {}", line.text),
                };
                if matches!(line.kind, BuildLineKind::Done) {
                    continue;
                }
                self.journal.tell(deployment.id, EventKind::Output { text });
            }
        };
        let (image, ()) = tokio::join!(self.engine.build(request, context, log), telling);
        let id = image.map_err(DeployError::Build)?;
        self.engine
            .image(&id)
            .await?
            .ok_or_else(|| DeployError::Missing {
                app: app.name.to_string(),
                what: format!("image `{id}`"),
            })
    }
}
