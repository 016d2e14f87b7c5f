//! `events`: what happened, and what happens.

use super::{caller, output};
use crate::caller::{Caller, Effect};
use crate::cli::{Events, Form, Global};
use crate::failure::{Exit, Failure};
use crate::object::{Kind, timestamp};
use crate::output::{self, Headers, note};
use haft_api::pb::v1;
use haft_api::pb::v1::event_service_client::EventServiceClient;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

const HEADERS: [&str; 5] = ["INDEX", "TIME", "SEVERITY", "SUBJECT", "EVENT"];

/// The newest events of a subject, or of all when it is empty; oldest first.
pub(super) async fn list(
    caller: &mut Caller,
    subject: &str,
    limit: u32,
) -> Result<Vec<v1::Event>, Failure> {
    let request = v1::ListEventsRequest {
        options: None,
        subject: subject.to_owned(),
        limit,
    };
    let answer = caller
        .call(Effect::Read, async |channel| {
            EventServiceClient::new(channel)
                .list_events(request.clone())
                .await
        })
        .await?;
    Ok(answer.events)
}

/// One event in its documented shape.
pub(super) fn json(event: &v1::Event) -> Value {
    json!({
        "index": event.index,
        "time": timestamp(event.unix_ms),
        "severity": severity(event.severity),
        "reason": event.reason,
        "subject": event.subject,
        "message": event.message,
    })
}

fn severity(value: i32) -> &'static str {
    match v1::Severity::try_from(value) {
        Ok(v1::Severity::Normal) => "Normal",
        Ok(v1::Severity::Warning) => "Warning",
        Ok(v1::Severity::Unspecified) | Err(_) => "",
    }
}

/// Aligned columns.
pub(super) fn table(events: &[v1::Event], headers: Headers) -> String {
    let rows: Vec<Vec<String>> = events
        .iter()
        .map(|event| {
            vec![
                event.index.to_string(),
                timestamp(event.unix_ms),
                severity(event.severity).to_owned(),
                event.subject.clone(),
                format!("{}: {}", event.reason, event.message),
            ]
        })
        .collect();
    output::columns(&HEADERS, &rows, headers)
}

pub(super) async fn run(global: &Global, arguments: &Events) -> Result<(), Failure> {
    let subject = subject(arguments.subject.as_deref().unwrap_or_default())?;
    let shown = output(global);
    let mut caller = caller(global)?;
    let events = list(&mut caller, &subject, arguments.limit).await?;
    let text = match (shown.form, arguments.watch) {
        (Form::Table | Form::Wide, _) => table(&events, shown.headers),
        (Form::Json, false) => {
            output::json(&json!({ "items": events.iter().map(json).collect::<Vec<_>>() }))
        }
        (Form::Json, true) => events
            .iter()
            .map(|event| format!("{}\n", json(event)))
            .collect(),
        (Form::Yaml, _) => output::yaml_documents(&events.iter().map(json).collect::<Vec<_>>()),
        (Form::Name, _) => events
            .iter()
            .map(|event| format!("{}\n", event.subject))
            .collect(),
    };
    output::print(&text);
    if !arguments.watch {
        return Ok(());
    }
    let after = events.last().map_or(0, |event| event.index);
    watch(&mut caller, shown.form, &subject, after, global.timeout).await
}

/// Subjects are named in any way that objects are.
fn subject(text: &str) -> Result<String, Failure> {
    match text.split_once('/') {
        None if text.is_empty() => Ok(String::new()),
        Some((word, name)) => Ok(match Kind::from_word(word) {
            Some(kind) => format!("{}/{name}", kind.word()),
            None => text.to_owned(),
        }),
        None => Err(Failure::new(
            Exit::Usage,
            "Usage",
            format!("`{text}` is no subject"),
            "write KIND/NAME, such as vip/web or node/n1",
        )),
    }
}

/// New events until interrupted, or until `limit` has passed when one is given; each once, in order, also
/// across coordinators.
async fn watch(
    caller: &mut Caller,
    form: Form,
    subject: &str,
    mut after: u64,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let end = limit.map(|limit| Instant::now() + limit);
    loop {
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(());
        }
        // One step at a time: a leader that is lost costs one renewed search, not the watch.
        caller.renew(limit.unwrap_or(super::TIMEOUT));
        let request = v1::WatchEventsRequest {
            after_index: after,
            subject: subject.to_owned(),
        };
        let opened = caller
            .call(Effect::Read, async |channel| {
                EventServiceClient::new(channel)
                    .watch_events(request.clone())
                    .await
            })
            .await;
        let mut stream = match (opened, end) {
            (Ok(stream), _) => stream,
            (Err(_), Some(end)) if Instant::now() >= end => return Ok(()),
            (Err(failure), _) => return Err(failure),
        };
        loop {
            let next = match end {
                Some(end) => match tokio::time::timeout_at(end, stream.message()).await {
                    Ok(next) => next,
                    Err(_) => return Ok(()),
                },
                None => stream.message().await,
            };
            match next {
                Ok(Some(v1::WatchEventsResponse { event: Some(event) })) if event.index > after => {
                    after = event.index;
                    show(&event, form);
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(status) => {
                    note(&format!(
                        "warning: the watch was interrupted ({}); resuming after event {after}",
                        status.message()
                    ));
                    break;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn show(event: &v1::Event, form: Form) {
    let text = match form {
        Form::Table | Form::Wide => table(std::slice::from_ref(event), Headers::Hidden),
        Form::Json => format!("{}\n", json(event)),
        Form::Yaml => format!("---\n{}", output::yaml(&json(event))),
        Form::Name => format!("{}\n", event.subject),
    };
    output::print(&text);
}
