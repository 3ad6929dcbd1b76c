//! What the node gives up once it has all it needs.
//!
//! Owns the order in which that is done, and what is said of it. What is needed later is decided in
//! [`plan`], from the configuration. All of it is best effort: a kernel that has less is told
//! of in the log, and the node serves. Driven by `start`, before there is a second thread: most of
//! this holds for one thread and those that it starts.

mod plan;

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use restreamer_sys::confine::{capabilities, files, filter, violation};
use slog::{Logger, info, warn};

use crate::config::Config;
use crate::door::state_path;
use plan::{Host, Place, Plan};

/// Gives up what the node does not need any more.
pub(super) fn confine(config: &Config, workers: usize, log: &Logger) {
    if !config.confine {
        warn!(log, "not confined, as the configuration says: what takes over this process has all \
              that its user has"; "event" => "confined");
        return;
    }
    let plan = plan::plan(config, workers, &host(config));
    let mut held = Vec::new();
    let mut note = |what: &str, done: std::io::Result<Option<String>>| match done {
        Ok(Some(text)) => held.push(text),
        Ok(None) => warn!(log, "{what} cannot be confined: the kernel does not";
            "event" => "error", "error" => "confine"),
        Err(why) => warn!(log, "{what} cannot be confined: {why}";
            "event" => "error", "error" => "confine"),
    };
    let privileges = capabilities::no_new_privileges();
    note("privileges", privileges.map(|()| Some("no new privileges".to_owned())));
    // While the capabilities are there that open what is to be allowed.
    let landlock = files::restrict(&plan.rules);
    let kept = capabilities::keep_only(&plan.kept);
    note("capabilities", kept.map(|kept| Some(tell_kept(&kept))));
    // Last: none of the calls above is among those that go on to be allowed.
    note("system calls", restrict_calls(&plan).map(Some));
    note("files", landlock.map(|abi| abi.map(|abi| format!("Landlock ABI {abi}"))));
    info!(log, "confined: {}", held.join(", "); "event" => "confined");
}

fn tell_kept(kept: &[capabilities::Capability]) -> String {
    let names: Vec<_> = kept.iter().map(|kept| kept.name()).collect();
    if names.is_empty() {
        "no capabilities".to_owned()
    } else {
        format!("no capabilities but {}", names.join(" and "))
    }
}

/// A filter is inherited, so with commands it has to do for them as well, whatever they are.
fn restrict_calls(plan: &Plan) -> std::io::Result<String> {
    if plan.commands {
        let count = filter::deny_dangerous(&plan.uses)?;
        return Ok(format!("all but {count} system calls"));
    }
    violation::report()?;
    let count = filter::allow_node(&plan.uses)?;
    Ok(format!("{count} system calls"))
}

fn host(config: &Config) -> Host<'static> {
    let number = |path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    Host {
        look: &look,
        follow: &follow,
        points: &points,
        devices: entries.filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        scratch: std::env::temp_dir(),
        door_state: config.door.as_ref().and_then(state_path),
        receive_buffer: number("/proc/sys/net/core/rmem_max"),
        free_port: number("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
        congestion_controls: fs::read_to_string(
            "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
        )
        .unwrap_or_default(),
        pipe_pages: number("/proc/sys/fs/pipe-user-pages-soft"),
    }
}

/// Where a path leads. Of a symbolic link whose target is not there, that is where it points to.
fn follow(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().or_else(|| points(path))
}

fn points(link: &Path) -> Option<PathBuf> {
    Some(link.parent()?.join(fs::read_link(link).ok()?))
}

fn look(path: &Path) -> Place {
    match fs::metadata(path).map(|found| found.file_type()) {
        Err(_) => Place::Nothing,
        Ok(kind) if kind.is_fifo() => Place::Fifo,
        Ok(kind) if kind.is_dir() => Place::Directory,
        Ok(kind) if kind.is_file() => Place::File,
        Ok(_) => Place::Special,
    }
}
