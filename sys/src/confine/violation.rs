//! What a process says when it is ended for a system call that it may not make.
//!
//! Owns the handler of SIGSYS and the line it writes, a JSON object as all of the log. The handler
//! runs wherever the call was made, so it allocates nothing and locks nothing. Where SIGSYS is
//! blocked (the C library does that while it makes a process) the kernel ends us without a line.

use std::fmt::{self, Write};
use std::io;
use std::mem::zeroed;
use std::os::fd::{BorrowedFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, c_void, siginfo_t};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::calls;

/// Where the line goes: standard output, unless there is a file.
static LOG: AtomicI32 = AtomicI32::new(libc::STDOUT_FILENO);

/// How long the log may take to have room for the line.
const PATIENCE_MILLIS: c_int = 500;

/// Has the line written to `log` from now on, which may be closed meanwhile.
pub fn report_to(log: BorrowedFd<'_>) -> io::Result<()> {
    let ours = log.try_clone_to_owned()?.into_raw_fd();
    let before = LOG.swap(ours, Ordering::AcqRel);
    if before > libc::STDERR_FILENO {
        // SAFETY: only this function stores such numbers, each of a descriptor that it has made and
        // given up, and the swap has given this one to us alone.
        drop(unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(before) });
    }
    Ok(())
}

/// Has violations reported: a line in the log, then the end by SIGSYS.
pub fn report() -> io::Result<()> {
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK;
    let action = SigAction::new(SigHandler::SigAction(on_violation), flags, SigSet::empty());
    // SAFETY: the handler only reads its arguments, an atomic and the clock, writes to its own
    // stack, and makes calls that are async-signal-safe (signal-safety(7)).
    unsafe { sigaction(Signal::SIGSYS, &action) }?;
    Ok(())
}

/// What the kernel says of a SIGSYS (`struct siginfo` in `include/uapi/asm-generic/siginfo.h`, on
/// machines of 64 bits), which the C library's type hides.
#[repr(C)]
struct Violation {
    _signal: c_int,
    _errno: c_int,
    _code: c_int,
    _padding: c_int,
    _address: *const c_void,
    call: c_int,
    _machine: u32,
}

extern "C" fn on_violation(_signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO its siginfo_t, larger than this prefix of
    // it and alive for as long as the handler runs.
    let call = unsafe { (*info.cast::<Violation>()).call };
    let mut line = Line { bytes: [0; 512], length: 0 };
    // The line has room for the longest name and number there is.
    let _fits = describe(&mut line, call, now());
    say(&line.bytes[..line.length]);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler of ours is left that could be called wrongly.
    let _cannot_fail = unsafe { sigaction(Signal::SIGSYS, &default) };
    // The signal is blocked as long as we are in its handler; the return from it is the end.
    let _cannot_fail = nix::sys::signal::raise(Signal::SIGSYS);
}

/// Writes to the log once it has room; one that nobody reads must not keep us alive.
fn say(line: &[u8]) {
    let log = LOG.load(Ordering::Acquire);
    let mut room = libc::pollfd { fd: log, events: libc::POLLOUT, revents: 0 };
    // SAFETY: `room` is one pollfd, alive and ours.
    let ready = unsafe { libc::poll(&raw mut room, 1, PATIENCE_MILLIS) };
    if ready == 1 {
        // SAFETY: `line` is readable for its length. Should the number be another's by now, it is
        // a line in the wrong place, and the process ends.
        let _nowhere_else = unsafe { libc::write(log, line.as_ptr().cast(), line.len()) };
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    // SAFETY: an all-zero timespec is valid.
    let mut time: libc::timespec = unsafe { zeroed() };
    // SAFETY: `time` is ours to write to.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    Errno::result(answer).map_or(0, |_| time.tv_sec)
}

struct Line {
    bytes: [u8; 512],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn describe(line: &mut impl Write, call: c_int, seconds: i64) -> fmt::Result {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let (hour, rest) = (seconds.rem_euclid(86_400) / 3600, seconds.rem_euclid(3600));
    let name = calls::name(call.into()).unwrap_or("unknown");
    writeln!(
        line,
        "{{\"time\":\"{year:04}-{month:02}-{day:02}T{hour:02}:{:02}:{:02}Z\",\
         \"level\":\"critical\",\"message\":\"ended for a system call that a node does not make: \
         {name} ({call})\",\"module\":\"confine\",\"event\":\"error\",\"error\":\"violation\",\
         \"call\":\"{name}\",\"number\":{call}}}",
        rest / 60,
        rest % 60,
    )
}

/// The date of a day since 1970 in the Gregorian calendar. Years are counted from March on, so that
/// a leap day is the last of its year, and in eras of 400 years, which are all of one length.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let since_march_of_0 = days + 719_468;
    let (era, day) = (since_march_of_0.div_euclid(ERA_DAYS), since_march_of_0.rem_euclid(ERA_DAYS));
    let year = (day - day / 1460 + day / 36_524 - day / (ERA_DAYS - 1)) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months have 153 days, again and again.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_its_date() {
        for (seconds, expected) in [
            (0, (1970, 1, 1)),
            (951_782_400, (2000, 2, 29)),
            (951_868_800, (2000, 3, 1)),
            (1_709_164_800, (2024, 2, 29)),
            (1_735_603_200, (2024, 12, 31)),
            (4_107_456_000, (2100, 2, 28)),
            (4_107_542_400, (2100, 3, 1)),
        ] {
            assert_eq!(date(seconds / 86_400), expected, "{seconds}");
        }
    }

    #[test]
    fn the_line_names_the_call_and_when_it_was() {
        for (call, name) in
            [(libc::SYS_execve, "execve"), (libc::SYS_bpf, "bpf"), (9999, "unknown")]
        {
            let mut line = Line { bytes: [0; 512], length: 0 };
            describe(&mut line, c_int::try_from(call).unwrap(), 1_709_210_096).unwrap();
            let text = std::str::from_utf8(&line.bytes[..line.length]).unwrap();
            assert!(text.starts_with("{\"time\":\"2024-02-29T12:34:56Z\","), "{text}");
            assert!(text.contains(&format!("{name} ({call})")), "{text}");
            assert!(
                text.ends_with(&format!("\"call\":\"{name}\",\"number\":{call}}}\n")),
                "{text}"
            );
        }
    }
}
