//! Who may connect at all: lists that do not contradict each other.
//!
//! Owns this judgement. Driven by `check`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use ipnet::IpNet;

use super::super::file::{self, Login, Users};
use super::super::network::{canonical, parse_network};
use super::super::problem::{At, ProblemKind, Problems};
use super::super::section::{Field, Items};
use super::super::{Authentication, Door, DoorRate};
use super::users;
use crate::limits::{DOOR_BURST_MAX, DOOR_RULES_MAX};

/// The door of the file.
pub(super) fn door(door: file::Door, users: &Users, problems: &mut Problems) -> Door {
    let default = Door::default();
    let mut lists = Lists::default();
    let deny = lists.read(door.deny, Listed::Denied, problems);
    let allow = lists.read(door.allow, Listed::Allowed, problems);
    // What is refused stands for nothing: there is no `Config` then.
    let bits = |given: Field<usize>, default: u8| {
        given.given().and_then(|(_, bits)| bits.try_into().ok()).unwrap_or(default)
    };
    Door {
        deny,
        allow,
        rate: door.rate.and_then(rate),
        source_v4: bits(door.source_v4, default.source_v4),
        source_v6: bits(door.source_v6, default.source_v6),
        required: door.required.or(default.required),
        steer: door.steer.or(default.steer),
        state: super::path(door.state),
        authentication: authentication(door.login, users, problems),
    }
}

/// The rate. As many come at once as in a second, unless the file says it.
fn rate(rate: file::Rate) -> Option<DoorRate> {
    let (_, per_second) = rate.per_second.given()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and bounded by DOOR_PER_SECOND_MAX"
    )]
    let a_second = (per_second.ceil() as usize).clamp(1, DOOR_BURST_MAX);
    let burst = rate.burst.or(a_second);
    Some(DoorRate { per_second, burst: u32::try_from(burst).unwrap_or(u32::MAX) })
}

/// Who may change the lists. Without a `type` it is who is on this host, users or not.
fn authentication(login: Field<Login>, users: &Users, problems: &mut Problems) -> Authentication {
    match login {
        Field::Given(at, login) if login.has_no_type() => {
            if !login.names.is_empty() {
                problems.warn(at, ProblemKind::NoEffect("without a `type`"));
            }
            Authentication::Open
        }
        login => users::authentication(login, Field::Absent, users, problems),
    }
}

/// One of the two lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Denied,
    Allowed,
}

/// What both lists have, and where each network is for the first time.
#[derive(Default)]
struct Lists {
    first: HashMap<IpNet, (At, Listed)>,
    count: usize,
}

impl Lists {
    /// The networks of a list, each once.
    fn read(
        &mut self,
        entries: Field<Items<(At, String)>>,
        listed: Listed,
        problems: &mut Problems,
    ) -> Vec<IpNet> {
        let Some((at, entries)) = entries.given() else {
            return Vec::new();
        };
        self.count += entries.good.len();
        if self.count > DOOR_RULES_MAX {
            let kind = ProblemKind::TooMany { count: self.count, max: DOOR_RULES_MAX };
            problems.error(at, kind);
            return Vec::new();
        }
        let mut networks = Vec::with_capacity(entries.good.len());
        for (at, text) in entries.good {
            let Some(written) = parse_network(&text) else {
                problems.error(at, ProblemKind::Network);
                continue;
            };
            let network = canonical(written);
            if written != written.trunc() {
                problems.warn(at.clone(), ProblemKind::BitsBehindPrefix(network));
            }
            match self.first.entry(network) {
                Entry::Vacant(free) => {
                    free.insert((at, listed));
                    networks.push(network);
                }
                Entry::Occupied(taken) => {
                    let (first, list) = taken.get();
                    let kind = first.already_listed(*list == listed);
                    if *list == listed {
                        problems.warn(at, kind);
                    } else {
                        problems.error(at, kind);
                    }
                }
            }
        }
        networks
    }
}
