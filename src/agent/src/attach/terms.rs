//! What a life counts by, as the leader says it with the admission. This node's file is compared, never used.

use super::{AttachTask, StreamError};
#[cfg(not(feature = "without-timing"))]
use haft_api::convert::versioned_from;
use haft_api::pb::v1;
use haft_engine::timing::ClusterTiming;

impl AttachTask {
    /// What the log says that this life counts by. This node's file says nothing about it (R2a).
    #[cfg(not(feature = "without-timing"))]
    pub(super) fn timing_of(
        &self,
        endpoint: &str,
        told: Option<&v1::VersionedTiming>,
    ) -> Result<ClusterTiming, StreamError> {
        let told = told.ok_or_else(|| StreamError::Timeless {
            endpoint: endpoint.to_owned(),
        })?;
        let told = versioned_from(told, self.attach.place.gate).map_err(|source| {
            StreamError::Strange {
                endpoint: endpoint.to_owned(),
                source,
            }
        })?;
        if told.timing != self.attach.config.timing.behind(self.attach.place.gate) {
            tracing::warn!(
                file = ?self.attach.config.timing,
                in_force = ?told.timing,
                "`timing` in this node's file differs from the cluster's, which is used; see haftctl cluster timing"
            );
        }
        Ok(told)
    }

    /// As an agent that was built before the log held a timing: by its own file.
    #[cfg(feature = "without-timing")]
    pub(super) fn timing_of(
        &self,
        _endpoint: &str,
        _told: Option<&v1::VersionedTiming>,
    ) -> Result<ClusterTiming, StreamError> {
        Ok(ClusterTiming {
            generation: haft_engine::ids::Generation(0),
            timing: self.attach.config.timing,
        })
    }
}
