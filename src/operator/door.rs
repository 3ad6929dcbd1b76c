//! What a node is asked about its door: to change its rules, and which there are.
//!
//! Owns the questions and how their answers are shown to people. Never decides: a node says itself
//! what is wrong with a change. Driven by `main`.

use std::fmt::{self, Write};

use ipnet::IpNet;
use serde::Deserialize;

use super::{OperatorError, SidePort, garbled};
use crate::door::Change;

/// What the node says of its door, as it came.
#[derive(Debug)]
pub struct Answer {
    url: String,
    body: Vec<u8>,
}

/// A part of what `/door` says.
#[derive(Debug, Deserialize)]
pub struct Door {
    place: Place,
    missing: Option<String>,
    rate: Option<Rate>,
    source: Source,
    admitted: u64,
    dropped: Dropped,
    sources: u64,
    sources_max: u64,
    state: Option<String>,
    saved: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Place {
    Kernel,
    Accept,
}

#[derive(Debug, Deserialize)]
struct Rate {
    per_second: f64,
    burst: u32,
}

#[derive(Debug, Deserialize)]
struct Source {
    v4: u8,
    v6: u8,
}

#[derive(Debug, Deserialize)]
struct Dropped {
    denied: u64,
    rate: u64,
}

#[derive(Debug, Deserialize)]
struct Rule {
    network: IpNet,
    verdict: Verdict,
    by: By,
    age_seconds: u64,
    expires_in_seconds: Option<u64>,
    hits: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Configuration,
    Command,
}

/// Why a node does not do what it is asked to.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

impl SidePort {
    /// Which rules there are.
    pub fn door(&self) -> Result<Answer, OperatorError> {
        let url = self.url("/door");
        let request = self.agent.get(&url);
        answer(url, self.introduced(request)?.call())
    }

    /// Changes a rule; answers which there are then.
    pub fn change_door(&self, change: &Change) -> Result<Answer, OperatorError> {
        let url = self.url(&target(change));
        let request = self.agent.post(&url);
        answer(url, self.introduced(request)?.send_empty())
    }

    /// A request that says who asks.
    fn introduced<B>(
        &self,
        request: ureq::RequestBuilder<B>,
    ) -> Result<ureq::RequestBuilder<B>, OperatorError> {
        let Some(credentials) = &self.credentials else { return Ok(request) };
        Ok(request.header("Authorization", credentials.header()?.expose()))
    }
}

/// The path and the query that say the change.
fn target(change: &Change) -> String {
    let (verb, network, lasting) = match change {
        Change::Deny { network, lasting } => ("deny", network, *lasting),
        Change::Allow { network, lasting } => ("allow", network, *lasting),
        Change::Remove { network } => ("remove", network, None),
    };
    // Nothing of a network has a meaning of its own in a query (RFC 3986, 3.4).
    let mut target = format!("/door/{verb}?network={network}");
    if let Some(lasting) = lasting {
        // Writing to a String cannot fail.
        let _ok = write!(target, "&for={}", lasting.as_secs());
    }
    target
}

fn answer(
    url: String,
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<Answer, OperatorError> {
    let (status, body) = super::whole(&url, answer)?;
    if status == 200 {
        return Ok(Answer { url, body });
    }
    Err(match serde_json::from_slice::<Refusal>(&body) {
        Ok(refusal) => OperatorError::Declined { url, status, error: printable(&refusal.error) },
        Err(_no_reason) => OperatorError::Refused { url, status },
    })
}

impl Answer {
    /// The JSON to the letter.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What it means.
    pub fn door(&self) -> Result<Door, OperatorError> {
        serde_json::from_slice(&self.body).map_err(|error| garbled(&self.url, error))
    }
}

impl Door {
    /// What holds for exactly this network.
    pub fn of(&self, network: IpNet) -> String {
        let Some(rule) = self.rules.iter().find(|rule| rule.network == network) else {
            return format!("{network}: no rule");
        };
        let end = rule.expires_in_seconds.map(|left| format!(", expires in {}", Span(left)));
        format!("{network}: {} by {}{}", rule.verdict, rule.by, end.unwrap_or_default())
    }

    /// What is to be known of a change: a restart may undo it.
    pub fn reservation(&self) -> Option<String> {
        let why = match &self.state {
            _ if self.saved => return None,
            None => "the node keeps no state".to_owned(),
            Some(state) => format!("{} cannot be written", printable(state)),
        };
        Some(format!("{why}: what was changed will be gone after a restart"))
    }
}

/// What the node does, and the rules in a table.
impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Dropped { denied, rate } = &self.dropped;
        let place = match self.place {
            Place::Kernel => "kernel",
            Place::Accept => "accept",
        };
        write!(f, "{place}")?;
        if let Some(missing) = &self.missing {
            write!(f, " ({})", printable(missing))?;
        }
        let dropped = denied.saturating_add(*rate);
        let admitted = self.admitted;
        writeln!(f, ": {admitted} admitted, {dropped} dropped ({denied} denied, {rate} by rate)")?;
        if let Some(Rate { per_second, burst }) = &self.rate {
            let (Source { v4, v6 }, sources, room) = (&self.source, self.sources, self.sources_max);
            write!(
                f,
                "rate: {per_second} a second from a source (/{v4}, /{v6}), {burst} at once; "
            )?;
            writeln!(f, "{sources} of {room} sources")?;
        }
        match &self.state {
            None => writeln!(f, "state: nowhere")?,
            Some(state) if self.saved => writeln!(f, "state: {}", printable(state))?,
            Some(state) => writeln!(f, "state: {}, which cannot be written", printable(state))?,
        }
        table(f, &self.rules)
    }
}

const HEADINGS: [&str; 6] = ["NETWORK", "VERDICT", "BY", "AGE", "EXPIRES", "HITS"];

/// So many columns hold words, the others numbers and what is as good as one.
const WORDS: usize = 3;

/// Words to the left of their columns, numbers to the right.
fn table(f: &mut fmt::Formatter<'_>, rules: &[Rule]) -> fmt::Result {
    let rows = rules.iter().map(Rule::cells);
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; HEADINGS.len()] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].len()).max().unwrap_or_default()
    });
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            match column {
                0 => write!(f, "{cell:width$}")?,
                1..WORDS => write!(f, "  {cell:width$}")?,
                _number => write!(f, "  {cell:>width$}")?,
            }
        }
        writeln!(f)?;
    }
    Ok(())
}

impl Rule {
    fn cells(&self) -> [String; 6] {
        [
            self.network.to_string(),
            self.verdict.to_string(),
            self.by.to_string(),
            Span(self.age_seconds).to_string(),
            self.expires_in_seconds.map_or_else(|| "-".to_owned(), |left| Span(left).to_string()),
            self.hits.to_string(),
        ]
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
        })
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            By::Configuration => "configuration",
            By::Command => "command",
        })
    }
}

/// Seconds, in the two largest units: 3d4h, 9m48s, 12s.
struct Span(u64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
        let (large, unit, small, part) = match seconds {
            0..60 => return write!(f, "{seconds}s"),
            60..3600 => (minutes, 'm', seconds % 60, 's'),
            3600..86_400 => (hours, 'h', minutes % 60, 'm'),
            _days => (days, 'd', hours % 24, 'h'),
        };
        if small == 0 {
            write!(f, "{large}{unit}")
        } else {
            write!(f, "{large}{unit}{small}{part}")
        }
    }
}

/// Text of another host, for a terminal: nothing in it is to move the cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
