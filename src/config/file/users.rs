//! Users, and where they are asked for.
//!
//! Owns the keys of `userlist` and of `authentication`. Never looks a user up. Driven by `file`. No
//! `Debug` here. The path of a key in `userlist` has to name its user; nowhere else is a name in a
//! problem: where a user is referred to, it may have been given with its password.

use std::collections::{HashMap, HashSet};

use super::super::Secret;
use super::super::problem::{At, ProblemKind, Problems};
use super::super::section::{Field, Section, wrong_type};
use super::super::tree::Value;
use crate::limits::{CREDENTIAL_BYTES_MAX, USERS_MAX};

const AUTHENTICATION_KEYS: &[&str] = &["type", "realm", "user", "users"];
const USER_KEYS: &[&str] = &["password"];

/// The users of the file.
pub(in crate::config) struct Users {
    /// By name; `None` after a problem with the password.
    passwords: HashMap<String, Option<Secret>>,
    /// Whether the list could be read at all.
    complete: bool,
}

/// What there is of a user.
pub(in crate::config) enum User<'a> {
    /// The password.
    Known(&'a Secret),
    /// Something that was refused.
    Refused,
    /// Nothing.
    Unknown,
}

impl Users {
    /// The user of this name.
    pub(in crate::config) fn find(&self, name: &str) -> User<'_> {
        match self.passwords.get(name) {
            Some(Some(password)) => User::Known(password),
            None if self.complete => User::Unknown,
            Some(None) | None => User::Refused,
        }
    }
}

/// One `authentication`.
pub(in crate::config) struct Login {
    /// Its `type`.
    pub(in crate::config) kind: Field<String>,
    pub(in crate::config) realm: Field<String>,
    /// `user`, then `users`, each once.
    pub(in crate::config) names: Vec<(At, String)>,
    /// Whether there was no name to refuse.
    pub(in crate::config) complete: bool,
}

impl Login {
    /// Whether nothing says how to log in.
    pub(in crate::config) fn has_no_type(&self) -> bool {
        match &self.kind {
            Field::Absent => true,
            Field::Given(_, kind) => kind.is_empty(),
            Field::Refused => false,
        }
    }
}

/// The `userlist`.
pub(super) fn users(file: &Section<'_>, problems: &mut Problems) -> Users {
    let mut users = Users { passwords: HashMap::new(), complete: true };
    let Some((at, node)) = file.node("userlist") else {
        return users;
    };
    let Value::Object(entries) = &node.value else {
        problems.error(at, wrong_type("an object", node));
        users.complete = false;
        return users;
    };
    let mut lines = HashMap::new();
    for entry in entries {
        if let Some(first) = lines.insert(&entry.key, entry.line) {
            let here = at.key(&entry.key).line(entry.line);
            problems.warn(here, ProblemKind::DuplicateKey { first });
        }
        if entry.key.len() > CREDENTIAL_BYTES_MAX {
            let here = at.key(&entry.key).line(entry.line);
            problems.error(here, ProblemKind::TooLong(CREDENTIAL_BYTES_MAX));
        }
        let user = Section::open(&entry.node, at.key(&entry.key), USER_KEYS, problems);
        let password = user.and_then(|user| password(&user, problems));
        users.passwords.insert(entry.key.clone(), password);
    }
    let count = users.passwords.len();
    if count > USERS_MAX {
        problems.error(at, ProblemKind::TooMany { count, max: USERS_MAX });
    }
    users
}

/// The password; without one, as in the original, the empty one.
fn password(user: &Section<'_>, problems: &mut Problems) -> Option<Secret> {
    let password = match user.text("password", problems) {
        Field::Given(at, password) => {
            if password.is_empty() {
                problems.warn(at, ProblemKind::EmptyPassword);
            } else if password.len() > CREDENTIAL_BYTES_MAX {
                problems.error(at, ProblemKind::TooLong(CREDENTIAL_BYTES_MAX));
                return None;
            }
            password
        }
        Field::Absent => {
            problems.warn(user.at.key("password"), ProblemKind::NoPassword);
            String::new()
        }
        Field::Refused => return None,
    };
    Some(Secret::new(password))
}

/// The `authentication` of a section.
pub(super) fn login(section: &Section<'_>, problems: &mut Problems) -> Field<Login> {
    let Some((at, node)) = section.node("authentication") else {
        return Field::Absent;
    };
    let Some(inner) = Section::open(node, at.clone(), AUTHENTICATION_KEYS, problems) else {
        return Field::Refused;
    };
    let (user, users) = (inner.text("user", problems), inner.texts("users", problems));
    let mut complete = !matches!(user, Field::Refused) && !matches!(users, Field::Refused);
    let mut names: Vec<_> = user.given().filter(|(_, name)| !name.is_empty()).into_iter().collect();
    if let Some((_, users)) = users.given() {
        complete &= users.complete;
        names.extend(users.good);
    }
    let mut seen = HashSet::new();
    names.retain(|(_, name)| seen.insert(name.clone()));
    let kind = inner.text("type", problems);
    let realm = inner.text("realm", problems);
    Field::Given(at, Login { kind, realm, names, complete })
}
