//! What a benchmark found: a table for people, one JSON object for scripts.

use std::fmt;
use std::io::{self, Write as _};

use serde::Serialize;
use serde_json::{Map, Value};

use super::load::{Latencies, Slot, median};
use super::machine::Machine;

/// One benchmark's findings.
#[derive(Serialize)]
pub(super) struct Report {
    bench: &'static str,
    endpoint: String,
    machine: Machine,
    /// How it was measured.
    settings: Map<String, Value>,
    measures: Vec<Measure>,
    /// What was counted beside: errors, losses.
    #[serde(skip_serializing_if = "Map::is_empty")]
    counts: Map<String, Value>,
    ratios: Vec<Ratio>,
}

/// Latencies of one kind of request, and how many there were.
#[derive(Serialize)]
struct Measure {
    name: String,
    count: u64,
    /// Absent where the requests came one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    per_second: Option<f64>,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// What is compared, and with what goal.
#[derive(Serialize)]
struct Ratio {
    /// Exactly what was divided by what.
    what: &'static str,
    value: f64,
    /// By round, where there were rounds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rounds: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<Goal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// A bound on a ratio.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl Report {
    pub(super) fn new(bench: &'static str, endpoint: &impl fmt::Display) -> Self {
        Self {
            bench,
            endpoint: endpoint.to_string(),
            machine: Machine::here(),
            settings: Map::new(),
            measures: Vec::new(),
            counts: Map::new(),
            ratios: Vec::new(),
        }
    }

    /// Tells how it was measured.
    pub(super) fn setting(&mut self, name: &str, value: impl Into<Value>) {
        self.settings.insert(name.to_owned(), value.into());
    }

    /// Adds requests that many connections sent at once.
    pub(super) fn rate(&mut self, name: impl Into<String>, slot: &Slot) {
        self.latencies(name, &slot.latencies);
        if let Some(measure) = self.measures.last_mut() {
            measure.per_second = Some(slot.per_second());
        }
    }

    /// Adds latencies of a part of what came, with the rate of all of it.
    pub(super) fn sampled(
        &mut self,
        name: impl Into<String>,
        latencies: &Latencies,
        per_second: f64,
    ) {
        self.latencies(name, latencies);
        if let Some(measure) = self.measures.last_mut() {
            measure.per_second = Some(per_second);
        }
    }

    /// Adds requests that came one after the other.
    pub(super) fn latencies(&mut self, name: impl Into<String>, latencies: &Latencies) {
        self.measures.push(Measure {
            name: name.into(),
            count: latencies.count(),
            per_second: None,
            p50_ms: latencies.ms_at(0.5),
            p99_ms: latencies.ms_at(0.99),
            max_ms: latencies.max_ms(),
        });
    }

    /// Adds what was counted, zero included.
    pub(super) fn count(&mut self, name: impl Into<String>, count: u64) {
        self.counts.insert(name.into(), count.into());
    }

    /// Adds a comparison.
    pub(super) fn ratio(&mut self, what: &'static str, value: f64, goal: impl Into<Option<Goal>>) {
        let goal = goal.into();
        self.ratios.push(Ratio {
            what,
            value,
            rounds: Vec::new(),
            goal,
            met: goal.map(|goal| goal.met(value)),
        });
    }

    /// Adds a comparison that was made in every round; their median counts.
    pub(super) fn ratio_of_rounds(&mut self, what: &'static str, rounds: Vec<f64>, goal: Goal) {
        self.ratio(what, median(&rounds), goal);
        if let Some(ratio) = self.ratios.last_mut() {
            ratio.rounds = rounds;
        }
    }

    /// Prints the table, or one line of JSON.
    ///
    /// # Errors
    /// Standard output fails.
    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut output = io::stdout().lock();
        if json {
            writeln!(output, "{}", serde_json::to_string(self)?)?;
        } else {
            write!(output, "{self}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.bench, self.endpoint)?;
        for (name, value) in &self.settings {
            match value {
                Value::String(text) => write!(f, ", {name} {text}")?,
                other => write!(f, ", {name} {other}")?,
            }
        }
        writeln!(f, "\non {}\n", self.machine)?;
        let width = self
            .measures
            .iter()
            .map(|measure| measure.name.chars().count());
        let width = width.max().unwrap_or(0);
        if width > 0 {
            writeln!(
                f,
                "{:width$} {:>10} {:>10} {:>10} {:>10} {:>10}",
                "", "count", "per second", "p50 ms", "p99 ms", "max ms"
            )?;
        }
        for measure in &self.measures {
            let rate = measure.per_second.map(|rate| format!("{rate:.1}"));
            writeln!(
                f,
                "{:width$} {:>10} {:>10} {:>10.2} {:>10.2} {:>10.2}",
                measure.name,
                measure.count,
                rate.unwrap_or_default(),
                measure.p50_ms,
                measure.p99_ms,
                measure.max_ms
            )?;
        }
        if width > 0 {
            writeln!(f)?;
        }
        for (name, count) in &self.counts {
            writeln!(f, "{name}: {count}")?;
        }
        self.ratios
            .iter()
            .try_for_each(|ratio| writeln!(f, "{ratio}"))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, number(self.value))?;
        if !self.rounds.is_empty() {
            let rounds: Vec<String> = self.rounds.iter().copied().map(number).collect();
            write!(f, " (median of {})", rounds.join(" "))?;
        }
        let Some(goal) = self.goal else { return Ok(()) };
        let (sign, bound) = match goal {
            Goal::AtLeast(bound) => ("≥", bound),
            Goal::AtMost(bound) => ("≤", bound),
        };
        let met = if goal.met(self.value) {
            "met"
        } else {
            "missed"
        };
        write!(f, "; goal {sign} {bound}: {met}")
    }
}

/// Three digits matter.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn report() -> Report {
        let mut slot = Slot::new();
        slot.time = Duration::from_secs(2);
        for ms in [1, 1, 3] {
            slot.latencies.record(Duration::from_millis(ms));
        }
        let mut report = Report::new("notify", &"http://h:1");
        report.setting("connections", 64);
        report.setting("dir", "./data");
        report.rate("verify", &slot);
        report.latencies("one", &slot.latencies);
        report.ratio_of_rounds("a ÷ b", vec![0.4, 0.613, 0.5], Goal::AtLeast(0.5));
        report.ratio("c ÷ d", 60.0, Goal::AtMost(50.0));
        report.ratio("e ÷ f", 1234.5, None);
        report.count("lost", 0);
        report
    }

    #[test]
    fn people_get_a_table() {
        let text = report().to_string();
        let (head, rest) = text.split_once("\n\n").unwrap();
        assert!(
            head.starts_with("notify of http://h:1, connections 64, dir ./data\non "),
            "{head}"
        );
        let expect = "            count per second     p50 ms     p99 ms     max ms\n\
                      verify          3        1.5       1.00       3.00       3.00\n\
                      one             3                  1.00       3.00       3.00\n\n\
                      lost: 0\n\
                      a ÷ b: 0.50 (median of 0.40 0.61 0.50); goal ≥ 0.5: met\n\
                      c ÷ d: 60.0; goal ≤ 50: missed\n\
                      e ÷ f: 1234\n";
        assert_eq!(rest, expect);
    }

    #[test]
    fn scripts_get_json() {
        let json = serde_json::to_value(report()).unwrap();
        assert_eq!(json["settings"]["connections"], 64);
        assert_eq!(json["measures"][0]["per_second"], 1.5);
        assert!(json["measures"][1].get("per_second").is_none());
        assert_eq!(json["counts"]["lost"], 0);
        assert_eq!(json["ratios"][0]["met"], true);
        assert_eq!(json["ratios"][1]["goal"]["at_most"], 50.0);
        assert_eq!(json["ratios"][1]["met"], false);
        assert!(json["ratios"][2].get("met").is_none());
        assert!(json["machine"]["cpus"].as_u64().unwrap() > 0);
    }
}
