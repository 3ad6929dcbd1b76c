//! Who may have a resource.
//!
//! Owns what the types of `authentication` mean. Never admits anybody by mistake: what is not
//! understood denies. Driven by `resources`.

use super::super::excerpt::excerpt;
use super::super::file::{Login, User, Users};
use super::super::problem::{At, ProblemKind, Problems};
use super::super::section::Field;
use super::super::{Authentication, Secret};
use crate::limits::REALM_BYTES_MAX;

/// What is asked of whoever does not log in, unless the file says it.
const REALM: &str = "restreamer";

/// Who may have a resource.
pub(super) fn authentication(
    login: Field<Login>,
    token_query: Field<bool>,
    users: &Users,
    problems: &mut Problems,
) -> Authentication {
    let token = token_query.given().filter(|&(_, token)| token).map(|(at, _)| at);
    let authentication = match login {
        Field::Absent => Authentication::Open,
        Field::Refused => Authentication::Deny,
        Field::Given(at, login) => admitted(at, login, token.is_some(), users, problems),
    };
    if let (Some(at), Authentication::Open) = (token, &authentication) {
        let why = "without `authentication` of type basic or bearer";
        problems.warn(at, ProblemKind::NoEffect(why));
    }
    authentication
}

fn admitted(
    at: At,
    login: Login,
    token_query: bool,
    users: &Users,
    problems: &mut Problems,
) -> Authentication {
    let realm = realm(login.realm, problems);
    let (kind_at, kind) = match login.kind {
        Field::Given(at, kind) if !kind.is_empty() => (at, kind),
        Field::Refused => return Authentication::Deny,
        Field::Given(..) | Field::Absent => {
            if !login.names.is_empty() {
                problems.warn(at, ProblemKind::UsersWithoutType);
            }
            return Authentication::Open;
        }
    };
    let basic = match kind.as_str() {
        "basic" => true,
        "bearer" => false,
        _ => {
            problems.warn(kind_at, ProblemKind::DeniesAll { found: excerpt(&kind) });
            return Authentication::Deny;
        }
    };
    if login.names.is_empty() && login.complete {
        problems.warn(at, ProblemKind::NoUsers);
    }
    let users = known(login.names, basic, users, problems);
    if basic {
        Authentication::Basic { realm, users, token_query }
    } else {
        let tokens = users.into_iter().map(|(_, password)| password).collect();
        Authentication::Bearer { tokens, token_query }
    }
}

/// Goes between quotation marks into a header; what these do not allow is escaped there.
fn realm(realm: Field<String>, problems: &mut Problems) -> String {
    let Some((at, realm)) = realm.given().filter(|(_, realm)| !realm.is_empty()) else {
        return REALM.to_owned();
    };
    if realm.len() > REALM_BYTES_MAX || realm.contains(char::is_control) {
        problems.error(at, ProblemKind::Realm);
    }
    realm
}

/// Those who can log in, with their passwords.
fn known(
    names: Vec<(At, String)>,
    basic: bool,
    users: &Users,
    problems: &mut Problems,
) -> Vec<(String, Secret)> {
    let mut known = Vec::with_capacity(names.len());
    for (at, name) in names {
        match users.find(&name) {
            // The first colon ends the name (RFC 7617, 2).
            User::Known(_) if basic && name.contains(':') => {
                problems.warn(at, ProblemKind::ColonInUser);
            }
            User::Known(password) => known.push((name, password.clone())),
            User::Unknown => problems.warn(at, ProblemKind::NoSuchUser),
            User::Refused => {}
        }
    }
    known
}
