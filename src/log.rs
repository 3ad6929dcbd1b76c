//! The log: one JSON object a line.
//!
//! Owns the file (or standard output) and the threads that write it. A line is made by who logs it
//! and queued; the queue is bounded, and what does not fit is dropped and counted, so that a worker
//! never waits for a disk or a reader. Viewers that go have a queue of their own ([`access`]):
//! thousands of them at once do not crowd out an error. SIGUSR1 ends in [`LogHandle::reopen`].
//!
//! Keys: `time` (RFC 3339, UTC), `level`, `module`, `event`, `message`; an error has
//! `event: "error"` and `error: <kind>`.

pub mod access;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use prometheus::IntCounter;
use restreamer_sys::confine::violation;
use slog::{Drain, FnValue, Logger, PushFnValue, Record, o};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::limits::LOG_LINES_MAX;

/// Where lines go.
#[derive(Debug)]
pub enum Target {
    /// Standard output.
    Stdout,
    /// A file, appended to.
    File(PathBuf),
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    /// Look at the flags.
    Nudge,
    /// Answer when all before has been written.
    Flush(SyncSender<()>),
}

/// Steers the thread that writes.
#[derive(Debug, Clone)]
pub struct LogHandle {
    queue: SyncSender<Message>,
    output: Arc<Output>,
}

impl LogHandle {
    /// Closes the file and opens it again, before the next line is written.
    pub fn reopen(&self) {
        self.output.reopen.store(true, Ordering::Release);
        // A full queue needs no nudge: the flag is seen at the next line.
        let _full = self.queue.try_send(Message::Nudge);
    }

    /// Waits until all lines so far are written, at most for `patience`.
    pub fn flush(&self, patience: Duration) {
        let (done, wait) = sync_channel(1);
        let deadline = Instant::now() + patience;
        if send_before(&self.queue, Message::Flush(done), deadline) {
            let _late = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// An open log that nobody writes yet.
#[derive(Debug)]
pub struct Pending {
    output: Arc<Output>,
    lines: Receiver<Message>,
}

impl Pending {
    /// Starts the thread that writes what was logged so far, and then what is logged.
    pub fn start(self) -> io::Result<()> {
        let Pending { output, lines } = self;
        std::thread::Builder::new().name("log".into()).spawn(move || output.run(&lines)).map(drop)
    }
}

/// Opens the log; answers the logger, the handle, and what is to be started for it to be written.
/// `dropped` counts the lines that are lost.
///
/// Fails when the file cannot be opened.
pub fn open(target: Target, dropped: IntCounter) -> io::Result<(Logger, LogHandle, Pending)> {
    let output = Arc::new(Output {
        writer: Mutex::new(Writer::open(target)?),
        reopen: AtomicBool::new(false),
        dropped: dropped.clone(),
    });
    let (queue, lines) = sync_channel(LOG_LINES_MAX);
    let handle = LogHandle { queue: queue.clone(), output: Arc::clone(&output) };
    let line = Line { bytes: Vec::new(), queue, dropped };
    // The last comes first in the line.
    let json = slog_json::Json::new(line).set_flush(true).add_key_value(o!(
        "message" => PushFnValue(|record: &Record<'_>, to| to.emit(record.msg())),
        "level" => FnValue(|record: &Record<'_>| record.level().as_str().to_ascii_lowercase()),
        "time" => PushFnValue(|_: &Record<'_>, to| to.emit(now())),
    ));
    let log = Logger::root(Mutex::new(json.build()).ignore_res(), o!());
    Ok((log, handle, Pending { output, lines }))
}

/// Opens the log and has it written at once.
#[cfg(test)]
pub(crate) fn start(target: Target, dropped: IntCounter) -> io::Result<(Logger, LogHandle)> {
    let (log, handle, pending) = open(target, dropped)?;
    pending.start().map(|()| (log, handle))
}

/// Sends as soon as there is room in the queue, before the deadline. Answers whether it did.
fn send_before<T>(queue: &SyncSender<T>, mut message: T, deadline: Instant) -> bool {
    loop {
        match queue.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => return false,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A logger that discards everything.
pub fn silent() -> Logger {
    Logger::root(slog::Discard, o!())
}

fn now() -> String {
    rfc_3339(SystemTime::now())
}

fn rfc_3339(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}

/// Collects one line and queues it whole when it is flushed.
struct Line {
    bytes: Vec<u8>,
    queue: SyncSender<Message>,
    dropped: IntCounter,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let line = std::mem::take(&mut self.bytes);
        match self.queue.try_send(Message::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.dropped.inc(),
        }
        Ok(())
    }
}

/// Where lines end up: the log's own thread and that of the access log write here, each a line at a
/// time. No worker ever does.
#[derive(Debug)]
struct Output {
    writer: Mutex<Writer>,
    reopen: AtomicBool,
    dropped: IntCounter,
}

impl Output {
    fn run(&self, lines: &Receiver<Message>) {
        for message in lines {
            match message {
                Message::Line(line) => self.write(&line),
                Message::Nudge => drop(self.writer()),
                Message::Flush(done) => {
                    let _gave_up_waiting = done.send(());
                }
            }
        }
    }

    fn write(&self, line: &[u8]) {
        // A full disk or a closed pipe: there is nowhere else to say it but the metric.
        if self.writer().write(line).is_err() {
            self.dropped.inc();
        }
    }

    /// The writer, with its file opened again if that was asked for.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.reopen.swap(false, Ordering::Acquire) {
            writer.reopen();
        }
        writer
    }
}

#[derive(Debug)]
enum Writer {
    Stdout,
    File { path: PathBuf, file: File },
}

impl Writer {
    fn open(target: Target) -> io::Result<Writer> {
        match target {
            Target::Stdout => Ok(Writer::Stdout),
            Target::File(path) => {
                let file = append_to(&path)?;
                violation::report_to(file.as_fd())?;
                Ok(Writer::File { file, path })
            }
        }
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        match self {
            Writer::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(line)?;
                out.flush()
            }
            Writer::File { file, .. } => file.write_all(line),
        }
    }

    /// Opens the file again; when that fails, the old one stays in use and says so.
    fn reopen(&mut self) {
        let Writer::File { path, file } = self else { return };
        let opened = append_to(path);
        match opened.and_then(|new| violation::report_to(new.as_fd()).map(|()| new)) {
            Ok(new) => *file = new,
            Err(error) => {
                let line = serde_json::json!({
                    "time": now(), "level": "error", "module": "log", "event": "error",
                    "error": "reopen",
                    "message": format!("log file {} cannot be opened: {error}", path.display()),
                });
                let _nowhere_to_say_it = writeln!(file, "{line}");
            }
        }
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

#[cfg(test)]
mod tests {
    use slog::{error, info};

    use super::*;

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "in a test").unwrap()
    }

    fn lines(path: &Path) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_line_has_the_keys_of_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (log, handle) = start(Target::File(path.clone()), counter()).unwrap();
        let log = log.new(o!("module" => "upstream"));
        info!(log, "it is \"here\"\n"; "event" => "connected", "stream" => "/a.ts");
        error!(log, "it is gone"; "event" => "error", "error" => "refused");
        handle.flush(PATIENCE);
        let lines = lines(&path);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["module"], "upstream");
        assert_eq!(lines[0]["event"], "connected");
        assert_eq!(lines[0]["message"], "it is \"here\"\n");
        assert_eq!(lines[0]["stream"], "/a.ts");
        let time = lines[0]["time"].as_str().unwrap();
        assert!(time.len() >= 20 && &time[10..11] == "T" && time.ends_with('Z'), "{time}");
        assert_eq!((&lines[1]["event"], &lines[1]["error"]), (&"error".into(), &"refused".into()));
    }

    #[test]
    fn reopening_follows_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
        let (log, handle) = start(Target::File(path.clone()), counter()).unwrap();
        info!(log, "first");
        handle.flush(PATIENCE);
        std::fs::rename(&path, &old).unwrap();
        handle.reopen();
        info!(log, "second");
        handle.flush(PATIENCE);
        assert_eq!((lines(&old).len(), lines(&path).len()), (1, 1));
    }

    #[test]
    fn a_full_queue_drops_counts_and_does_not_wait() {
        let dropped = counter();
        let (queue, _nobody_reads) = sync_channel(2);
        let mut line = Line { bytes: Vec::new(), queue, dropped: dropped.clone() };
        for _ in 0..5 {
            line.write_all(b"x").unwrap();
            line.flush().unwrap();
        }
        assert_eq!(dropped.get(), 3);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        assert!(start(Target::File("/nonexistent/log".into()), counter()).is_err());
    }
}
