//! Calls to other coordinators over their API port: ages, confirmed reads, and the CA's key.
//!
//! One lazy channel per host; Raft's own traffic has channels of its own in `consensus`.

use crate::context::Context;
use haft_api::client::{Credentials, endpoint, host_port};
use haft_api::convert::{age_from, witness_from, witness_into};
use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_client::ClusterServiceClient;
use haft_api::pb::v1::session_service_client::SessionServiceClient;
use haft_engine::command::StatedAge;
use haft_engine::ids::{Incarnation, LogIndex, NodeId};
use haft_engine::witness::{Challenge, Witness};
use std::collections::BTreeMap;
use std::sync::Mutex;
use tonic::Status;
use tonic::transport::Channel;

/// Channels by `host:port`.
pub struct Peers {
    credentials: Credentials,
    channels: Mutex<BTreeMap<String, Channel>>,
}

impl Peers {
    /// Dials with these credentials.
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            channels: Mutex::default(),
        }
    }

    fn channel(&self, address: String) -> Result<Channel, Status> {
        let mut channels = self.channels.lock().expect(crate::POISON);
        if let Some(channel) = channels.get(&address) {
            return Ok(channel.clone());
        }
        let endpoint = endpoint(&address, &self.credentials)
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let channel = endpoint.connect_lazy();
        channels.insert(address, channel.clone());
        Ok(channel)
    }

    fn session(
        &self,
        context: &Context,
        peer: NodeId,
    ) -> Result<SessionServiceClient<Channel>, Status> {
        self.api(context, peer).map(SessionServiceClient::new)
    }

    fn api(&self, context: &Context, peer: NodeId) -> Result<Channel, Status> {
        let host = {
            let state = context.replica.state();
            let node = state.nodes.get(&peer);
            node.map(|node| node.host.clone())
                .ok_or_else(|| Status::not_found("unknown peer"))?
        };
        self.channel(host_port(&host, context.config.ports.api))
    }

    /// Asks the leader up to which entry a majority has confirmed its state at this moment.
    pub async fn confirmed_index(
        &self,
        context: &Context,
        leader: NodeId,
    ) -> Result<LogIndex, Status> {
        let mut client = ClusterServiceClient::new(self.api(context, leader)?);
        let request = v1::GetClusterStatusRequest { options: None };
        let answer = client.get_cluster_status(request).await?.into_inner();
        match answer.stamp {
            Some(stamp) if stamp.linearizable => Ok(LogIndex(stamp.applied_index)),
            Some(_) | None => Err(Status::internal("answered without a confirmed read")),
        }
    }

    /// Asks a coordinator for the age of a closing.
    pub async fn state_age(
        &self,
        context: &Context,
        peer: NodeId,
        node: NodeId,
        incarnation: Incarnation,
        closing: LogIndex,
    ) -> Result<StatedAge, Status> {
        let request = v1::StateAgeRequest {
            node_id: node.0,
            incarnation: incarnation.0,
            closing: closing.0,
        };
        let answer = self
            .session(context, peer)?
            .state_age(request)
            .await?
            .into_inner();
        // A statement counts for the coordinator that was asked, whatever it calls itself.
        let age = age_from(&answer);
        if age.by == peer {
            Ok(age)
        } else {
            Err(Status::internal("answered by another"))
        }
    }

    /// Has a coordinator challenge this life of a node; what answered, if anything did.
    pub async fn challenge(
        &self,
        context: &Context,
        peer: NodeId,
        (node, incarnation): (NodeId, Incarnation),
        challenge: Challenge,
    ) -> Result<Option<Witness>, Status> {
        let request = v1::ChallengeRequest {
            node_id: node.0,
            incarnation: incarnation.0,
            challenge: challenge.0,
        };
        let answer = self.session(context, peer)?.challenge(request).await?;
        let witness = answer.into_inner().witness;
        // It speaks for the coordinator that was asked.
        Ok(witness.and_then(|form| witness_from(peer, &form)))
    }

    /// Tells the leader that something of a machine has answered a challenge of this coordinator.
    pub async fn testify(
        &self,
        context: &Context,
        leader: NodeId,
        (node, incarnation): (NodeId, Incarnation),
        witness: &Witness,
    ) -> Result<(), Status> {
        let request = v1::TestifyRequest {
            node_id: node.0,
            incarnation: incarnation.0,
            witness: Some(witness_into(witness)),
        };
        self.session(context, leader)?
            .testify(request)
            .await
            .map(drop)
    }

    /// Relays a report to the leader.
    pub async fn report(
        &self,
        context: &Context,
        leader: NodeId,
        request: v1::ReportRequest,
    ) -> Result<(), Status> {
        self.session(context, leader)?
            .report(request)
            .await
            .map(drop)
    }

    /// Asks a coordinator for the CA's key.
    pub async fn ca_key(&self, context: &Context, peer: NodeId) -> Result<String, Status> {
        let answer = self
            .session(context, peer)?
            .share_ca_key(v1::ShareCaKeyRequest {})
            .await?;
        Ok(answer.into_inner().ca_key_pem)
    }
}
