//! What is wrong with a file: the place, the reason and the fix, all problems at once.
//!
//! Does not decide what is wrong; the readers of each kind do.

use std::fmt;

/// One thing wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The file as the user named it, or `<stdin>`.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// Column in characters, from 1; 0 when the file as a whole is meant.
    pub column: u64,
    /// Characters to underline; at least 1.
    pub width: u64,
    /// The offending line; empty when the file as a whole is meant.
    pub excerpt: String,
    /// What is wrong.
    pub reason: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", self.reason)?;
        if self.line == 0 {
            writeln!(f, " --> {}", self.file)?;
        } else {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
            writeln!(f, "{number} | {}", self.excerpt)?;
            let before: String = self
                .excerpt
                .chars()
                .take(usize::try_from(self.column.saturating_sub(1)).unwrap_or(0))
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let room = self
                .excerpt
                .chars()
                .count()
                .saturating_sub(before.chars().count());
            let width = usize::try_from(self.width)
                .unwrap_or(1)
                .clamp(1, room.max(1));
            writeln!(f, "{gutter} | {before}{}", "^".repeat(width))?;
        }
        write!(f, "  fix: {}", self.fix.replace('\n', "\n       "))
    }
}

/// Everything that is wrong; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Err` with all problems, sorted by place, or `Ok` when there are none.
    pub(crate) fn or_ok(mut found: Vec<Problem>) -> Result<(), Problems> {
        if found.is_empty() {
            return Ok(());
        }
        found.sort_by_key(|problem| (problem.file.clone(), problem.line, problem.column));
        found.dedup();
        Err(Problems(found))
    }

    /// One problem.
    pub(crate) fn one(problem: Problem) -> Problems {
        Problems(vec![problem])
    }

    /// One problem with a file as a whole.
    pub(crate) fn whole_file(file: &str, reason: String, fix: &str) -> Problems {
        Problems::one(Problem {
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 1,
            excerpt: String::new(),
            reason,
            fix: fix.to_owned(),
        })
    }

    /// The problems in the order of the file.
    pub fn list(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
