//! `get`, `describe` and `why`.

use super::{caller, events, objects, output};
use crate::caller::Effect;
use crate::cli::{Form, Global, Subject};
use crate::failure::{Exit, Failure};
use crate::object::{self, Kind};
use crate::output::{self, Headers};
use haft_api::pb::v1;
use haft_api::pb::v1::cluster_service_client::ClusterServiceClient;
use serde_json::{Value, json};

/// Events shown by `describe`.
const RECENT: u32 = 10;

pub(super) async fn get(global: &Global, subject: &Subject) -> Result<(), Failure> {
    let (kind, name) = object::parse_subject(subject)?;
    let (caller, output) = (&mut caller(global)?, output(global));
    let text = match name {
        Some(name) => object::render_one(&objects::get(caller, kind, &name).await?, output),
        None => object::render_list(kind, &objects::list(caller, kind, None).await?, output),
    };
    output::print(&text);
    Ok(())
}

pub(super) async fn describe(global: &Global, subject: &Subject) -> Result<(), Failure> {
    let (kind, name) = object::parse_named(subject)?;
    let (caller, output) = (&mut caller(global)?, output(global));
    let object = objects::get(caller, kind, &name).await?;
    let recent = events::list(caller, &object.reference(), RECENT).await?;
    let shown: Vec<Value> = recent.iter().map(events::json).collect();
    let text = match output.form {
        Form::Name => format!("{}\n", object.reference()),
        Form::Json => output::json(&json!({ "object": object.json(), "events": shown })),
        Form::Yaml => output::yaml(&json!({ "object": object.json(), "events": shown })),
        Form::Table | Form::Wide => {
            let events = if recent.is_empty() {
                "  none\n".to_owned()
            } else {
                indented(&events::table(&recent, Headers::Shown))
            };
            format!("{}events:\n{events}", output::yaml(&object.json()))
        }
    };
    output::print(&text);
    Ok(())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

pub(super) async fn why(global: &Global, subject: &Subject) -> Result<(), Failure> {
    let subject = why_subject(subject)?;
    let (caller, output) = (&mut caller(global)?, output(global));
    let request = v1::WhyRequest { subject };
    let answer = caller
        .call(Effect::Read, async |channel| {
            ClusterServiceClient::new(channel)
                .why(request.clone())
                .await
        })
        .await?;
    let lines: Vec<Value> = answer
        .lines
        .iter()
        .map(|line| json!({ "kind": line.kind, "text": line.text }))
        .collect();
    let value = json!({ "subject": answer.subject, "lines": lines });
    let text = match output.form {
        Form::Json => output::json(&value),
        Form::Yaml => output::yaml(&value),
        Form::Name => format!("{}\n", answer.subject),
        Form::Table | Form::Wide => {
            let width = answer
                .lines
                .iter()
                .map(|line| line.kind.len())
                .max()
                .unwrap_or(0);
            let body: String = answer
                .lines
                .iter()
                .map(|line| format!("  {:<width$}  {}\n", line.kind, line.text))
                .collect();
            format!("{}\n{body}", answer.subject)
        }
    };
    output::print(&text);
    Ok(())
}

/// Objects by any of their names, and fence orders as `order/12`.
fn why_subject(subject: &Subject) -> Result<String, Failure> {
    let order = match (&subject.name, subject.subject.split_once('/')) {
        (None, Some(("order", number))) => Some(number),
        (Some(number), None) if subject.subject == "order" => Some(number.as_str()),
        (Some(_) | None, Some(_) | None) => None,
    };
    if let Some(number) = order {
        let number: u64 = number.parse().map_err(|_| {
            Failure::new(
                Exit::Usage,
                "Usage",
                format!("`{number}` is no number of an order"),
                "write order/12, as `haftctl fence` and the events name it",
            )
        })?;
        return Ok(format!("order/{number}"));
    }
    let (kind, name) = object::parse_named(subject)?;
    Ok(match kind {
        Kind::Node | Kind::VirtualIp | Kind::FenceDevice | Kind::FenceTopology => {
            format!("{}/{name}", kind.word())
        }
    })
}
