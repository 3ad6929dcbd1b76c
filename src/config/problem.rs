//! What is wrong with a file, and where.
//!
//! Owns the words of every complaint and its place. Never carries a value that could be a
//! password: a problem names keys, types and numbers. Driven by every other part of `config`.

mod collected;

use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{AddressError, Listen};
use super::excerpt::excerpt;
use super::remote::RemoteError;
use super::web::UrlError;
use crate::limits::{
    CONGESTION_BYTES_MAX, INTERFACE_BYTES_MAX, PROBLEM_EXCERPT_CHARACTERS_MAX, REALM_BYTES_MAX,
    TIMEOUT_MAX,
};

pub(super) use collected::Problems;

/// One thing that is wrong with a file.
///
/// `Display` is `line 12: resources[2].remote: tcp needs a port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line (from 1), if one is to blame.
    pub line: Option<usize>,
    /// The key's path, such as `resources[2].remote`; empty for the whole file.
    pub path: String,
    /// What is wrong.
    pub kind: ProblemKind,
}

impl Problem {
    /// With the file's name in front: `restreamer.json:12: resources[2].remote: tcp needs a port`.
    pub fn display<'a>(&'a self, file_name: &'a str) -> impl fmt::Display + 'a {
        fmt::from_fn(move |f| {
            match self.line {
                Some(line) => write!(f, "{file_name}:{line}: ")?,
                None => write!(f, "{file_name}: ")?,
            }
            self.write_rest(f)
        })
    }

    /// Whether `--check` refuses a file with this warning, which is accepted at start: what is
    /// served is not all that was meant.
    pub fn is_refused_by_check(&self) -> bool {
        self.kind.is_refused_by_check()
    }

    fn write_rest(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}", self.kind)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        self.write_rest(f)
    }
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemKind {
    /// The text is not JSON.
    #[error("not valid JSON: {message} (column {column})")]
    Syntax {
        /// What the JSON parser says; never quotes the text.
        message: String,
        /// The byte in the line, from 1.
        column: usize,
    },
    /// Arrays and objects are nested beyond `CONFIG_DEPTH_MAX`.
    #[error("nested deeper than {0} levels")]
    TooDeep(usize),
    /// A value of another type.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// Such as `a string`.
        expected: &'static str,
        /// Such as `a number`.
        found: &'static str,
    },
    /// A number with a fraction or an exponent where only a whole one makes sense.
    #[error("expected a whole number, found {found}")]
    NotWhole {
        /// The number as written.
        found: String,
    },
    /// A whole number that is too small or too large.
    #[error("{found} is not within {min} and {max}")]
    OutOfRange {
        /// The number as written.
        found: String,
        /// The smallest allowed.
        min: usize,
        /// The largest allowed.
        max: usize,
    },
    /// A whole number that is too small and not 0, which means the default.
    #[error("{found} is neither 0 nor at least {min}")]
    TooSmall {
        /// The number.
        found: usize,
        /// The smallest allowed.
        min: usize,
    },
    /// Seconds that are negative or too few to count.
    #[error("{found} seconds is neither 0 nor at least {min}")]
    TooFewSeconds {
        /// The number as written.
        found: String,
        /// The smallest allowed, such as `0.001`.
        min: String,
    },
    /// So many seconds that they are probably meant as never.
    #[error("is more than {0} seconds and counts as that many", TIMEOUT_MAX.as_secs())]
    LongSeconds,
    /// A key the format does not have.
    #[error("unknown key{}", did_you_mean(*.nearest))]
    UnknownKey {
        /// The key that was probably meant.
        nearest: Option<&'static str>,
    },
    /// A key that its object already has.
    #[error("given twice: the one on line {first} is ignored")]
    DuplicateKey {
        /// The line of the one before.
        first: usize,
    },
    /// A key that must be there.
    #[error("is missing")]
    Missing,
    /// A word that is none of those known.
    #[error("`{found}` is not one of {expected}")]
    UnknownWord {
        /// The word as written.
        found: String,
        /// The words known, such as `stream, static, api`.
        expected: String,
    },
    /// `profile` is on.
    #[error("this version has no profiler, use perf")]
    NoProfiler,
    /// A listen address that cannot be understood.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Both cannot be bound at once.
    #[error("`listen` and `side` ({side}) are the same address")]
    SideIsListen {
        /// The side port's address, as given.
        side: Listen,
    },
    /// The side port's default address is taken by the file itself.
    #[error("takes the default of `side` ({side}): metrics, health and status are served nowhere")]
    SideDropped {
        /// The default.
        side: Listen,
    },
    /// An upstream's URL that cannot be understood or used.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The address of something fetched whole that cannot be understood.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A static resource from where none can come.
    #[error("is neither a file:, an http:// nor an https:// URL")]
    StaticScheme,
    /// What no interface can be called.
    #[error(
        "is not an interface's name, which has at most {INTERFACE_BYTES_MAX} bytes, no / and no \
        white space"
    )]
    Interface,
    /// What no congestion control can be called.
    #[error(
        "is not a congestion control's name, which has at most {CONGESTION_BYTES_MAX} letters, \
        digits, _ and -"
    )]
    Congestion,
    /// A path that a request could never ask for.
    #[error("must begin with / and have no control characters")]
    ServeMalformed,
    /// More bytes than there may be.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// Two resources on one path.
    #[error("the same path as {first} on line {line}")]
    DuplicateServe {
        /// The one before, such as `resources[0].serve`.
        first: String,
        /// Its line.
        line: usize,
    },
    /// A stream that comes from nowhere.
    #[error("a stream needs at least one `remote`")]
    NoRemote,
    /// An API resource that is about a stream, and says not about which.
    #[error("names no stream, expected the path of one, as its `serve` has it")]
    NoStreamNamed,
    /// An API resource about a stream that does not exist.
    #[error("no stream is served at `{0}`")]
    NoSuchStream(String),
    /// A file that serves no stream.
    #[error("no stream, at least one resource of type `stream` is needed")]
    NoStream,
    /// The bounds of a period that none is within.
    #[error("`min` ({} ms) is above `max` ({} ms)", .min.as_millis(), .max.as_millis())]
    MinAboveMax {
        /// `min`, or its default.
        min: Duration,
        /// `max`, or its default.
        max: Duration,
    },
    /// The soft limit can never be reached.
    #[error("{full} is above `maxconnections` ({max}) and is never reached")]
    FullAboveMax {
        /// `fullconnections`.
        full: usize,
        /// `maxconnections`.
        max: usize,
    },
    /// A type of `authentication` that nobody knows.
    #[error("`{found}` is not one of basic, bearer: nobody is admitted")]
    DeniesAll {
        /// The type as written.
        found: String,
    },
    /// An `authentication` that asks for nothing.
    #[error("has users but no `type`: everybody is admitted")]
    UsersWithoutType,
    /// An `authentication` that nobody can pass.
    #[error("has neither `user` nor `users`: nobody is admitted")]
    NoUsers,
    /// A user that is not listed.
    #[error("no such user in `userlist`")]
    NoSuchUser,
    /// A name that Basic authorization cannot say.
    #[error("a user whose name has a colon cannot log in by basic")]
    ColonInUser,
    /// A password that everybody knows.
    #[error("is empty: by basic whoever names the user is admitted, by bearer nobody")]
    EmptyPassword,
    /// A user without a password.
    #[error(
        "is missing and counts as empty: by basic whoever names the user is admitted, by bearer \
        nobody"
    )]
    NoPassword,
    /// A password that cannot be sent as it is.
    #[error("the user's password has characters that a header cannot have")]
    PasswordInHeader,
    /// What keeps a notification from being sent as it was meant.
    #[error("{0}: the notification is sent without authorization")]
    SentWithout(Box<ProblemKind>),
    /// What cannot stand in a header's quotation marks.
    #[error("a realm has at most {REALM_BYTES_MAX} bytes and no control characters")]
    Realm,
    /// What says nothing where it stands.
    #[error("has no effect {0}")]
    NoEffect(&'static str),
    /// An event that another key has switched off.
    #[error("never happens, since `{0}` is 0")]
    NeverHappens(&'static str),
    /// Neither an IP address nor a network.
    #[error("is neither an IP address nor a network, as in 10.0.0.0/8")]
    Network,
    /// A network that is not written as its own first address.
    #[error("has bits behind its prefix and counts as {0}")]
    BitsBehindPrefix(IpNet),
    /// A network that cannot be both denied and allowed.
    #[error("the same network as {first} on line {line}, it cannot be both denied and allowed")]
    DeniedAndAllowed {
        /// The one before, such as `door.deny[0]`.
        first: String,
        /// Its line.
        line: usize,
    },
    /// A network that its list already has: the one before, such as `door.deny[0]`, and its line.
    #[error("the same network as {0} on line {1}")]
    DuplicateNetwork(String, usize),
    /// A number, with a fraction or not, that is too small or too large.
    #[error("{found} is not within {min} and {max}")]
    NotWithin {
        /// The number as written.
        found: String,
        /// The smallest allowed.
        min: String,
        /// The largest allowed.
        max: String,
    },
    /// A list that is too long.
    #[error("has {count} entries, at most {max} are allowed")]
    TooMany {
        /// How many it has.
        count: usize,
        /// How many it may have.
        max: usize,
    },
    /// Stands for the problems beyond `PROBLEMS_MAX`.
    #[error("… and {count} more")]
    More {
        /// How many are not shown.
        count: usize,
        /// How many of them `--check` refuses.
        refused_by_check: usize,
    },
}

impl ProblemKind {
    /// Whether `--check` refuses a file with this warning, or with one of those this stands for.
    pub fn is_refused_by_check(&self) -> bool {
        matches!(
            self,
            Self::UnknownKey { .. }
                | Self::NoStreamNamed
                | Self::NoSuchStream(_)
                | Self::SentWithout(_)
                | Self::More { refused_by_check: 1.., .. }
        )
    }
}

fn did_you_mean(nearest: Option<&'static str>) -> String {
    nearest.map(|key| format!(", did you mean `{key}`?")).unwrap_or_default()
}

/// A place in the file: a line and a key's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At {
    line: Option<usize>,
    path: String,
}

impl At {
    /// The whole file, to which no line belongs.
    pub(super) fn whole_file() -> Self {
        Self { line: None, path: String::new() }
    }

    /// The same path, at `line`.
    pub(super) fn line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// A key of this object, on the object's line until told otherwise.
    ///
    /// A key that would make the path ambiguous or break the line is quoted and shortened.
    pub(super) fn key(&self, key: &str) -> Self {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        let short = key.len() <= PROBLEM_EXCERPT_CHARACTERS_MAX;
        let dot = if self.path.is_empty() { "" } else { "." };
        let path = if short && key.chars().all(plain) {
            format!("{}{dot}{key}", self.path)
        } else {
            format!("{}{dot}\"{}\"", self.path, excerpt(key))
        };
        Self { line: self.line, path }
    }

    /// An element of this array.
    pub(super) fn index(&self, index: usize) -> Self {
        Self { line: self.line, path: format!("{}[{index}]", self.path) }
    }

    /// The complaint about a later place that has the same path to serve as this one.
    pub(super) fn already_served(&self) -> ProblemKind {
        ProblemKind::DuplicateServe { first: self.path.clone(), line: self.line.unwrap_or(0) }
    }

    /// The complaint about a later place that names the same network: in the same list, or in the
    /// other one, where it cannot be.
    pub(super) fn already_listed(&self, same_list: bool) -> ProblemKind {
        let (first, line) = (self.path.clone(), self.line.unwrap_or(0));
        if same_list {
            ProblemKind::DuplicateNetwork(first, line)
        } else {
            ProblemKind::DeniedAndAllowed { first, line }
        }
    }

    /// This place's problem.
    pub(super) fn problem(self, kind: impl Into<ProblemKind>) -> Problem {
        Problem { line: self.line, path: self.path, kind: kind.into() }
    }
}
