//! Each act is tried for real, in a child process of its own: what is given up does not come back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::Duration;

use caps::{CapSet, Capability as Bare};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::ForkResult;

use super::calls::Use;
use super::capabilities::{Capability, keep_only, no_new_privileges};
use super::files::{May, Rules, restrict};
use super::{filter, violation};
use crate::door;

/// Runs `act` in a child; answers how that ended. It has a minute.
fn apart(act: impl FnOnce()) -> WaitStatus {
    // SAFETY: the child has this thread alone. It allocates, which the C library keeps usable after
    // a fork, takes no other lock of another thread, and leaves by _exit.
    match unsafe { nix::unistd::fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            // SAFETY: alarm(2) touches no memory.
            unsafe { libc::alarm(60) };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(act));
            // SAFETY: ends the process, and runs nothing of the parent's.
            unsafe { libc::_exit(i32::from(done.is_err())) }
        }
    }
}

#[track_caller]
fn holds_apart(act: impl FnOnce()) {
    let ended = apart(act);
    assert!(matches!(ended, WaitStatus::Exited(_, 0)), "{ended:?}");
}

fn is_denied<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn status(key: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn is_root() -> bool {
    status("Uid").starts_with("0\t")
}

#[test]
fn what_is_not_allowed_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
    for path in [&ours, &theirs] {
        fs::create_dir(path).unwrap();
        fs::write(path.join("file"), "x").unwrap();
    }
    symlink(theirs.join("file"), ours.join("link")).unwrap();
    holds_apart(|| {
        let paths = vec![(ours.clone(), May::Read), ("/nowhere".into(), May::Read)];
        no_new_privileges().unwrap();
        assert!(
            restrict(&Rules { paths, ..Rules::default() }).unwrap().is_some_and(|abi| abi >= 4)
        );
        assert_eq!(fs::read_to_string(ours.join("file")).unwrap(), "x");
        assert!(is_denied(File::open(theirs.join("file"))));
        assert!(is_denied(File::open(ours.join("link"))), "the target counts");
        assert!(is_denied(File::open("/etc/shadow")));
        assert!(is_denied(fs::read_dir(&theirs)));
        assert!(is_denied(OpenOptions::new().write(true).open(ours.join("file"))));
        assert!(is_denied(fs::write(ours.join("new"), "x")));
        assert!(is_denied(fs::write("/new", "x")));
        assert!(is_denied(fs::remove_file(ours.join("file"))));
        assert!(is_denied(UnixDatagram::bind(ours.join("socket"))));
        assert!(is_denied(TcpListener::bind("127.0.0.1:0")));
        UdpSocket::bind("127.0.0.1:0").unwrap();
    });
    assert!(!ours.join("new").exists() && ours.join("file").exists());
}

/// Replaces a file as one is that is to be whole whenever the power fails.
fn replace(path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&beside)?;
    file.write_all(b"x")?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap())?.sync_all()
}

#[test]
fn each_right_is_enough_for_what_it_is_for() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for name in ["fifos", "log", "sockets", "scratch", "state", "state/below"] {
        fs::create_dir(at(name)).unwrap();
    }
    nix::unistd::mkfifo(&at("fifos/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let append = |path: &Path| OpenOptions::new().append(true).create(true).open(path);
    holds_apart(|| {
        no_new_privileges().unwrap();
        let paths = vec![
            (at("fifos"), May::ReadWrite),
            (at("log"), May::Append),
            (at("sockets"), May::MakeSockets),
            (at("scratch"), May::Everything),
            (at("state"), May::Replace),
            ("/dev/null".into(), May::Device),
        ];
        restrict(&Rules { paths, ..Rules::default() }).unwrap();
        crate::file::open_fifo(&at("fifos/fifo")).unwrap();
        assert!(is_denied(append(&at("fifos/new"))));
        append(&at("log/new")).unwrap();
        assert!(is_denied(File::open(at("log/new"))), "written, not read");
        assert!(is_denied(fs::remove_file(at("log/new"))));
        let socket = UnixDatagram::bind(at("sockets/one")).unwrap();
        UnixDatagram::unbound().unwrap().connect(at("sockets/one")).unwrap();
        drop(socket);
        fs::remove_file(at("sockets/one")).unwrap();
        assert!(is_denied(append(&at("sockets/file"))));
        fs::write(at("scratch/file"), "x").unwrap();
        fs::rename(at("scratch/file"), at("scratch/other")).unwrap();
        for _again in 0..2 {
            replace(&at("state/file")).unwrap();
        }
        assert!(is_denied(File::open(at("state/file"))), "written, not read");
        assert!(is_denied(fs::create_dir(at("state/folder"))));
        assert!(is_denied(UnixDatagram::bind(at("state/socket"))));
        assert!(is_denied(fs::remove_dir(at("state/below"))));
        OpenOptions::new().read(true).write(true).open("/dev/null").unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(is_denied(std::process::Command::new("/bin/true").status().map(drop)));
    });
    holds_apart(|| {
        no_new_privileges().unwrap();
        let paths = vec![("/".into(), May::Execute)];
        restrict(&Rules { paths, binds_tcp: true, abstract_sockets: true }).unwrap();
        TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(std::process::Command::new("/bin/true").status().unwrap().success());
        assert!(is_denied(fs::write(at("scratch/file"), "x")));
    });
}

#[test]
fn capabilities_go_and_do_not_come_back() {
    holds_apart(|| {
        let root = is_root();
        no_new_privileges().unwrap();
        assert_eq!(keep_only(&[]).unwrap(), []);
        let none = "0".repeat(16);
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(status(set), none, "{set}");
        }
        // Without root there is nothing to bound, and nothing to clear it with.
        assert!(!root || status("CapBnd") == none);
        assert_eq!(status("NoNewPrivs"), "1");
        let raw = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
        assert_eq!(raw.unwrap_err(), Errno::EPERM);
    });
}

/// A program that root executes has all capabilities otherwise.
#[test]
fn what_is_kept_is_not_for_commands() {
    if !is_root() {
        return;
    }
    holds_apart(|| {
        no_new_privileges().unwrap();
        assert_eq!(keep_only(&[Capability::NetAdmin]).unwrap(), [Capability::NetAdmin]);
        assert_eq!(status("CapEff"), "0000000000001000");
        let mut shown = std::process::Command::new("/bin/cat");
        let shown = shown.arg("/proc/self/status").output().unwrap();
        let shown = String::from_utf8(shown.stdout).unwrap();
        let capabilities: Vec<_> = shown.lines().filter(|line| line.starts_with("Cap")).collect();
        assert_eq!(capabilities.len(), 5);
        assert!(capabilities.iter().all(|line| line.ends_with("\t0000000000000000")), "{shown}");
    });
}

/// Makes a call that a node may not make; answers the line in the log.
fn violate(act: fn()) -> Line {
    violate_using(&[], act)
}

fn violate_using<T>(uses: &[Use], act: impl FnOnce() -> T) -> Line {
    let (mut log, ours) = io::pipe().unwrap();
    let ended = apart(|| {
        violation::report_to(ours.as_fd()).unwrap();
        violation::report().unwrap();
        filter::allow_node(uses).unwrap();
        drop(act());
    });
    assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{ended:?}");
    drop(ours);
    let mut text = String::new();
    log.read_to_string(&mut text).unwrap();
    Line(text)
}

/// One line, with a newline at its end and nowhere else.
struct Line(String);

impl Line {
    #[track_caller]
    fn says(&self, what: &str) {
        let Line(text) = self;
        assert!(text.ends_with("}\n") && text.matches('\n').count() == 1, "{text:?}");
        assert!(text.contains(what), "{text:?} does not say {what}");
    }
}

#[test]
fn a_violation_is_logged_and_fatal() {
    violate(|| {
        // SAFETY: without a path the call has nothing to read, and fails.
        unsafe { libc::syscall(libc::SYS_execve, 0, 0, 0) };
    })
    .says(r#""call":"execve""#);
    violate(|| drop(TcpListener::bind("127.0.0.1:0"))).says(r#""call":"listen""#);
    violate(|| {
        let _never = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
    })
    .says(r#""call":"socket""#);
    violate(|| {
        let _never = fs::remove_file("/nonexistent");
    })
    .says(r#""call":"unlink"#);
    violate(|| {
        // SAFETY: without a program the call has nothing to read.
        unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) };
    })
    .says(r#""call":"bpf""#);
    violate(|| {
        // SAFETY: no namespace is made here.
        let _never = unsafe { libc::unshare(libc::CLONE_NEWUSER) };
    })
    .says(r#""call":"unshare""#);
    violate(|| {
        // SAFETY: a fork; the child, if there ever were one, would go on to the end of the act.
        unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    })
    .says(r#""call":"clone""#);
    violate(|| {
        // SAFETY: the option takes no pointer.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    })
    .says(r#""call":"prctl""#);
    violate(|| {
        let limit = libc::rlimit { rlim_cur: 10, rlim_max: 10 };
        // SAFETY: `limit` is alive for the call.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    })
    .says(r#""call":"prlimit64""#);
}

/// The C library blocks signals while it makes a process.
#[test]
fn a_violation_is_fatal_even_where_it_cannot_be_logged() {
    let ended = apart(|| {
        violation::report().unwrap();
        filter::allow_node(&[]).unwrap();
        let _never = std::process::Command::new("/bin/true").status();
    });
    assert!(matches!(ended, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{ended:?}");
}

#[test]
fn a_node_goes_on_with_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    holds_apart(|| {
        violation::report().unwrap();
        assert!(filter::allow_node(&[Use::SocketFiles, Use::Pinning]).unwrap() > 80);
        assert_eq!(status("Seccomp"), "2");
        std::thread::spawn(move || TcpStream::connect(address).map(drop).unwrap()).join().unwrap();
        listener.accept().unwrap();
        // A name, by the C library, which asks for our addresses.
        std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).unwrap().for_each(drop);
        let pipe = crate::pipe::Pipe::with_capacity(65_536).unwrap();
        crate::file::write(pipe.writer(), &[io::IoSlice::new(b"x")]).unwrap();
        drop(UnixDatagram::bind(&path).unwrap());
        fs::remove_file(&path).unwrap();
        crate::cpu::pin(crate::cpu::cores().unwrap()[0]).unwrap();
        crate::datagram::interface("lo").unwrap();
        // As libcap does when a module of the C library brings it along.
        caps::has_cap(None, CapSet::Bounding, Bare::CAP_CHOWN).unwrap();
        nix::sys::prctl::get_name().unwrap();
        // As a C library does that is younger than we are.
        for unheard_of in [453, 470, 511] {
            // SAFETY: answered before the kernel looks at the arguments.
            let answer = unsafe { libc::syscall(unheard_of, 0, 0, 0) };
            assert_eq!(Errno::result(answer), Err(Errno::ENOSYS), "{unheard_of}");
        }
    });
}

#[test]
fn commands_may_do_all_but_what_is_dangerous() {
    holds_apart(|| {
        assert!(filter::deny_dangerous(&[]).unwrap() > 50);
        // SAFETY: as above, no namespace is made.
        assert_eq!(Errno::result(unsafe { libc::unshare(libc::CLONE_NEWUSER) }), Err(Errno::EPERM));
        // SAFETY: without a program the call has nothing to read.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, 0, 0, 0) };
        assert_eq!(Errno::result(answer), Err(Errno::EPERM));
        let flags = libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: refused before there is a child.
        let answer = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        assert_eq!(Errno::result(answer), Err(Errno::EPERM));
        // SAFETY: refused before the arguments are looked at.
        let answer = unsafe { libc::syscall(libc::SYS_clone3, 0, 0) };
        assert_eq!(Errno::result(answer), Err(Errno::ENOSYS));
        let script = "exec 3</dev/null; (ls / | grep -c e; sleep 0) & wait $!";
        let run = std::process::Command::new("/bin/sh").args(["-c", script]).output().unwrap();
        assert!(run.status.success(), "{run:?}");
    });
}

const BPF_MAP_CREATE: i32 = 0;
const BPF_MAP_LOOKUP_ELEM: i32 = 1;
const BPF_PROG_LOAD: i32 = 5;
const BPF_MAP_GET_FD_BY_ID: i32 = 14;

/// What the kernel says to a command of bpf(2) without arguments.
fn bpf(command: i32) -> Errno {
    // SAFETY: without attributes the call has nothing to read or to write to.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, 0, 0) };
    Errno::result(answer).unwrap_err()
}

const DOOR: door::Settings = door::Settings {
    rate: Some(door::Rate { interval: Duration::from_secs(1), burst: 5 }),
    source_bits_v4: 32,
    source_bits_v6: 64,
    rules: 16,
    sources: 16,
    workers: 2,
};

/// Loads the door as a node does; then `confine`, and all that a node does with it afterwards.
fn use_door_after(confine: impl FnOnce()) {
    let mut door = door::Door::load(&DOOR).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let sockets = crate::socket::listen_shared(any, 16, NonZeroUsize::new(2).unwrap()).unwrap();
    for socket in &sockets {
        door.attach(socket.as_fd()).unwrap();
    }
    let shares: Vec<_> = sockets.iter().map(|socket| vec![socket.as_fd()]).collect();
    let mut steering = door::Steering::start(&mut door, &shares).unwrap();
    confine();
    let home = door::Network { address: "::ffff:127.0.0.0".parse().unwrap(), bits: 104 };
    let connect = || TcpStream::connect(sockets[0].local_addr().unwrap()).unwrap();
    steering.publish(&[door::NOBODY, 0], 1).unwrap();
    let _first = connect();
    door.set(home, door::Verdict::Allow).unwrap();
    let _second = connect();
    assert_eq!(door.hits(home).unwrap(), 1);
    let counts = door.counts().unwrap();
    assert_eq!((counts.admitted, counts.sources, counts.steered), (2, 1, 2));
    let (accepted, _peer) = sockets[1].accept().unwrap();
    door::detach(accepted.as_fd()).unwrap();
    door.remove(home).unwrap();
    assert!(door.hits(home).is_err());
    assert_eq!(door.forget_idle(Duration::ZERO).unwrap(), 1);
}

/// As on a host where maps are not for everybody to make, which is how Debian has it
/// (`kernel.unprivileged_bpf_disabled`).
#[test]
fn the_door_goes_on_without_a_capability() {
    if !is_root() {
        return;
    }
    let drop_all = || {
        no_new_privileges().unwrap();
        assert_eq!(keep_only(&[]).unwrap(), []);
        assert_eq!(status("CapEff"), "0".repeat(16));
    };
    holds_apart(|| {
        use_door_after(|| {
            drop_all();
            violation::report().unwrap();
            filter::allow_node(&[Use::Maps]).unwrap();
        });
    });
    holds_apart(|| {
        use_door_after(|| {
            drop_all();
            filter::deny_dangerous(&[Use::Maps]).unwrap();
        });
        for refused in [BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_MAP_GET_FD_BY_ID] {
            assert_eq!(bpf(refused), Errno::EPERM, "{refused}");
        }
        // The kernel has looked at what there is not.
        assert_eq!(bpf(BPF_MAP_LOOKUP_ELEM), Errno::EINVAL);
    });
}

#[test]
fn no_program_and_no_map_is_made_once_the_door_stands() {
    for command in [BPF_MAP_CREATE, BPF_PROG_LOAD, BPF_MAP_GET_FD_BY_ID, 0x100 | BPF_MAP_CREATE] {
        violate_using(&[Use::Maps], || bpf(command)).says(r#""call":"bpf""#);
    }
    violate_using(&[Use::ReplacedFiles], || bpf(BPF_MAP_LOOKUP_ELEM)).says(r#""call":"bpf""#);
}

#[test]
fn a_file_is_replaced_only_by_who_has_said_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    holds_apart(|| {
        violation::report().unwrap();
        filter::allow_node(&[Use::ReplacedFiles]).unwrap();
        replace(&path).unwrap();
        replace(&path).unwrap();
        fs::remove_file(&path).unwrap();
    });
    violate_using(&[Use::Maps], || fs::rename(&path, &path)).says(r#""call":"rename"#);
    violate_using(&[Use::Maps], || File::open("/proc").unwrap().sync_all())
        .says(r#""call":"fsync""#);
}
