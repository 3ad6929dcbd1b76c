//! System calls by name: those that are needed for what, and those that nobody needs.
//!
//! Owns the tables. What a kernel answers without looking at the arguments it remembers, a bit a
//! call, and then no filter runs any more (Linux 5.11, `seccomp_cache_check_allow` in
//! `kernel/seccomp.c`). So none of the calls that are made for each viewer has a rule about its
//! arguments: those that have are in [`super::filter`].

use libc::c_long;

/// A system call: its name and its number on this machine.
pub(super) type Call = (&'static str, c_long);

/// What a node does beside what every node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Makes sockets in the file system, and removes them.
    SocketFiles,
    /// Keeps its threads on cores.
    Pinning,
    /// Changes what the door's programs know, and looks at it: their maps, and nothing else of
    /// bpf(2).
    Maps,
    /// Has a listening socket that was shut listen again.
    ListeningAgain,
    /// Replaces a file by one that it has written beside it.
    ReplacedFiles,
}

impl Use {
    pub(super) fn calls(self) -> &'static [Call] {
        match self {
            Use::SocketFiles => SOCKET_FILES,
            Use::Pinning => PINNING,
            // Which command is in the arguments.
            Use::Maps => &[],
            Use::ListeningAgain => LISTENING_AGAIN,
            Use::ReplacedFiles => REPLACED_FILES,
        }
    }
}

/// A table of these names. Those in brackets are of the oldest machines only, such as x86-64:
/// younger ones have but their successors.
macro_rules! calls {
    ($($name:ident)* $([$($old:ident)*])?) => {
        &[
            $((stringify!($name), libc::$name),)*
            $($(#[cfg(target_arch = "x86_64")] (stringify!($old), libc::$old),)*)?
        ]
    };
}

/// What every node needs, whatever the arguments.
pub(super) const NODE: &[Call] = calls![
    // For each viewer in each turn.
    SYS_tee SYS_splice SYS_write SYS_writev SYS_read SYS_readv SYS_recvfrom SYS_recvmmsg
    SYS_epoll_pwait SYS_futex SYS_clock_nanosleep [SYS_epoll_wait]
];

/// The rest of it: connections, files, memory, threads, time.
pub(super) const NODE_SELDOM: &[Call] = calls![
    SYS_accept4 SYS_connect SYS_bind SYS_shutdown SYS_getsockname SYS_getpeername SYS_getsockopt
    SYS_setsockopt SYS_sendto SYS_sendmsg SYS_sendmmsg SYS_recvmsg
    SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait2 SYS_eventfd2 SYS_ppoll SYS_pselect6
    SYS_openat SYS_close SYS_close_range SYS_fstat SYS_newfstatat SYS_statx SYS_lseek SYS_pread64
    SYS_getdents64 SYS_readlinkat SYS_faccessat SYS_faccessat2 SYS_getcwd SYS_fcntl SYS_dup
    SYS_pipe2 SYS_sendfile SYS_copy_file_range SYS_statfs SYS_fstatfs
    SYS_mmap SYS_munmap SYS_mremap SYS_mprotect SYS_madvise SYS_brk SYS_membarrier
    SYS_rt_sigaction SYS_rt_sigprocmask SYS_rt_sigreturn SYS_rt_sigtimedwait SYS_sigaltstack
    SYS_restart_syscall SYS_tgkill SYS_exit SYS_exit_group
    SYS_set_robust_list SYS_rseq SYS_sched_yield SYS_sched_getaffinity SYS_getcpu
    SYS_clock_gettime SYS_clock_getres SYS_gettimeofday SYS_nanosleep
    SYS_gettid SYS_getpid SYS_getppid SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
    SYS_getrandom SYS_uname SYS_sysinfo SYS_getrusage SYS_times
    // Threads: answered by the filter before this one, so that those who ask take `clone`.
    SYS_clone3
    [SYS_poll SYS_select SYS_open SYS_stat SYS_lstat SYS_access SYS_readlink SYS_time]
];

const SOCKET_FILES: &[Call] = calls![SYS_unlinkat[SYS_unlink]];

const PINNING: &[Call] = calls![SYS_sched_setaffinity];

/// The C library renames by the oldest call that the machine has.
const LISTENING_AGAIN: &[Call] = calls![SYS_listen];

const REPLACED_FILES: &[Call] =
    calls![SYS_fsync SYS_renameat SYS_renameat2 SYS_unlinkat [SYS_rename SYS_unlink]];

/// What the programs that a node starts have no business with: to change the system, to look into
/// other processes, to make namespaces, and the parts of the kernel that few programs use and that
/// have been the way out of many a container.
pub(super) const NOBODY: &[Call] = calls![
    SYS_mount SYS_umount2 SYS_pivot_root SYS_move_mount SYS_open_tree SYS_fsopen SYS_fsconfig
    SYS_fsmount SYS_fspick SYS_mount_setattr SYS_chroot SYS_unshare SYS_setns
    SYS_open_by_handle_at SYS_name_to_handle_at SYS_quotactl SYS_quotactl_fd SYS_swapon SYS_swapoff
    SYS_nfsservctl
    SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot
    SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init
    SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp
    SYS_process_madvise
    SYS_add_key SYS_request_key SYS_keyctl
    SYS_acct SYS_syslog SYS_vhangup SYS_settimeofday SYS_clock_settime SYS_clock_adjtime
    SYS_adjtimex SYS_sethostname SYS_setdomainname SYS_lookup_dcookie SYS_personality
    [SYS_kexec_file_load SYS_iopl SYS_ioperm SYS_modify_ldt SYS_uselib SYS_ustat SYS_sysfs
     SYS__sysctl]
];

/// Calls with a rule about their arguments, for their names alone.
const RULED: &[Call] =
    calls![SYS_socket SYS_socketpair SYS_ioctl SYS_prctl SYS_clone SYS_prlimit64];

/// What somebody who has taken over the process may try next, for their names alone.
const OTHERS: &[Call] = calls![
    SYS_execve SYS_execveat SYS_listen SYS_accept SYS_kill SYS_tkill SYS_wait4 SYS_waitid
    SYS_mkdirat SYS_mknodat SYS_linkat SYS_symlinkat SYS_fchmodat SYS_fchownat
    SYS_fchmod SYS_fchown SYS_truncate SYS_ftruncate SYS_setuid SYS_setgid SYS_setresuid
    SYS_setresgid SYS_setgroups SYS_capset SYS_seccomp SYS_memfd_create SYS_pidfd_open
    SYS_pidfd_send_signal SYS_chdir SYS_fchdir SYS_setsid SYS_setpgid SYS_vmsplice
    [SYS_fork SYS_vfork SYS_mkdir SYS_mknod SYS_link SYS_symlink SYS_chmod SYS_chown
     SYS_dup2 SYS_pipe SYS_creat SYS_arch_prctl]
];

/// The numbers that all machines have in common begin here (Linux 5.1), and what is added gets the
/// next one.
const COMMON: c_long = 424;
/// Far beyond the newest: 470 at the end of 2025, some five more a year.
const BEYOND: c_long = 512;

/// Calls that came when or after these tables were made, so that none has them. A C library that is
/// younger than this program tries such a call, and knows what to do without it: it is to find out
/// that there is none, which is no attack.
pub(super) fn unheard_of() -> impl Iterator<Item = c_long> {
    (COMMON..BEYOND).filter(|&number| name(number).is_none())
}

/// The name of a call, if a table has it. Allocates nothing and locks nothing.
pub(super) fn name(number: c_long) -> Option<&'static str> {
    let tables = [NODE, NODE_SELDOM, SOCKET_FILES, PINNING, REPLACED_FILES, RULED, OTHERS, NOBODY];
    let found = tables.into_iter().flatten().find(|(_, of_it)| *of_it == number);
    found.and_then(|(name, _)| name.strip_prefix("SYS_"))
}
