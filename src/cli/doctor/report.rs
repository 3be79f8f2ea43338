//! What an examination found, one line a check.

use std::fmt::Write as _;

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be found out.
    Unknown,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What was looked at.
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    /// How it came out.
    pub(super) outcome: Outcome,
    /// What was found.
    pub(super) says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

/// All checks, in the order in which one depends on another.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    checks: Vec<Check>,
}

impl Report {
    pub(super) fn ok(&mut self, check: &'static str, says: impl Into<String>) {
        self.add(check, Outcome::Ok, says.into(), None);
    }

    pub(super) fn warn(
        &mut self,
        check: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, Outcome::Warn, says.into(), Some(remedy.into()));
    }

    pub(super) fn fail(
        &mut self,
        check: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, Outcome::Fail, says.into(), Some(remedy.into()));
    }

    pub(super) fn unknown(
        &mut self,
        check: &'static str,
        says: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(check, Outcome::Unknown, says.into(), Some(remedy.into()));
    }

    fn add(&mut self, name: &'static str, outcome: Outcome, says: String, remedy: Option<String>) {
        self.checks.push(Check {
            name,
            outcome,
            says,
            remedy,
        });
    }

    /// How many checks failed.
    pub(super) fn failed(&self) -> usize {
        self.count(Outcome::Fail)
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.checks
            .iter()
            .filter(|check| check.outcome == outcome)
            .count()
    }

    /// For people.
    pub(super) fn lines(&self) -> String {
        let mut lines = String::new();
        for check in &self.checks {
            let outcome = match check.outcome {
                Outcome::Ok => "ok",
                Outcome::Warn => "WARN",
                Outcome::Fail => "FAIL",
                Outcome::Unknown => "?",
            };
            let remedy = check.remedy.as_ref();
            let remedy = remedy.map_or_else(String::new, |remedy| format!(" -> {remedy}"));
            // Writing to a String cannot fail.
            let _ = writeln!(
                lines,
                "{outcome:<5} {:<14} {}{remedy}",
                check.name, check.says
            );
        }
        let _ = write!(
            lines,
            "{} ok, {} to improve, {} failed, {} unknown",
            self.count(Outcome::Ok),
            self.count(Outcome::Warn),
            self.count(Outcome::Fail),
            self.count(Outcome::Unknown),
        );
        lines
    }

    /// For programs.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::json!({ "ok": self.failed() == 0, "checks": self.checks })
    }

    /// What a check said, for tests: `None` if it was not made.
    #[cfg(test)]
    pub(super) fn find(&self, check: &str) -> Option<&Check> {
        self.checks.iter().find(|it| it.name == check)
    }
}
