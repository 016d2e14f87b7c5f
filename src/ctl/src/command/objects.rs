//! The cluster's verbs on objects, the same for every kind.

use crate::caller::{Caller, Effect};
use crate::failure::Failure;
use crate::object::{Kind, Object};
use haft_api::convert;
use haft_api::pb::v1;
use haft_api::pb::v1::fence_device_service_client::FenceDeviceServiceClient;
use haft_api::pb::v1::fence_topology_service_client::FenceTopologyServiceClient;
use haft_api::pb::v1::node_service_client::NodeServiceClient;
use haft_api::pb::v1::virtual_ip_service_client::VirtualIpServiceClient;
use haft_config::manifest::Manifest;
use haft_engine::spec::{
    FenceDeviceSpec, FenceTopologySpec, NodeSpec, ObjectSpec, ResourceSpec, Scheduling,
    VirtualIpSpec,
};

/// One object.
pub(super) async fn get(caller: &mut Caller, kind: Kind, name: &str) -> Result<Object, Failure> {
    match kind {
        Kind::Node => {
            let request = v1::GetNodeRequest {
                name: name.to_owned(),
                options: None,
            };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    NodeServiceClient::new(channel)
                        .get_node(request.clone())
                        .await
                })
                .await?;
            Ok(Object::Node(answer.node.unwrap_or_default(), answer.orders))
        }
        Kind::VirtualIp => {
            let request = v1::GetVirtualIpRequest {
                name: name.to_owned(),
                options: None,
            };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    VirtualIpServiceClient::new(channel)
                        .get_virtual_ip(request.clone())
                        .await
                })
                .await?;
            Ok(Object::VirtualIp(answer.virtual_ip.unwrap_or_default()))
        }
        Kind::FenceDevice => {
            let request = v1::GetFenceDeviceRequest {
                name: name.to_owned(),
                options: None,
            };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    FenceDeviceServiceClient::new(channel)
                        .get_fence_device(request.clone())
                        .await
                })
                .await?;
            Ok(Object::FenceDevice(answer.fence_device.unwrap_or_default()))
        }
        Kind::FenceTopology => {
            let request = v1::GetFenceTopologyRequest {
                name: name.to_owned(),
                options: None,
            };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    FenceTopologyServiceClient::new(channel)
                        .get_fence_topology(request.clone())
                        .await
                })
                .await?;
            Ok(Object::FenceTopology(
                answer.fence_topology.unwrap_or_default(),
            ))
        }
    }
}

/// All objects of a kind, by name.
pub(super) async fn list(
    caller: &mut Caller,
    kind: Kind,
    options: Option<v1::ReadOptions>,
) -> Result<Vec<Object>, Failure> {
    let mut objects: Vec<Object> = match kind {
        Kind::Node => {
            let request = v1::ListNodesRequest { options };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    NodeServiceClient::new(channel).list_nodes(request).await
                })
                .await?;
            answer
                .nodes
                .into_iter()
                .map(|node| Object::Node(node, Vec::new()))
                .collect()
        }
        Kind::VirtualIp => {
            let request = v1::ListVirtualIpsRequest { options };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    VirtualIpServiceClient::new(channel)
                        .list_virtual_ips(request)
                        .await
                })
                .await?;
            answer
                .virtual_ips
                .into_iter()
                .map(Object::VirtualIp)
                .collect()
        }
        Kind::FenceDevice => {
            let request = v1::ListFenceDevicesRequest { options };
            let answer = caller
                .call(Effect::Read, async |channel| {
                    FenceDeviceServiceClient::new(channel)
                        .list_fence_devices(request)
                        .await
                })
                .await?;
            answer
                .fence_devices
                .into_iter()
                .map(Object::FenceDevice)
                .collect()
        }
        Kind::FenceTopology => fence_topologies(caller, options).await?,
    };
    objects.sort_by(|one, other| one.name().cmp(other.name()));
    Ok(objects)
}

async fn fence_topologies(
    caller: &mut Caller,
    options: Option<v1::ReadOptions>,
) -> Result<Vec<Object>, Failure> {
    let request = v1::ListFenceTopologiesRequest { options };
    let answer = caller
        .call(Effect::Read, async |channel| {
            FenceTopologyServiceClient::new(channel)
                .list_fence_topologies(request)
                .await
        })
        .await?;
    let found = answer.fence_topologies.into_iter();
    Ok(found.map(Object::FenceTopology).collect())
}

/// Creates or changes what a manifest describes.
pub(super) async fn apply(
    caller: &mut Caller,
    manifest: &Manifest,
    options: v1::MutationOptions,
) -> Result<Object, Failure> {
    let metadata = |name: &str| v1::ObjectMeta {
        name: name.to_owned(),
        resource_version: String::new(),
        labels: manifest.labels.clone(),
    };
    match &manifest.spec {
        ObjectSpec::Node(name, spec) => {
            apply_node(caller, metadata(name.as_str()), spec, options).await
        }
        ObjectSpec::Resource(id, ResourceSpec::VirtualIp(spec)) => {
            apply_virtual_ip(caller, metadata(&id.name), spec, options).await
        }
        ObjectSpec::Device(name, spec) => {
            apply_fence_device(caller, metadata(name.as_str()), spec, options).await
        }
        ObjectSpec::Topology(name, spec) => {
            apply_fence_topology(caller, metadata(name.as_str()), spec, options).await
        }
    }
}

async fn apply_node(
    caller: &mut Caller,
    metadata: v1::ObjectMeta,
    spec: &NodeSpec,
    options: v1::MutationOptions,
) -> Result<Object, Failure> {
    let scheduling = match spec.scheduling {
        Scheduling::Open => v1::Scheduling::Open,
        Scheduling::Cordoned => v1::Scheduling::Cordoned,
        Scheduling::Standby => v1::Scheduling::Standby,
    };
    let request = v1::ApplyNodeRequest {
        node: Some(v1::Node {
            metadata: Some(metadata),
            spec: Some(v1::NodeSpec {
                scheduling: scheduling.into(),
                domains: convert::domains_into(&spec.domains),
                after_fence: convert::after_fence_into(spec.after_fence).into(),
            }),
            status: None,
        }),
        options: Some(options),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            NodeServiceClient::new(channel)
                .apply_node(request.clone())
                .await
        })
        .await?;
    Ok(Object::Node(answer.node.unwrap_or_default(), Vec::new()))
}

async fn apply_virtual_ip(
    caller: &mut Caller,
    metadata: v1::ObjectMeta,
    spec: &VirtualIpSpec,
    options: v1::MutationOptions,
) -> Result<Object, Failure> {
    let request = v1::ApplyVirtualIpRequest {
        virtual_ip: Some(v1::VirtualIp {
            metadata: Some(metadata),
            spec: Some(convert::vip_spec_into(spec)),
            status: None,
        }),
        options: Some(options),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            VirtualIpServiceClient::new(channel)
                .apply_virtual_ip(request.clone())
                .await
        })
        .await?;
    Ok(Object::VirtualIp(answer.virtual_ip.unwrap_or_default()))
}

async fn apply_fence_device(
    caller: &mut Caller,
    metadata: v1::ObjectMeta,
    spec: &FenceDeviceSpec,
    options: v1::MutationOptions,
) -> Result<Object, Failure> {
    let request = v1::ApplyFenceDeviceRequest {
        fence_device: Some(v1::FenceDevice {
            metadata: Some(metadata),
            spec: Some(convert::device_spec_into(spec)),
            status: None,
        }),
        options: Some(options),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            FenceDeviceServiceClient::new(channel)
                .apply_fence_device(request.clone())
                .await
        })
        .await?;
    Ok(Object::FenceDevice(answer.fence_device.unwrap_or_default()))
}

async fn apply_fence_topology(
    caller: &mut Caller,
    metadata: v1::ObjectMeta,
    spec: &FenceTopologySpec,
    options: v1::MutationOptions,
) -> Result<Object, Failure> {
    let request = v1::ApplyFenceTopologyRequest {
        fence_topology: Some(v1::FenceTopology {
            metadata: Some(metadata),
            spec: Some(convert::topology_spec_into(spec)),
            status: None,
        }),
        options: Some(options),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            FenceTopologyServiceClient::new(channel)
                .apply_fence_topology(request.clone())
                .await
        })
        .await?;
    Ok(Object::FenceTopology(
        answer.fence_topology.unwrap_or_default(),
    ))
}

/// Deletes an object; a held address stays reserved until there is evidence.
pub(super) async fn delete(
    caller: &mut Caller,
    kind: Kind,
    name: &str,
    options: v1::MutationOptions,
) -> Result<(), Failure> {
    let (name, options) = (name.to_owned(), Some(options));
    match kind {
        Kind::Node => {
            let request = v1::DeleteNodeRequest { name, options };
            caller
                .call(Effect::Mutation, async |channel| {
                    NodeServiceClient::new(channel)
                        .delete_node(request.clone())
                        .await
                })
                .await?;
        }
        Kind::VirtualIp => {
            let request = v1::DeleteVirtualIpRequest { name, options };
            caller
                .call(Effect::Mutation, async |channel| {
                    VirtualIpServiceClient::new(channel)
                        .delete_virtual_ip(request.clone())
                        .await
                })
                .await?;
        }
        Kind::FenceDevice => {
            let request = v1::DeleteFenceDeviceRequest { name, options };
            caller
                .call(Effect::Mutation, async |channel| {
                    FenceDeviceServiceClient::new(channel)
                        .delete_fence_device(request.clone())
                        .await
                })
                .await?;
        }
        Kind::FenceTopology => {
            let request = v1::DeleteFenceTopologyRequest { name, options };
            caller
                .call(Effect::Mutation, async |channel| {
                    FenceTopologyServiceClient::new(channel)
                        .delete_fence_topology(request.clone())
                        .await
                })
                .await?;
        }
    }
    Ok(())
}
