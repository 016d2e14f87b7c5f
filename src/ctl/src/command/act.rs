//! Verbs that act on what exists: `delete`, `move`, `fence`.

use super::{caller, mutation, objects, output, wait};
use crate::caller::Effect;
use crate::cli::{Fence, Form, Global, Move, Subject};
use crate::failure::{Exit, Failure};
use crate::object::{self, Kind, Object};
use crate::output::{self, note};
use haft_api::pb::v1;
use haft_api::pb::v1::node_service_client::NodeServiceClient;
use haft_api::pb::v1::virtual_ip_service_client::VirtualIpServiceClient;

pub(super) async fn delete(global: &Global, subject: &Subject) -> Result<(), Failure> {
    let (kind, name) = object::parse_named(subject)?;
    let (caller, output) = (&mut caller(global)?, output(global));
    objects::delete(caller, kind, &name, mutation()?).await?;
    let reference = format!("{}/{name}", kind.word());
    output::print(&match output.form {
        Form::Table | Form::Wide => format!("{reference} deleted\n"),
        Form::Name => format!("{reference}\n"),
        Form::Json => output::json(&serde_json::json!({ "deleted": reference })),
        Form::Yaml => output::yaml(&serde_json::json!({ "deleted": reference })),
    });
    Ok(())
}

pub(super) async fn r#move(global: &Global, arguments: &Move) -> Result<(), Failure> {
    let (kind, name) = object::parse_named(&arguments.subject)?;
    match kind {
        Kind::VirtualIp => {}
        Kind::Node | Kind::FenceDevice | Kind::FenceTopology => {
            return Err(Failure::new(
                Exit::Usage,
                "NotMovable",
                format!("a {} cannot be moved", kind.word()),
                "move a virtual address: vip/NAME",
            ));
        }
    }
    let (caller, output) = (&mut caller(global)?, output(global));
    let request = v1::MoveVirtualIpRequest {
        name: name.clone(),
        node: arguments.to.clone(),
        options: Some(mutation()?),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            VirtualIpServiceClient::new(channel)
                .move_virtual_ip(request.clone())
                .await
        })
        .await?;
    let mut object = Object::VirtualIp(answer.virtual_ip.unwrap_or_default());
    if arguments.wait {
        let conditions = [
            wait::Condition::State("Active".to_owned()),
            wait::Condition::Owner(arguments.to.clone()),
        ];
        caller.renew(caller.limit());
        object = wait::until(caller, kind, &name, &conditions).await?;
    }
    output::print(&match output.form {
        Form::Table | Form::Wide if arguments.wait => {
            format!("{} is active on {}\n", object.reference(), arguments.to)
        }
        Form::Table | Form::Wide => format!("{} moves to {}\n", object.reference(), arguments.to),
        Form::Json | Form::Yaml | Form::Name => object::render_one(&object, output),
    });
    Ok(())
}

pub(super) async fn fence(global: &Global, arguments: &Fence) -> Result<(), Failure> {
    let action = if arguments.on {
        v1::FenceAction::On
    } else {
        v1::FenceAction::Off
    };
    let request = v1::FenceNodeRequest {
        name: node_name(&arguments.node)?,
        action: action.into(),
        reason: arguments.reason.clone(),
        force: arguments.force,
        options: Some(mutation()?),
    };
    let (caller, output) = (&mut caller(global)?, output(global));
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            NodeServiceClient::new(channel)
                .fence_node(request.clone())
                .await
        })
        .await?;
    let order = answer.order.unwrap_or_default();
    output::print(&match output.form {
        Form::Table | Form::Wide | Form::Name => format!("order/{}\n", order.id),
        Form::Json => output::json(&object::order_json(&order)),
        Form::Yaml => output::yaml(&object::order_json(&order)),
    });
    if matches!(output.form, Form::Table | Form::Wide) {
        note(&format!("follow it with: haftctl why order/{}", order.id));
    }
    Ok(())
}

/// `n1` and `node/n1` both name a node.
pub(super) fn node_name(text: &str) -> Result<String, Failure> {
    let name = text.strip_prefix("node/").unwrap_or(text);
    if name.is_empty() || name.contains('/') {
        return Err(Failure::new(
            Exit::Usage,
            "Usage",
            format!("`{text}` is no name of a node"),
            "write the node's name, such as n1",
        ));
    }
    Ok(name.to_owned())
}
