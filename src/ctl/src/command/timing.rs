//! `cluster timing`: shows the timing that the log holds, and changes it, plan first.
//!
//! The sums are checked here before anybody is asked, and by the cluster again, by the same code.

use crate::caller::{Caller, Effect};
use crate::cli::{Form, SetTiming};
use crate::failure::{Exit, Failure};
use crate::output::{self, Output, note};
use haft_api::convert::{timing_from, timing_into};
use haft_api::pb::v1;
use haft_api::pb::v1::timing_service_client::TimingServiceClient;
use haft_config::timing::{Interval, TimingRequest, checks};
use haft_engine::clock::Timing;
use haft_engine::gate::GateKind;
use haft_engine::timing::{ms, override_with};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::time::Duration;

/// What the cluster says now.
struct Present {
    generation: u64,
    timing: Timing,
    sessions: Vec<v1::SessionTiming>,
    files: Vec<String>,
}

pub(super) async fn show(caller: &mut Caller, output: Output) -> Result<(), Failure> {
    let present = present(caller).await?;
    output::print(&match output.form {
        Form::Json => output::json(&value(&present)),
        Form::Yaml => output::yaml(&value(&present)),
        Form::Name => "cluster/timing\n".to_owned(),
        Form::Table | Form::Wide => table(&present, output),
    });
    Ok(())
}

pub(super) async fn set(
    caller: &mut Caller,
    output: Output,
    arguments: &SetTiming,
) -> Result<(), Failure> {
    let present = present(caller).await?;
    let wanted = wanted(&present.timing, arguments)?;
    let changes: Vec<Interval> = Interval::ALL
        .into_iter()
        .filter(|interval| interval.of(&present.timing) != interval.of(&wanted))
        .collect();
    if changes.is_empty() {
        let generation = present.generation;
        let said = "nothing was changed: this timing is in force, generation";
        answer(
            output,
            &wanted,
            generation,
            &format!("{said} {generation}\n"),
        );
        return Ok(());
    }
    let failing: Vec<String> = checks(&wanted)
        .into_iter()
        .filter(|check| !check.holds)
        .map(|check| format!("{}: {} (fix: {})", check.rule, check.sum, check.fix))
        .collect();
    if !failing.is_empty() {
        let failure = Failure::new(
            Exit::Usage,
            "ImpossibleTiming",
            format!(
                "{} of its sums do not hold; nothing was changed",
                failing.len()
            ),
            "haftctl explain timing shows every sum",
        );
        return Err(failing.into_iter().fold(failure, Failure::because));
    }
    note(&plan(&present, &wanted, &changes));
    if !arguments.dry_run && !arguments.yes {
        ask()?;
    }
    caller.renew(caller.limit());
    let generation = send(caller, &present, &wanted, arguments).await?;
    let said = if arguments.dry_run {
        "nothing was changed (dry run)\n".to_owned()
    } else {
        format!("timing changed, generation {generation}; sessions follow by themselves\n")
    };
    answer(output, &wanted, generation, &said);
    Ok(())
}

/// The same form, whether something has changed or not: a program reads what is in force now.
fn answer(output: Output, timing: &Timing, generation: u64, said: &str) {
    let value = json!({ "generation": generation, "timing": intervals(timing) });
    output::print(&match output.form {
        Form::Json => output::json(&value),
        Form::Yaml => output::yaml(&value),
        Form::Name => "cluster/timing\n".to_owned(),
        Form::Table | Form::Wide => said.to_owned(),
    });
}

async fn present(caller: &mut Caller) -> Result<Present, Failure> {
    let request = v1::GetTimingRequest { options: None };
    let answer = caller
        .call(Effect::Read, async |channel| {
            TimingServiceClient::new(channel).get_timing(request).await
        })
        .await?;
    let versioned = answer.timing.unwrap_or_default();
    let timing = versioned.timing.ok_or_else(|| {
        Failure::new(
            Exit::Conflict,
            "NoTiming",
            "the log holds no timing yet",
            "try again in a moment; the leader writes its own first",
        )
    })?;
    Ok(Present {
        generation: versioned.generation,
        timing: timing_from(&timing),
        sessions: answer.sessions,
        files: answer.differing_files,
    })
}

/// Its precondition is what the plan was made against.
async fn send(
    caller: &mut Caller,
    present: &Present,
    wanted: &Timing,
    arguments: &SetTiming,
) -> Result<u64, Failure> {
    let mut options = super::mutation()?;
    options.dry_run = arguments.dry_run;
    options.expected_resource_version = present.generation.to_string();
    let request = v1::SetTimingRequest {
        timing: Some(timing_into(wanted)),
        options: Some(options),
    };
    let answer = caller
        .call(Effect::Mutation, async |channel| {
            TimingServiceClient::new(channel)
                .set_timing(request.clone())
                .await
        })
        .await?;
    Ok(answer.generation)
}

/// A preset or a budget, else what is in force; with single values replaced.
fn wanted(present: &Timing, arguments: &SetTiming) -> Result<Timing, Failure> {
    let mut timing = match arguments.failover {
        None => *present,
        Some(failover) => {
            let request = TimingRequest {
                failover,
                ..TimingRequest::default()
            };
            request.timing().map_err(|error| {
                usage(
                    error.to_string(),
                    "choose a budget within the range, or a preset",
                )
            })?
        }
    };
    let mut values = BTreeMap::new();
    for text in &arguments.set {
        let parsed = text.split_once('=').and_then(|(key, value)| {
            let interval = Interval::ALL.into_iter().find(|one| one.key() == key)?;
            Some((interval, value.parse().ok()?))
        });
        let Some((interval, millis)) = parsed else {
            let keys: Vec<&str> = Interval::ALL.iter().map(|one| one.key()).collect();
            return Err(usage(
                format!("{text:?} is no interval in milliseconds"),
                &format!("write KEY=MS with one of {}", keys.join(", ")),
            ));
        };
        values.insert(interval, Duration::from_millis(millis));
    }
    override_with(&mut timing, &values);
    Ok(timing)
}

fn usage(message: String, fix: &str) -> Failure {
    Failure::new(Exit::Usage, "BadTiming", message, fix)
}

fn plan(present: &Present, wanted: &Timing, changes: &[Interval]) -> String {
    let rows: Vec<Vec<String>> = changes
        .iter()
        .map(|interval| {
            vec![
                interval.key().to_owned(),
                ms(interval.of(&present.timing)),
                ms(interval.of(wanted)),
            ]
        })
        .collect();
    let table = output::columns(&["INTERVAL", "NOW", "THEN"], &rows, output::Headers::Shown);
    let ttls = [GateKind::Timed, GateKind::Kernel]
        .map(|gate| (present.timing.behind(gate).ttl, wanted.behind(gate).ttl));
    let how = if ttls.iter().any(|(now, then)| then > now) {
        "raised: every session is judged by the longer ttl at once, and its agent follows"
    } else if ttls.iter().any(|(now, then)| then < now) {
        "lowered: each agent shortens its own lease first, and is judged by the shorter ttl when it has said so"
    } else {
        "the ttl stays: each agent takes the new intervals over by itself"
    };
    format!(
        "plan, against generation {}:\n{table}{how}; no session ends.\n\
         Raft's own timers (raft_heartbeat_ms, election_*_ms) are read by each haftd at its start.",
        present.generation
    )
}

/// Only a terminal is asked.
fn ask() -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "NoTerminal",
            "nothing was changed: there is no terminal to ask on",
            "add --yes, or --dry-run to look first",
        ));
    }
    note("change it? [y/N]");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && matches!(line.trim(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Unsafe,
        "NotConfirmed",
        "nothing was changed",
        "answer y, or add --yes",
    ))
}

fn intervals(timing: &Timing) -> Value {
    let each = Interval::ALL.map(|interval| {
        let millis = u64::try_from(interval.of(timing).as_millis()).unwrap_or(u64::MAX);
        (interval.key().to_owned(), json!(millis))
    });
    Value::Object(each.into_iter().collect())
}

fn value(present: &Present) -> Value {
    let sessions: Vec<Value> = present
        .sessions
        .iter()
        .map(|session| {
            json!({
                "node": session.node,
                "generation": session.generation,
                "judgedByMs": session.ttl_ns / 1_000_000,
            })
        })
        .collect();
    json!({
        "generation": present.generation,
        "timing": intervals(&present.timing),
        "olderSessions": sessions,
        "differingFiles": present.files,
    })
}

fn table(present: &Present, output: Output) -> String {
    let rows: Vec<Vec<String>> = Interval::ALL
        .iter()
        .map(|interval| {
            vec![
                interval.key().to_owned(),
                ms(interval.of(&present.timing)),
                interval.meaning().to_owned(),
            ]
        })
        .collect();
    let mut text = format!("timing in force, generation {}\n\n", present.generation);
    text.push_str(&output::columns(
        &["INTERVAL", "MS", "WHAT"],
        &rows,
        output.headers,
    ));
    for session in &present.sessions {
        text.push_str(&format!(
            "\nWARNING: the session of {} counts by generation {} yet and is judged by {} ms",
            session.node,
            session.generation,
            ms(Duration::from_nanos(session.ttl_ns))
        ));
    }
    if !present.files.is_empty() {
        text.push_str(&format!(
            "\nWARNING: the file says something else on {}; what is in force is used",
            present.files.join(" ")
        ));
    }
    if !present.sessions.is_empty() || !present.files.is_empty() {
        text.push('\n');
    }
    text
}
