//! YAML: the configuration file and the manifests.
//!
//! Whatever is wrong is told with a place inside the file and a fix. What is read twice is the same.

use haft_config::{Config, Problems, manifest};

/// See the module.
pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match Config::parse("haft.yaml", &text) {
        Ok(config) => {
            assert_eq!(Config::parse("haft.yaml", &text), Ok(config.clone()));
            assert!(config.coordinators().next().is_some());
            assert!(config.data_dir.is_absolute() && !config.agent_dirs.is_empty());
        }
        Err(problems) => told(&problems, &text),
    }
    match manifest::parse("m.yaml", &text) {
        Ok(manifests) => {
            assert!(!manifests.is_empty());
            let lines = text.split(['\n', '\r']).count();
            for manifest in &manifests {
                assert!(usize::try_from(manifest.line).unwrap() <= lines);
            }
        }
        Err(problems) => told(&problems, &text),
    }
    let _ = haft_config::parse_span(&text);
}

fn told(problems: &Problems, text: &str) {
    // A carriage return alone breaks a line of YAML, too.
    let lines = text.split(['\n', '\r']).count();
    assert!(!problems.list().is_empty() && !problems.to_string().is_empty());
    for problem in problems.list() {
        assert!(!problem.reason.is_empty() && !problem.fix.is_empty());
        let steers = |letter: char| letter.is_control() && letter != '\t';
        assert!(!problem.excerpt.chars().any(steers), "{problem:?}");
        // A file that ends too early is told at the line behind its last.
        assert!(
            usize::try_from(problem.line).unwrap() <= lines + 1,
            "{problem:?}"
        );
    }
}
