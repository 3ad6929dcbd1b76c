//! The access log: a line about every viewer that goes, and about every request for a stream that
//! is refused.
//!
//! Owns the queue between workers and the thread that makes the lines. A worker hands over facts
//! and never waits; when the queue is full, a line is dropped and counted. The lines go where the
//! log goes, with `module: "access"`.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use prometheus::IntCounter;
use serde::Serialize;

use super::{LogHandle, Output, rfc_3339};
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
    /// When that was.
    pub at: SystemTime,
}

#[derive(Debug)]
enum Message {
    Entry(Entry),
    /// Answer when all before has been written.
    Flush(SyncSender<()>),
}

/// Takes what there is to log.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<SyncSender<Message>>,
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

/// An access log that nobody writes yet.
#[derive(Debug)]
pub struct Pending {
    output: Arc<Output>,
    entries: Receiver<Message>,
}

impl Pending {
    /// Starts the thread that writes what there is to log.
    pub fn start(self) -> io::Result<()> {
        let Pending { output, entries } = self;
        let thread = std::thread::Builder::new().name("access".into());
        thread.spawn(move || run(&entries, &output)).map(drop)
    }
}

/// An access log that goes where `log` goes, and what is to be started for it to be written.
pub fn open(log: &LogHandle) -> (AccessLog, Pending) {
    let (queue, entries) = sync_channel(ACCESS_LINES_MAX);
    let (output, dropped) = (Arc::clone(&log.output), log.output.dropped.clone());
    (AccessLog { queue: Some(queue), dropped }, Pending { output, entries })
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
            && queue.try_send(Message::Entry(entry)).is_err()
        {
            self.dropped.inc();
        }
    }

    /// Waits until all entries so far are written, at most for `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        let deadline = Instant::now() + patience;
        let Some(queue) = &self.queue else { return };
        if super::send_before(queue, Message::Flush(done), deadline) {
            let _late = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

fn run(messages: &Receiver<Message>, output: &Output) {
    let mut refused = RefusedLines::new(Instant::now());
    loop {
        let message = match refused.deadline() {
            None => messages.recv().map_err(RecvTimeoutError::from),
            Some(at) => messages.recv_timeout(at.saturating_duration_since(Instant::now())),
        };
        if let Some(many) = refused.suppressed(Instant::now()) {
            output.write(&summary(many));
        }
        match message {
            Ok(Message::Entry(entry)) if refused.may_be_told(&entry) => match line(&entry) {
                Ok(line) => output.write(&line),
                Err(_unencodable) => output.dropped.inc(),
            },
            Ok(Message::Flush(done)) => {
                if let Some(many) = refused.suppressed(Instant::now() + Duration::from_secs(1)) {
                    output.write(&summary(many));
                }
                let _gave_up_waiting = done.send(());
            }
            Ok(Message::Entry(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Which refused requests have a line of their own: the first of each second.
#[derive(Debug)]
struct RefusedLines {
    second: Instant,
    many: u32,
}

impl RefusedLines {
    fn new(now: Instant) -> RefusedLines {
        RefusedLines { second: now, many: 0 }
    }

    /// Whether an entry has a line of its own.
    fn may_be_told(&mut self, entry: &Entry) -> bool {
        if entry.status == 200 {
            return true;
        }
        self.many = self.many.saturating_add(1);
        self.many <= REFUSED_LINES_PER_SECOND_MAX
    }

    /// When there is something to say of those that had none.
    fn deadline(&self) -> Option<Instant> {
        (self.many > REFUSED_LINES_PER_SECOND_MAX).then(|| self.second + Duration::from_secs(1))
    }

    /// How many had none in the second that is over. Begins another second.
    fn suppressed(&mut self, now: Instant) -> Option<u32> {
        if now.saturating_duration_since(self.second) < Duration::from_secs(1) {
            return None;
        }
        let many = self.many.saturating_sub(REFUSED_LINES_PER_SECOND_MAX);
        *self = RefusedLines::new(now);
        (many > 0).then_some(many)
    }
}

fn summary(many: u32) -> Vec<u8> {
    let line = serde_json::json!({
        "time": rfc_3339(SystemTime::now()), "level": "warning", "module": "access",
        "event": "refused_more",
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
        time: rfc_3339(entry.at),
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
            at: SystemTime::UNIX_EPOCH,
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
        assert_eq!(line["time"], "1970-01-01T00:00:00Z", "when it went, not when it is written");
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
        let mut lines = RefusedLines::new(start);
        let limit = usize::try_from(REFUSED_LINES_PER_SECOND_MAX).unwrap();
        let refused = entry(404);
        assert_eq!(lines.deadline(), None);
        assert_eq!((0..limit + 50).filter(|_| lines.may_be_told(&refused)).count(), limit);
        assert!(lines.may_be_told(&entry(200)), "a viewer always has its line");
        let later = start + Duration::from_secs(1);
        assert_eq!(lines.deadline(), Some(later), "it is told though nothing follows");
        assert_eq!((lines.suppressed(start), lines.suppressed(later)), (None, Some(50)));
        assert!(lines.may_be_told(&refused));
        assert_eq!(lines.suppressed(later + Duration::from_secs(1)), None);
        let line: Value = serde_json::from_slice(&summary(50)).unwrap();
        assert_eq!((&line["event"], &line["requests"]), (&"refused_more".into(), &50.into()));
    }
}
