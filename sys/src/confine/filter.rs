//! Which system calls there are for us (seccomp(2)).
//!
//! Owns the rules about arguments. A filter holds for every thread there is.

use std::collections::BTreeMap;
use std::io;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Is,
    SeccompCondition, SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::calls::{self, Use};

/// Calls with the rules of each, one of which must hold; none: whatever the arguments.
type Calls = BTreeMap<c_long, Vec<SeccompRule>>;

/// What makes namespaces. `CLONE_NEWTIME` is no flag of clone(2), where its bit is of the signal.
const NAMESPACES: u64 = (libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS)
    .cast_unsigned() as u64;
const THREAD: u64 = libc::CLONE_THREAD.cast_unsigned() as u64;
/// What may be set or asked for by prctl(2): threads are named, and the C library names its memory.
/// The other two only ask. The modules that it resolves names with do that, some before they are
/// called: libcap, which `libnss_mymachines` comes with, counts what capabilities there are.
const SETTINGS: [i32; 4] =
    [libc::PR_SET_NAME, libc::PR_SET_VMA, libc::PR_GET_NAME, libc::PR_CAPBSET_READ];

/// What may be asked of a map that is there: `BPF_MAP_LOOKUP_ELEM`, `BPF_MAP_UPDATE_ELEM`,
/// `BPF_MAP_DELETE_ELEM` and `BPF_MAP_GET_NEXT_KEY` of `enum bpf_cmd` in
/// `include/uapi/linux/bpf.h`. None of them makes anything, or takes a capability (Linux 5.19).
const MAP_COMMANDS: [u64; 4] = [1, 2, 3, 4];

/// Allows what a node needs and nothing else: any other call is a [violation](super::violation),
/// which ends the process. Answers how many calls are allowed.
pub fn allow_node(uses: &[Use]) -> io::Result<usize> {
    let mut allowed = node_rules().map_err(other)?;
    if uses.contains(&Use::Maps) {
        let commands = MAP_COMMANDS.into_iter().map(|command| one_of(0, command));
        allowed.insert(libc::SYS_bpf, commands.collect::<Result<_, _>>().map_err(other)?);
    }
    let tables = [calls::NODE, calls::NODE_SELDOM];
    let tables = tables.into_iter().chain(uses.iter().map(|used| used.calls()));
    allowed.extend(tables.flatten().map(|&(_, number)| (number, Vec::new())));
    let count = allowed.len();
    // Of two filters the stricter answer counts: what is hidden must be no violation.
    let hidden: Vec<_> = calls::unheard_of().chain([libc::SYS_clone3]).collect();
    allowed.extend(hidden.iter().map(|&number| (number, Vec::new())));
    let strict = program(allowed, SeccompAction::Trap, SeccompAction::Allow)?;
    hide(&hidden)?;
    apply(&strict)?;
    Ok(count)
}

/// Refuses (`EPERM`) what no program that a node starts has any business with; answers how many
/// calls that are.
///
/// What the node itself goes on to use it leaves to them as well, for they share the filter. Of
/// [`Use::Maps`] they can make nothing: those commands are about a map of which the process has a
/// descriptor, the descriptors of maps are closed when a program is executed (`bpf_map_new_fd` in
/// `kernel/bpf/syscall.c`), and what makes another one is refused.
pub fn deny_dangerous(uses: &[Use]) -> io::Result<usize> {
    let mut denied: Calls = calls::NOBODY.iter().map(|&(_, number)| (number, Vec::new())).collect();
    denied.insert(libc::SYS_clone, namespace_rules().map_err(other)?);
    if uses.contains(&Use::Maps) {
        denied.insert(libc::SYS_bpf, vec![other_than_maps().map_err(other)?]);
    }
    let count = denied.len();
    let denied =
        program(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM.cast_unsigned()))?;
    hide(&[libc::SYS_clone3])?;
    apply(&denied)?;
    Ok(count)
}

/// Has calls answered as if the kernel were too old to have them (`ENOSYS`): the C library then
/// does without. So with clone3(2), whose flags are in memory where no filter sees them; clone(2)
/// has them in a register.
fn hide(numbers: &[c_long]) -> io::Result<()> {
    let hidden = numbers.iter().map(|&number| (number, Vec::new())).collect();
    let absent = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    apply(&program(hidden, SeccompAction::Allow, absent)?)
}

/// What a node may ask for only so.
fn node_rules() -> Result<Calls, BackendError> {
    let is = |argument, value: i32| equals(argument, value.cast_unsigned().into());
    let socket = |family| SeccompRule::new(vec![is(0, family)?]);
    let routes = vec![is(0, libc::AF_NETLINK)?, is(2, libc::NETLINK_ROUTE)?];
    let families = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(socket);
    let mut sockets = families.into_iter().collect::<Result<Vec<_>, BackendError>>()?;
    // How getaddrinfo(3) asks for our addresses.
    sockets.push(SeccompRule::new(routes)?);
    let requests = [libc::FIONBIO, libc::FIONREAD, libc::TCGETS, libc::SIOCGIFINDEX];
    let requests = requests.map(|request| one_of(1, request));
    let settings = SETTINGS.map(|what| one_of(0, what.cast_unsigned().into()));
    let read_only = SeccompCondition::new(2, Length::Qword, Is::Eq, 0)?;
    let a_thread =
        SeccompCondition::new(0, Length::Qword, Is::MaskedEq(NAMESPACES | THREAD), THREAD)?;
    Ok(BTreeMap::from([
        (libc::SYS_socket, sockets),
        (libc::SYS_socketpair, vec![socket(libc::AF_UNIX)?]),
        (libc::SYS_ioctl, requests.into_iter().collect::<Result<_, _>>()?),
        (libc::SYS_prctl, settings.into_iter().collect::<Result<_, _>>()?),
        // A limit may be asked for, not set.
        (libc::SYS_prlimit64, vec![SeccompRule::new(vec![read_only])?]),
        // A thread may be started, not a process.
        (libc::SYS_clone, vec![SeccompRule::new(vec![a_thread])?]),
    ]))
}

/// One for each kind of namespace that clone(2) makes.
fn namespace_rules() -> Result<Vec<SeccompRule>, BackendError> {
    let kinds = (0..u64::BITS).map(|bit| 1 << bit).filter(|bit| NAMESPACES & bit != 0);
    let makes = |kind| {
        let asked = SeccompCondition::new(0, Length::Qword, Is::MaskedEq(kind), kind)?;
        SeccompRule::new(vec![asked])
    };
    kinds.map(makes).collect()
}

/// Any other command of bpf(2) than those for maps.
fn other_than_maps() -> Result<SeccompRule, BackendError> {
    let is_not = |command| SeccompCondition::new(0, Length::Dword, Is::Ne, command);
    SeccompRule::new(MAP_COMMANDS.map(is_not).into_iter().collect::<Result<_, _>>()?)
}

fn one_of(argument: u8, value: u64) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(vec![equals(argument, value)?])
}

fn equals(argument: u8, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, Length::Dword, Is::Eq, value)
}

/// A call of another machine's kind (32 bits on 64) ends the process at once.
fn program(
    calls: Calls,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> io::Result<BpfProgram> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(other)?;
    let filter = SeccompFilter::new(calls, otherwise, matched, machine).map_err(other)?;
    filter.try_into().map_err(other)
}

fn apply(program: &BpfProgram) -> io::Result<()> {
    apply_filter_all_threads(program).map_err(|error| match error {
        seccompiler::Error::Prctl(error) | seccompiler::Error::Seccomp(error) => error,
        error => io::Error::other(error),
    })
}

fn other(error: BackendError) -> io::Error {
    io::Error::other(error)
}
