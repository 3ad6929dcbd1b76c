//! What was changed while running, kept over a restart.
//!
//! Owns the state file: its shape, and how it is written so that there is always a whole one. Never
//! overwrites one that could not be read. What runs goes by a clock that never jumps; the file has
//! the wall clock's time, so that it still means something after the machine was off. Driven by the
//! keeper.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::rules::{Commanded, Since, Verdict};
use crate::config::canonical;
use crate::limits::{
    DOOR_CLOCK_JUMP, DOOR_LASTING_MAX, DOOR_STATE_ASIDE_MAX, DOOR_STATE_BYTES_MAX,
};

/// The shape of the file. Another one is not guessed at.
const VERSION: u32 = 1;

/// One instant by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// By the clock that never jumps.
    pub(super) instant: Instant,
    /// By the wall clock, since 1970.
    pub(super) unix: Duration,
}

impl Moment {
    pub(super) fn now() -> Moment {
        // A clock before 1970 has not been set yet.
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Moment { instant: Instant::now(), unix }
    }

    /// By how much the wall clock has gone otherwise since `then`.
    fn jumped(self, then: Moment) -> Duration {
        let passed = self.instant.saturating_duration_since(then.instant);
        self.unix.abs_diff(then.unix.saturating_add(passed))
    }
}

/// A rule of a command, as the file has it. Times are seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    network: IpNet,
    verdict: Verdict,
    since: u64,
    expires: Option<u64>,
    hits: u64,
}

impl Kept {
    pub(super) fn new(network: IpNet, commanded: &Commanded, hits: u64, now: Moment) -> Kept {
        let age = commanded.since.age(now.instant);
        let expires = commanded.expires.map(|expires| {
            let at = now.unix.saturating_add(expires.saturating_duration_since(now.instant));
            // A part of a second more rather than less.
            at.as_secs() + u64::from(at.subsec_nanos() > 0)
        });
        let since = now.unix.saturating_sub(age).as_secs();
        Kept { network, verdict: commanded.verdict, since, expires, hits }
    }

    /// The rule as it is now; `None` when it has expired.
    pub(super) fn restored(&self, now: Moment) -> Option<(IpNet, Commanded, u64)> {
        let since = Duration::from_secs(self.since);
        let age = now.unix.saturating_sub(since);
        let left = self.expires.map(|expires| {
            // By a clock that has gone back it lasts as long as it was to last, and no longer.
            Duration::from_secs(expires).saturating_sub(now.unix.max(since)).min(DOOR_LASTING_MAX)
        });
        if left.is_some_and(|left| left.is_zero()) {
            return None;
        }
        let commanded = Commanded {
            verdict: self.verdict,
            since: Since::new(now.instant, age),
            expires: left.map(|left| now.instant + left),
        };
        Some((canonical(self.network), commanded, self.hits))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    rules: Vec<Kept>,
}

#[derive(Serialize)]
struct ContentsOf<'a> {
    version: u32,
    rules: &'a [Kept],
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it is no regular file")]
    NoFile,
    #[error("it is larger than {DOOR_STATE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it is not what this program writes: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("it is of version {0}, and not of version {VERSION}")]
    Version(u32),
}

/// What became of a file that was to be read.
#[derive(Debug)]
pub(super) enum Found {
    /// It is as it is to be, or there is none yet.
    Rules(Vec<Kept>),
    /// It could not be read and has another name now.
    Aside(Unreadable, PathBuf),
    /// It could not be read and stays as it is: nothing will be written.
    InTheWay(Unreadable, io::Error),
}

/// The state file.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    /// Whether the file must be left alone.
    in_the_way: bool,
    /// Whether what was written last is all there.
    saved: bool,
    /// When that was.
    written: Option<Moment>,
}

impl Store {
    /// Reads the file, if there is one.
    pub(super) fn open(path: PathBuf) -> (Store, Found) {
        let found = match read(&path) {
            Ok(rules) => Found::Rules(rules),
            Err(why) => match set_aside(&path) {
                Ok(aside) => Found::Aside(why, aside),
                Err(error) => Found::InTheWay(why, error),
            },
        };
        let in_the_way = matches!(found, Found::InTheWay(..));
        (Store { path, in_the_way, saved: false, written: None }, found)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether all is in the file.
    pub(super) fn is_saved(&self) -> bool {
        self.saved
    }

    /// Whether the file should be written though no rule has changed: it failed before, or has
    /// times of a wall clock that has since been set.
    pub(super) fn wants_writing(&self, now: Moment) -> bool {
        let jumped = |then| now.jumped(then) > DOOR_CLOCK_JUMP;
        !self.in_the_way && (!self.saved || self.written.is_some_and(jumped))
    }

    /// Writes the whole file anew: afterwards it is this, or else what it was.
    pub(super) fn write(&mut self, rules: &[Kept], now: Moment) -> io::Result<()> {
        self.saved = false;
        if self.in_the_way {
            let why = "one that cannot be read is in its place, and cannot be moved";
            return Err(io::Error::other(why));
        }
        replace(&self.path, rules)?;
        self.saved = true;
        self.written = Some(now);
        Ok(())
    }
}

fn read(path: &Path) -> Result<Vec<Kept>, Unreadable> {
    match fs::metadata(path) {
        Err(error) if is_of_nothing(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
        // To open a FIFO would be to wait for who writes to it.
        Ok(found) if !found.is_file() => return Err(Unreadable::NoFile),
        Ok(_file) => {}
    }
    let file = File::open(path)?;
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(DOOR_STATE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > DOOR_STATE_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let contents: Contents = serde_json::from_slice(&bytes)?;
    if contents.version != VERSION {
        return Err(Unreadable::Version(contents.version));
    }
    Ok(contents.rules)
}

/// Whether there is no file, and no folder that it could be in.
fn is_of_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Gives a file another name, which no other one has. A folder or a device, which somebody has
/// named by mistake, is others' as well: it stays where they look for it.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("what is no regular file is left alone"));
    }
    let named = |number: usize| match number {
        1 => with_suffix(path, ".unreadable"),
        number => with_suffix(path, &format!(".unreadable.{number}")),
    };
    let mut free = None;
    for number in 1..=DOOR_STATE_ASIDE_MAX {
        if !fs::exists(named(number))? {
            free = Some(named(number));
            break;
        }
    }
    let aside = free.ok_or_else(|| io::Error::other("there are too many unreadable ones"))?;
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// A new file takes the place of the old one when it is safely on the disk (rename(2), fsync(2)).
fn replace(path: &Path, rules: &[Kept]) -> io::Result<()> {
    let text = serde_json::to_vec(&ContentsOf { version: VERSION, rules })?;
    let new = with_suffix(path, ".new");
    // One that was left behind when the power went may be anybody's.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
