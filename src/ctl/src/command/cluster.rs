//! `cluster status` and `cluster token create`.

use super::objects;
use crate::caller::{Caller, Effect};
use crate::cli::Form;
use crate::failure::{Exit, Failure};
use crate::object::{self, Kind, Object, timestamp};
use crate::output::{self, Output, note, note_severe};
use crate::token::JoinToken;
use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_client::ClusterServiceClient;
use haft_engine::ids::ClusterId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything on one screen.
struct Screen {
    status: v1::GetClusterStatusResponse,
    nodes: Vec<Object>,
    virtual_ips: Vec<Object>,
    fence_devices: Vec<Object>,
    fence_topologies: Vec<Object>,
}

/// Without a majority, one coordinator's own view is shown, with its age, and the exit code says so.
pub(super) async fn status(caller: &mut Caller, output: Output) -> Result<(), Failure> {
    let limit = caller.limit();
    let (screen, failure) = match screen(caller, v1::Consistency::Linearizable).await {
        Ok(screen) => (screen, None),
        Err(failure) if failure.exit == Exit::NoQuorum => {
            caller.renew(limit);
            (screen(caller, v1::Consistency::Local).await?, Some(failure))
        }
        Err(failure) => return Err(failure),
    };
    if failure.is_some() {
        let age_ms = screen.status.stamp.unwrap_or_default().age_ms;
        note_severe(&format!(
            "warning: no quorum. This is the view of {} alone, {age_ms} ms old",
            screen.status.answered_by
        ));
    }
    output::print(&match output.form {
        Form::Json => output::json(&json(&screen)),
        Form::Yaml => output::yaml(&json(&screen)),
        Form::Name => format!("cluster/{}\n", screen.status.cluster_name),
        Form::Table | Form::Wide => table(&screen, output),
    });
    failure.map_or(Ok(()), Err)
}

async fn screen(caller: &mut Caller, consistency: v1::Consistency) -> Result<Screen, Failure> {
    let options = Some(v1::ReadOptions {
        consistency: consistency.into(),
    });
    let request = v1::GetClusterStatusRequest { options };
    let status = caller
        .call(Effect::Read, async |channel| {
            ClusterServiceClient::new(channel)
                .get_cluster_status(request)
                .await
        })
        .await?;
    Ok(Screen {
        status,
        nodes: objects::list(caller, Kind::Node, options).await?,
        virtual_ips: objects::list(caller, Kind::VirtualIp, options).await?,
        fence_devices: objects::list(caller, Kind::FenceDevice, options).await?,
        fence_topologies: objects::list(caller, Kind::FenceTopology, options).await?,
    })
}

fn json(screen: &Screen) -> Value {
    let status = &screen.status;
    let stamp = status.stamp.unwrap_or_default();
    let beats = status.beats.clone().unwrap_or_default();
    let dropped: BTreeMap<String, u64> = beats.dropped.into_iter().collect();
    let all = |objects: &[Object]| -> Vec<Value> { objects.iter().map(Object::json).collect() };
    json!({
        "cluster": { "name": status.cluster_name, "id": status.cluster_id, "epoch": status.epoch },
        "quorum": status.quorum,
        "leader": status.leader,
        "term": status.term,
        "voters": status.voters,
        "learners": status.learners,
        "appliedIndex": status.applied_index,
        "answeredBy": status.answered_by,
        "linearizable": stamp.linearizable,
        "ageMs": stamp.age_ms,
        "beats": {
            "answered": beats.answered,
            "challenged": beats.challenged,
            "late": beats.late,
            "dropped": dropped,
        },
        "warnings": status.warnings,
        "nodes": all(&screen.nodes),
        "virtualIps": all(&screen.virtual_ips),
        "fenceDevices": all(&screen.fence_devices),
        "fenceTopologies": all(&screen.fence_topologies),
    })
}

fn table(screen: &Screen, output: Output) -> String {
    let status = &screen.status;
    let leader = if status.leader.is_empty() {
        "none"
    } else {
        status.leader.as_str()
    };
    let quorum = if status.quorum { "yes" } else { "NO" };
    let mut text = format!(
        "cluster {} {} epoch {}\nquorum {quorum}, leader {leader}, term {}, voters {}\n",
        status.cluster_name,
        status.cluster_id,
        status.epoch,
        status.term,
        status.voters.join(" "),
    );
    if !status.learners.is_empty() {
        text.push_str(&format!("learners {}\n", status.learners.join(" ")));
    }
    let sections = [
        (Kind::Node, &screen.nodes),
        (Kind::VirtualIp, &screen.virtual_ips),
        (Kind::FenceDevice, &screen.fence_devices),
        (Kind::FenceTopology, &screen.fence_topologies),
    ];
    for (kind, objects) in sections {
        // Most clusters need no topology; every other kind is missed where there is none.
        if objects.is_empty() && kind == Kind::FenceTopology {
            continue;
        }
        if objects.is_empty() {
            text.push_str(&format!("\nno {}\n", kind.manifest()));
        } else {
            text.push_str(&format!("\n{}", object::table(kind, objects, output)));
        }
    }
    if output.form == Form::Wide {
        text.push_str(&beats_line(status));
    }
    for warning in &status.warnings {
        text.push_str(&format!("\nWARNING: {warning}"));
    }
    if !status.warnings.is_empty() {
        text.push('\n');
    }
    text
}

/// What came to the beat port of the coordinator that answered.
fn beats_line(status: &v1::GetClusterStatusResponse) -> String {
    let beats = status.beats.clone().unwrap_or_default();
    let dropped: BTreeMap<String, u64> = beats.dropped.into_iter().collect();
    let dropped: Vec<String> = dropped
        .iter()
        .map(|(why, count)| format!("{why} {count}"))
        .collect();
    let dropped = if dropped.is_empty() {
        "none".to_owned()
    } else {
        dropped.join(", ")
    };
    format!(
        "\nbeats at {}: answered {}, challenged {}, late {}, dropped {dropped}\n",
        status.answered_by, beats.answered, beats.challenged, beats.late,
    )
}

/// Asking again is harmless: a coordinator that leads already is a success.
pub(super) async fn transfer(
    caller: &mut Caller,
    output: Output,
    node: &str,
) -> Result<(), Failure> {
    let request = v1::TransferLeadershipRequest {
        node: node.to_owned(),
    };
    caller
        .call(Effect::Read, async |channel| {
            ClusterServiceClient::new(channel)
                .transfer_leadership(request.clone())
                .await
        })
        .await?;
    output::print(&match output.form {
        Form::Table | Form::Wide => format!("{node} leads\n"),
        Form::Name => format!("node/{node}\n"),
        Form::Json => output::json(&json!({ "leader": node })),
        Form::Yaml => output::yaml(&json!({ "leader": node })),
    });
    Ok(())
}

/// The token goes to stdout alone, so that it can be piped to where it is needed.
pub(super) async fn create_token(
    caller: &mut Caller,
    output: Output,
    node: &str,
    ttl: Duration,
) -> Result<(), Failure> {
    // No request id: asking again after a lost answer mints another secret, and the lost one expires unspent.
    let request = v1::CreateJoinTokenRequest {
        node: node.to_owned(),
        ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
        options: None,
    };
    let answer = caller
        .call(Effect::Read, async |channel| {
            ClusterServiceClient::new(channel)
                .create_join_token(request.clone())
                .await
        })
        .await?;
    let malformed = || {
        Failure::new(
            Exit::Failed,
            "Malformed",
            "the coordinator's answer holds no token",
            "upgrade haftctl and haftd to the same release",
        )
    };
    let token = JoinToken {
        cluster: ClusterId(
            answer
                .cluster_id
                .as_slice()
                .try_into()
                .map_err(|_| malformed())?,
        ),
        ca_sha256: answer
            .ca_sha256
            .as_slice()
            .try_into()
            .map_err(|_| malformed())?,
        secret: answer
            .secret
            .as_slice()
            .try_into()
            .map_err(|_| malformed())?,
        node: node.to_owned(),
    };
    let expires = timestamp(answer.expires_unix_ms);
    let value = json!({ "token": token.to_text(), "node": node, "expires": expires });
    output::print(&match output.form {
        Form::Table | Form::Wide | Form::Name => format!("{}\n", token.to_text()),
        Form::Json => output::json(&value),
        Form::Yaml => output::yaml(&value),
    });
    note(&format!(
        "admits {node} once, until {expires}; on {node}: haftctl cluster join --config FILE --node {node} --token-file -"
    ));
    Ok(())
}
