//! What machines have that is not ours, as it is in the log: obstacles and rivals, both ways.

use super::field::{Decoded, array, missing, required, resource_from};
use crate::pb::log as pb;
use haft_engine::command::Command;
use haft_engine::ids::{NodeId, ResourceId};
use haft_engine::machine::{Claim, Foreign, Obstacle};
use haft_engine::state::{ClusterState, Rival};
use pb::command::Command as Form;
use std::collections::BTreeMap;

pub(super) fn command_into(command: &Command) -> Form {
    match command {
        Command::Obstructed { node, changes } => Form::Obstructed(pb::Obstructed {
            node: node.0,
            changes: changes
                .iter()
                .map(|(resource, obstacle)| pb::ObstacleChange {
                    resource: resource.to_string(),
                    obstacle: obstacle.as_ref().map(obstacle_into),
                })
                .collect(),
        }),
        Command::RivalHeard {
            resource,
            node,
            rival,
        } => Form::RivalHeard(pb::RivalHeard {
            resource: resource.to_string(),
            node: node.0,
            claim: rival.as_ref().map(claim_into),
        }),
        other => super::command_into::unreachable_group(other),
    }
}

pub(super) fn command_from(form: Form) -> Decoded<Command> {
    match form {
        Form::Obstructed(form) => Ok(Command::Obstructed {
            node: NodeId(form.node),
            changes: form
                .changes
                .into_iter()
                .map(|change| {
                    let obstacle = change.obstacle.map(obstacle_from).transpose()?;
                    Ok((resource_from(&change.resource)?, obstacle))
                })
                .collect::<Decoded<_>>()?,
        }),
        Form::RivalHeard(form) => Ok(Command::RivalHeard {
            resource: resource_from(&form.resource)?,
            node: NodeId(form.node),
            rival: form.claim.map(claim_from).transpose()?,
        }),
        _ => Err(missing("command")),
    }
}

fn obstacle_into(obstacle: &Obstacle) -> pb::Obstacle {
    let kind = |kind| pb::Obstacle {
        kind,
        ..pb::Obstacle::default()
    };
    match obstacle {
        Obstacle::Foreign(Foreign { link, prefix }) => pb::Obstacle {
            link: link.clone(),
            prefix: u32::from(*prefix),
            ..kind(1)
        },
        Obstacle::NoInterface => kind(2),
        Obstacle::NoCarrier => kind(3),
        Obstacle::Refused(why) => pb::Obstacle {
            why: why.clone(),
            ..kind(4)
        },
        Obstacle::Ungated(why) => pb::Obstacle {
            why: why.clone(),
            ..kind(5)
        },
    }
}

fn obstacle_from(form: pb::Obstacle) -> Decoded<Obstacle> {
    match form.kind {
        1 => Ok(Obstacle::Foreign(Foreign {
            link: form.link,
            prefix: u8::try_from(form.prefix).map_err(|_| missing("obstacle prefix"))?,
        })),
        2 => Ok(Obstacle::NoInterface),
        3 => Ok(Obstacle::NoCarrier),
        4 => Ok(Obstacle::Refused(form.why)),
        5 => Ok(Obstacle::Ungated(form.why)),
        _ => Err(missing("obstacle kind")),
    }
}

fn claim_into(claim: &Claim) -> pb::Claim {
    pb::Claim {
        mac: claim.mac.to_vec(),
        link: claim.link.clone(),
    }
}

fn claim_from(form: pb::Claim) -> Decoded<Claim> {
    Ok(Claim {
        mac: array(&form.mac, "hardware address")?,
        link: form.link,
    })
}

pub(super) fn obstacles_into(state: &ClusterState) -> Vec<pb::NodeObstacle> {
    let all = state.obstacles.iter();
    all.flat_map(|(resource, nodes)| {
        nodes.iter().map(|(node, obstacle)| pb::NodeObstacle {
            resource: resource.to_string(),
            node: node.0,
            obstacle: Some(obstacle_into(obstacle)),
        })
    })
    .collect()
}

pub(super) fn obstacles_from(
    forms: Vec<pb::NodeObstacle>,
) -> Decoded<BTreeMap<ResourceId, BTreeMap<NodeId, Obstacle>>> {
    let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for form in forms {
        let obstacle = obstacle_from(required(form.obstacle, "obstacle")?)?;
        let nodes = all.entry(resource_from(&form.resource)?).or_default();
        nodes.insert(NodeId(form.node), obstacle);
    }
    Ok(all)
}

pub(super) fn rivals_into(state: &ClusterState) -> Vec<pb::Rival> {
    let all = state.rivals.iter();
    all.map(|(resource, rival)| pb::Rival {
        resource: resource.to_string(),
        by: rival.by.0,
        claim: Some(claim_into(&rival.claim)),
        since_unix_ms: rival.since_unix_ms,
    })
    .collect()
}

pub(super) fn rivals_from(forms: Vec<pb::Rival>) -> Decoded<BTreeMap<ResourceId, Rival>> {
    forms
        .into_iter()
        .map(|form| {
            let rival = Rival {
                by: NodeId(form.by),
                claim: claim_from(required(form.claim, "claim")?)?,
                since_unix_ms: form.since_unix_ms,
            };
            Ok((resource_from(&form.resource)?, rival))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{decode_entry, decode_state, encode_entry, encode_state};
    use super::*;
    use haft_engine::command::Entry;

    fn obstacles() -> [Obstacle; 5] {
        [
            Obstacle::Foreign(Foreign {
                link: "eth0".to_owned(),
                prefix: 24,
            }),
            Obstacle::NoInterface,
            Obstacle::NoCarrier,
            Obstacle::Refused("its MTU is 1200".to_owned()),
            Obstacle::Ungated("an XDP program".to_owned()),
        ]
    }

    fn claim() -> Claim {
        Claim {
            mac: [2, 0, 0, 0, 0, 9],
            link: "eth0".to_owned(),
        }
    }

    #[test]
    fn what_stands_in_the_way_comes_back_from_the_log_and_from_a_snapshot() {
        let mut changes: Vec<_> = obstacles()
            .into_iter()
            .map(|obstacle| (ResourceId::vip("web"), Some(obstacle)))
            .collect();
        changes.push((ResourceId::vip("db"), None));
        let heard = |rival| Command::RivalHeard {
            resource: ResourceId::vip("web"),
            node: NodeId(2),
            rival,
        };
        let node = NodeId(3);
        let entry = Entry {
            stamp_unix_ms: 9,
            commands: vec![
                Command::Obstructed { node, changes },
                heard(Some(claim())),
                heard(None),
            ],
        };
        assert_eq!(
            decode_entry(&encode_entry(&entry)).expect("readable"),
            entry
        );
        let mut state = ClusterState::default();
        for (place, obstacle) in (1..).zip(obstacles()) {
            let nodes = state.obstacles.entry(ResourceId::vip("web")).or_default();
            nodes.insert(NodeId(place), obstacle);
        }
        let rival = Rival {
            by: NodeId(1),
            claim: claim(),
            since_unix_ms: 7,
        };
        state.rivals.insert(ResourceId::vip("web"), rival);
        assert_eq!(
            decode_state(&encode_state(&state)).expect("readable"),
            state
        );
    }
}
