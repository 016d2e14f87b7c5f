//! `confirm-off`: a human vouches for the life of a machine that they saw, and for no other.
//!
//! What was printed is what is sent: the life is read before the human is asked, never after.

use super::act::node_name;
use super::{caller, mutation, output};
use crate::caller::{Caller, Effect};
use crate::cli::{ConfirmOff, Form, Global};
use crate::failure::{Exit, Failure};
use crate::object::{self, Object};
use crate::output::{self, note};
use haft_api::pb::v1;
use haft_api::pb::v1::node_service_client::NodeServiceClient;
use std::io::{BufRead, IsTerminal, Write};

/// What the human saw of the machine.
struct Seen {
    incarnation: u64,
    boot: String,
}

pub(super) async fn confirm_off(global: &Global, arguments: &ConfirmOff) -> Result<(), Failure> {
    let name = node_name(&arguments.node)?;
    let named = match (arguments.incarnation, &arguments.boot) {
        (Some(incarnation), Some(boot)) => Some(Seen {
            incarnation,
            boot: boot.clone(),
        }),
        (Some(_) | None, _) => None,
    };
    let (mut caller, seen, typed_name) = match (&arguments.yes_node, named) {
        (Some(typed), _) if *typed != name => return Err(mistyped(&name, typed)),
        (Some(typed), Some(seen)) => (caller(global)?, seen, typed.clone()),
        (Some(_), None) => {
            return Err(not_confirmed(
                "your word names no incarnation: the machine may be back by the time it is heard",
                &name,
            ));
        }
        (None, named) => {
            require_terminal(&name)?;
            let mut caller = caller(global)?;
            let seen = match named {
                Some(seen) => seen,
                None => read(&mut caller, &name).await?,
            };
            let typed = ask(&name, &seen)?;
            caller.renew(caller.limit());
            (caller, seen, typed)
        }
    };
    if typed_name != name {
        return Err(mistyped(&name, &typed_name));
    }
    let request = v1::ConfirmNodeOffRequest {
        name,
        typed_name,
        reason: arguments.reason.clone(),
        options: Some(mutation()?),
        incarnation: seen.incarnation,
        boot: seen.boot,
        overrule: arguments.overrule.clone(),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            NodeServiceClient::new(channel)
                .confirm_node_off(request.clone())
                .await
        })
        .await?;
    let object = Object::Node(answer.node.unwrap_or_default(), Vec::new());
    output::print(&match output(global).form {
        Form::Table | Form::Wide => format!("{} confirmed off\n", object.reference()),
        Form::Json | Form::Yaml | Form::Name => object::render_one(&object, output(global)),
    });
    Ok(())
}

async fn read(caller: &mut Caller, name: &str) -> Result<Seen, Failure> {
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
    let status = answer.node.unwrap_or_default().status.unwrap_or_default();
    Ok(Seen {
        incarnation: status.incarnation,
        boot: status.boot,
    })
}

fn not_confirmed(why: impl Into<String>, name: &str) -> Failure {
    Failure::new(
        Exit::Unsafe,
        "NotConfirmed",
        why,
        format!(
            "if the machine is off, and you have seen it: haftctl describe node/{name} names its incarnation and boot, then haftctl \
             confirm-off {name} --yes-node {name} --incarnation N --boot ID --reason '...'"
        ),
    )
}

fn mistyped(name: &str, typed: &str) -> Failure {
    not_confirmed(
        format!("`{typed}` is not `{name}`; nothing was changed"),
        name,
    )
}

fn require_terminal(name: &str) -> Result<(), Failure> {
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
        return Ok(());
    }
    Err(not_confirmed(
        "a human must vouch for this, and there is no terminal to ask on",
        name,
    ))
}

fn ask(name: &str, seen: &Seen) -> Result<String, Failure> {
    note(&format!(
        "{name} stands at incarnation {} of boot {}.\n\
         You vouch that this incarnation of {name} is powered off, now. What it held is then given to another node at once.\n\
         If it still runs, two machines own the same addresses and data.",
        seen.incarnation, seen.boot
    ));
    let mut stderr = std::io::stderr();
    let _ = write!(stderr, "Type the node's name to confirm: ").and_then(|()| stderr.flush());
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| {
            Failure::new(
                Exit::Failed,
                "TerminalUnreadable",
                format!("the terminal cannot be read: {error}"),
                "use --yes-node",
            )
        })?;
    Ok(line.trim().to_owned())
}
