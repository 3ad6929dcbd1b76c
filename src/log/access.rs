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
use std::time::Duration;

use prometheus::IntCounter;
use serde::Serialize;

use super::{LogHandle, Output, now};
use crate::limits::ACCESS_LINES_MAX;

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
    for entry in entries {
        match line(&entry) {
            Ok(line) => output.write(&line),
            Err(_unencodable) => output.dropped.inc(),
        }
    }
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
}
