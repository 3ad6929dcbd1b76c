//! The access log: a line about every viewer that goes, and about every request for a stream that
//! is refused.
//!
//! Owns the queue between workers and the thread that makes the lines. A worker hands over facts
//! and never waits; when the queue is full, a line is dropped and counted. The lines go where the
//! log goes, with `module: "access"`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use prometheus::IntCounter;
use serde::Serialize;

use super::{LogHandle, Output, now};
use crate::limits::{ACCESS_LINES_MAX, REFUSED_LINES_PER_SECOND_MAX};

/// One who asked for a stream, at the end.
#[derive(Debug)]
pub struct Entry {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// Who is behind it.
    pub client: IpAddr,
    /// The path it asked for.
    pub path: String,
    /// What it says it is.
    pub user_agent: Option<String>,
    /// The status it was answered.
    pub status: u16,
    /// Bytes of the stream that its socket took.
    pub bytes: u64,
    /// Packets it was skipped over.
    pub packets_skipped: u64,
    /// Time since it connected.
    pub time: Duration,
    /// Why it went, or was refused.
    pub reason: &'static str,
}

/// Takes what there is to log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Entry>>,
    dropped: IntCounter,
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: &'static str,
    module: &'static str,
    event: &'static str,
    message: String,
    client: IpAddr,
    peer: SocketAddr,
    path: &'a str,
    user_agent: Option<&'a str>,
    status: u16,
    bytes: u64,
    packets_skipped: u64,
    seconds: f64,
    reason: &'static str,
}

/// Starts the thread that writes what it is told to where `log` writes.
pub fn start(log: &LogHandle) -> io::Result<AccessLog> {
    let (queue, entries) = sync_channel(ACCESS_LINES_MAX);
    let (output, dropped) = (Arc::clone(&log.output), log.output.dropped.clone());
    std::thread::Builder::new().name("access".into()).spawn(move || run(&entries, &output))?;
    Ok(AccessLog { queue: Some(queue), dropped })
}

impl AccessLog {
    /// One that forgets everything.
    pub fn silent() -> AccessLog {
        let dropped = IntCounter::new("none", "nothing").expect("a well-formed name");
        AccessLog { queue: None, dropped }
    }

    /// Hands over what is to be logged, and never waits.
    pub fn log(&self, entry: Entry) {
        if let Some(queue) = &self.queue
            && queue.try_send(entry).is_err()
        {
            self.dropped.inc();
        }
    }
}

fn run(entries: &Receiver<Entry>, output: &Output) {
    let mut refusals = Refusals::new(Instant::now());
    while let Ok(entry) = entries.recv() {
        let (shown, before) = refusals.judge(&entry, Instant::now());
        let before = before.map(|many| Ok(summary(many)));
        for line in before.into_iter().chain(shown.then(|| line(&entry))) {
            match line {
                Ok(line) => output.write(&line),
                Err(_unencodable) => output.dropped.inc(),
            }
        }
    }
}

/// Which refusals have a line of their own: the first of each second.
#[derive(Debug)]
struct Refusals {
    second: Instant,
    many: u32,
}

impl Refusals {
    fn new(now: Instant) -> Refusals {
        Refusals { second: now, many: 0 }
    }

    /// Whether an entry has a line, and how many had none in the second that is over.
    fn judge(&mut self, entry: &Entry, now: Instant) -> (bool, Option<u32>) {
        let mut without = None;
        if now.saturating_duration_since(self.second) >= Duration::from_secs(1) {
            let many = self.many.saturating_sub(REFUSED_LINES_PER_SECOND_MAX);
            without = (many > 0).then_some(many);
            *self = Refusals::new(now);
        }
        if entry.status != 200 {
            self.many = self.many.saturating_add(1);
        }
        (entry.status == 200 || self.many <= REFUSED_LINES_PER_SECOND_MAX, without)
    }
}

fn summary(many: u32) -> Vec<u8> {
    let line = serde_json::json!({
        "time": now(), "level": "warning", "module": "access", "event": "refused_more",
        "message": format!("{many} more requests were refused in one second"), "requests": many,
    });
    format!("{line}\n").into_bytes()
}

fn line(entry: &Entry) -> serde_json::Result<Vec<u8>> {
    let Entry { client, path, status, reason, .. } = entry;
    let seconds = (entry.time.as_secs_f64() * 1000.0).round() / 1000.0;
    let watched = *status == 200;
    let message = if watched {
        format!("{client} watched {path} for {seconds} s: {reason}")
    } else {
        format!("{client} was refused {path} with {status}: {reason}")
    };
    let mut line = serde_json::to_vec(&Line {
        time: now(),
        level: "info",
        module: "access",
        event: if watched { "viewer" } else { "refused" },
        message,
        client: *client,
        peer: entry.peer,
        path,
        user_agent: entry.user_agent.as_deref(),
        status: *status,
        bytes: entry.bytes,
        packets_skipped: entry.packets_skipped,
        seconds,
        reason,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn entry(status: u16) -> Entry {
        Entry {
            peer: "10.0.0.1:4000".parse().unwrap(),
            client: "192.0.2.7".parse().unwrap(),
            path: "/a \"b\".ts".into(),
            user_agent: Some("tv\u{1b}[2J\n".into()),
            status,
            bytes: 188_000,
            packets_skipped: 7,
            time: Duration::from_micros(12_345_678),
            reason: "left",
        }
    }

    #[test]
    fn a_line_has_every_fact_and_is_one_line() {
        let bytes = line(&entry(200)).unwrap();
        assert_eq!(bytes.iter().position(|&byte| byte == b'\n'), Some(bytes.len() - 1));
        assert!(bytes.iter().all(|&byte| byte >= b' ' || byte == b'\n'), "no control characters");
        let line: Value = serde_json::from_slice(&bytes).unwrap();
        for (key, value) in [
            ("level", Value::from("info")),
            ("module", "access".into()),
            ("event", "viewer".into()),
            ("client", "192.0.2.7".into()),
            ("peer", "10.0.0.1:4000".into()),
            ("path", "/a \"b\".ts".into()),
            ("user_agent", "tv\u{1b}[2J\n".into()),
            ("status", 200.into()),
            ("bytes", 188_000.into()),
            ("packets_skipped", 7.into()),
            ("seconds", 12.346.into()),
            ("reason", "left".into()),
        ] {
            assert_eq!(line[key], value, "{key}");
        }
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn one_who_is_refused_is_told_apart() {
        let line: Value = serde_json::from_slice(&line(&entry(404)).unwrap()).unwrap();
        assert_eq!((&line["event"], &line["status"]), (&"refused".into(), &404.into()));
        assert_eq!(line["message"], "192.0.2.7 was refused /a \"b\".ts with 404: left");
    }

    #[test]
    fn refusals_beyond_the_limit_are_one_line_together() {
        let start = Instant::now();
        let mut refusals = Refusals::new(start);
        let limit = usize::try_from(REFUSED_LINES_PER_SECOND_MAX).unwrap();
        let refused = entry(404);
        let shown = (0..limit + 50).filter(|_| refusals.judge(&refused, start).0).count();
        assert_eq!(shown, limit);
        assert_eq!(
            refusals.judge(&entry(200), start),
            (true, None),
            "a viewer always has its line"
        );
        let later = start + Duration::from_secs(1);
        assert_eq!(refusals.judge(&refused, later), (true, Some(50)));
        assert_eq!(refusals.judge(&refused, later + Duration::from_secs(1)), (true, None));
        let line: Value = serde_json::from_slice(&summary(50)).unwrap();
        assert_eq!((&line["event"], &line["requests"]), (&"refused_more".into(), &50.into()));
    }
}
