//! `apply`: manifests from files, folders or stdin.
//!
//! Every manifest is read and checked before the first is sent. Each object is applied by itself: when the
//! cluster refuses one, those before it stand, and the answer says so.

use super::{caller, mutation, objects, output, told};
use crate::cli::{Apply, Form, Global};
use crate::failure::{Exit, Failure};
use crate::object::Object;
use crate::output::{self, note};
use haft_config::Problems;
use haft_config::manifest::{self, Manifest};
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};

pub(super) async fn run(global: &Global, arguments: &Apply) -> Result<(), Failure> {
    let manifests = read_all(&arguments.filename)?;
    let mut caller = caller(global)?;
    let limit = caller.limit();
    let mut applied: Vec<Object> = Vec::new();
    for manifest in &manifests {
        let mut options = mutation()?;
        options.dry_run = arguments.dry_run;
        options.expected_resource_version = manifest.resource_version.clone().unwrap_or_default();
        caller.renew(limit);
        match objects::apply(&mut caller, manifest, options).await {
            Ok(object) => applied.push(object),
            Err(failure) => {
                show(global, arguments, &applied);
                let place = format!("{}:{}", manifest.file, manifest.line);
                let left = manifests.len() - applied.len();
                return Err(failure.because(format!(
                    "while applying the object at {place}; {left} of {} not applied",
                    manifests.len()
                )));
            }
        }
    }
    show(global, arguments, &applied);
    Ok(())
}

fn show(global: &Global, arguments: &Apply, applied: &[Object]) {
    let done = if arguments.dry_run {
        "would be applied (dry run)"
    } else {
        "applied"
    };
    let text = match output(global).form {
        Form::Table | Form::Wide => applied
            .iter()
            .map(|object| format!("{} {done}\n", object.reference()))
            .collect(),
        Form::Name => applied
            .iter()
            .map(|object| format!("{}\n", object.reference()))
            .collect(),
        Form::Json => {
            output::json(&json!({ "items": applied.iter().map(Object::json).collect::<Vec<_>>() }))
        }
        Form::Yaml => output::yaml_documents(&applied.iter().map(Object::json).collect::<Vec<_>>()),
    };
    output::print(&text);
}

fn read_all(names: &[PathBuf]) -> Result<Vec<Manifest>, Failure> {
    let mut manifests = Vec::new();
    let mut failure = None;
    for path in files(names)? {
        let (label, text) = read(&path)?;
        match manifest::parse(&label, &text) {
            Ok(found) => manifests.extend(found),
            // Every file is read before any is refused, so that all problems show at once.
            Err(problems) => failure = Some(bad_manifest(&problems)),
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(manifests),
    }
}

fn bad_manifest(problems: &Problems) -> Failure {
    let told = told(problems);
    Failure::new(
        Exit::Usage,
        "BadManifest",
        told,
        "correct what is named above, then apply again",
    )
}

fn files(names: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for name in names {
        if !name.is_dir() {
            files.push(name.clone());
            continue;
        }
        let entries = std::fs::read_dir(name).map_err(|error| unreadable(name, &error))?;
        let mut inside: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        inside.retain(|path| {
            path.extension()
                .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known))
        });
        inside.sort();
        if inside.is_empty() {
            note(&format!(
                "warning: {} holds no *.yaml, *.yml or *.json",
                name.display()
            ));
        }
        files.extend(inside);
    }
    Ok(files)
}

fn read(path: &Path) -> Result<(String, String), Failure> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| unreadable(Path::new("<stdin>"), &error))?;
        return Ok(("<stdin>".to_owned(), text));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    Ok((path.display().to_string(), text))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        "Unreadable",
        format!("{} cannot be read: {error}", path.display()),
        "name a manifest, a folder of manifests, or - for stdin",
    )
}
