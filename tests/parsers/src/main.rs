//! `haft-parsers seeds DIR` writes inputs to begin with; `haft-parsers longest TARGET` prints how long one may
//! be; `haft-parsers try TARGET FILE...` tries files without libFuzzer, as the suite does.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a tool for developers"
)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["seeds", folder] => write_seeds(Path::new(folder)),
        ["longest", target] => named(target).map(|target| println!("{}", target.longest)),
        ["try", target, files @ ..] => try_files(target, files),
        _ => Err("usage: haft-parsers seeds DIR | longest TARGET | try TARGET FILE...".to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn named(target: &str) -> Result<haft_parsers::Target, String> {
    haft_parsers::find(target).ok_or_else(|| format!("no target '{target}'"))
}

fn write_seeds(folder: &Path) -> Result<(), String> {
    for target in haft_parsers::TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        for (number, seed) in haft_parsers::seeds::of(target.name).iter().enumerate() {
            let path = folder.join(format!("seed-{number:03}"));
            std::fs::write(&path, seed).map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}

fn try_files(target: &str, files: &[&str]) -> Result<(), String> {
    let target = named(target)?;
    for file in files {
        let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        (target.run)(&bytes);
    }
    Ok(())
}
