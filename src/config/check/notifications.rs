//! Whom to notify, of what, and who we are to them.
//!
//! Owns what a notification needs to be sent. Driven by `check`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::super::excerpt::excerpt;
use super::super::file::{Login, Notification, User, Users};
use super::super::problem::{ProblemKind, Problems};
use super::super::section::{Field, Items};
use super::super::{NotificationConfig, NotificationEvent, Secret, WebAddress};
use crate::limits::NOTIFICATIONS_MAX;

/// The notifications of the file. `never` gives the key by which an event is switched off.
pub(super) fn notifications(
    notifications: Field<Items<Notification>>,
    never: impl Fn(NotificationEvent) -> Option<&'static str>,
    users: &Users,
    problems: &mut Problems,
) -> Vec<NotificationConfig> {
    let Some((at, notifications)) = notifications.given() else {
        return Vec::new();
    };
    let count = notifications.good.len();
    if count > NOTIFICATIONS_MAX {
        problems.error(at, ProblemKind::TooMany { count, max: NOTIFICATIONS_MAX });
    }
    let mut good = Vec::with_capacity(count);
    for Notification { event, url, login } in notifications.good {
        let authorization = authorization(login, users, problems);
        let event = event.given().map(|(at, event)| {
            if let Some(key) = never(event) {
                problems.warn(at, ProblemKind::NeverHappens(key));
            }
            event
        });
        let target = url.given().and_then(|(at, url)| {
            let refused = |error| problems.error(at, ProblemKind::Url(error));
            WebAddress::parse(&url).map_err(refused).ok()
        });
        let both = event.zip(target);
        good.extend(both.map(|(event, target)| NotificationConfig {
            event,
            target,
            authorization,
        }));
    }
    good
}

/// The value of the `Authorization` header, made of the first user.
///
/// What is in the way is a warning, since the original starts all the same; the notification is
/// then sent without the header, which is not what was meant: the check refuses it.
fn authorization(login: Field<Login>, users: &Users, problems: &mut Problems) -> Option<Secret> {
    let (at, login) = login.given()?;
    let (kind_at, kind) = match login.kind {
        Field::Given(at, kind) if !kind.is_empty() => (at, kind),
        Field::Refused => return None,
        Field::Given(..) | Field::Absent => {
            if !login.names.is_empty() {
                problems.warn(at, ProblemKind::NoEffect("without a `type`"));
            }
            return None;
        }
    };
    let basic = match kind.as_str() {
        "basic" => true,
        "bearer" => false,
        _ => {
            let expected = "basic, bearer".to_owned();
            let kind = ProblemKind::UnknownWord { found: excerpt(&kind), expected };
            problems.warn(kind_at, ProblemKind::SentWithout(Box::new(kind)));
            return None;
        }
    };
    let Some((at, name)) = login.names.into_iter().next() else {
        if login.complete {
            let kind = ProblemKind::SentWithout(Box::new(ProblemKind::Missing));
            problems.warn(at.key("user"), kind);
        }
        return None;
    };
    let refused = match users.find(&name) {
        User::Known(_) if basic && name.contains(':') => ProblemKind::ColonInUser,
        User::Known(password) if basic => {
            let both = BASE64_STANDARD.encode(format!("{name}:{}", password.expose()));
            return Some(Secret::new(format!("Basic {both}")));
        }
        User::Known(password) if fits_header(password) => {
            return Some(Secret::new(format!("Bearer {}", password.expose())));
        }
        User::Known(_) => ProblemKind::PasswordInHeader,
        User::Unknown => ProblemKind::NoSuchUser,
        User::Refused => return None,
    };
    problems.warn(at, ProblemKind::SentWithout(Box::new(refused)));
    None
}

/// Whether a password can be sent as it is.
fn fits_header(password: &Secret) -> bool {
    password.expose().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}
