//! Upstreams as the file writes them: URLs of the schemes there are.
//!
//! Owns the syntax of each scheme, and that a password is only ever given to who connects: it is
//! neither in a label, nor in an error, nor in `Debug`. Never connects, opens or runs anything.
//! Driven by `check`.

mod network;

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

use super::address::HostPort;
use super::excerpt::excerpt;
use super::mask::{self, mask_passwords};
use super::resource::WebAddress;
use super::web::{UrlError, check_text};
use crate::limits::UNIX_PATH_BYTES_MAX;

pub use network::Datagrams;

/// What must be escaped in one argument of a command's URL.
const ARGUMENT: &AsciiSet = &CONTROLS.add(b' ').add(b'+').add(b'%').add(b'#');

const UDP_FORM: &str = "udp://host:port or udp://source@group:port";
const RTP_FORM: &str = "rtp://host:port or rtp://source@group:port";

/// One upstream of a stream. `Debug` shows its label.
#[derive(Clone, PartialEq, Eq)]
pub struct Remote {
    kind: RemoteKind,
    label: String,
}

/// Where the bytes of an upstream come from. `Debug` masks passwords.
#[derive(Clone, PartialEq, Eq)]
pub enum RemoteKind {
    /// A GET. The scheme is `http` or `https`, there is a host, no fragment, and user and password,
    /// if any, are inside, percent-encoded.
    Http(Url),
    /// Raw TCP.
    Tcp(HostPort),
    /// UDP datagrams of packets.
    Udp(Datagrams),
    /// UDP datagrams of packets, each behind an RTP header.
    Rtp(Datagrams),
    /// A stream socket at an absolute path.
    Unix(PathBuf),
    /// A datagram socket at an absolute path.
    UnixDatagram(PathBuf),
    /// A seqpacket socket at an absolute path.
    UnixPacket(PathBuf),
    /// A file or FIFO at an absolute path.
    File(PathBuf),
    /// What a command writes to its standard output.
    Command {
        /// An absolute path, or a name to be looked for in `PATH`.
        program: PathBuf,
        /// Its arguments, without the program's name.
        arguments: Vec<String>,
    },
    /// The sample inside the program.
    Sample,
}

impl Remote {
    /// The sample inside the program, which no file can name.
    pub fn sample() -> Self {
        Self { kind: RemoteKind::Sample, label: "sample".to_owned() }
    }

    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, RemoteError> {
        check_text(text)?;
        let (scheme, rest) = split_scheme(text).ok_or(RemoteError::NoScheme)?;
        let scheme_lower = scheme.to_ascii_lowercase();
        let plain = |kind| Self { kind, label: text.to_owned() };
        match scheme_lower.as_str() {
            "http" | "https" => {
                let WebAddress { url, label } = WebAddress::parse(text)?;
                Ok(Self { kind: RemoteKind::Http(url), label })
            }
            "tcp" => Ok(plain(RemoteKind::Tcp(network::tcp(rest)?))),
            "udp" => Ok(plain(RemoteKind::Udp(network::datagrams("udp", UDP_FORM, rest)?))),
            "rtp" => Ok(plain(RemoteKind::Rtp(network::datagrams("rtp", RTP_FORM, rest)?))),
            "unix" => Ok(plain(RemoteKind::Unix(socket_path("unix", "unix:///path", rest)?))),
            "unixgram" => {
                let path = socket_path("unixgram", "unixgram:///path", rest)?;
                Ok(plain(RemoteKind::UnixDatagram(path)))
            }
            "unixpacket" => {
                let path = socket_path("unixpacket", "unixpacket:///path", rest)?;
                Ok(plain(RemoteKind::UnixPacket(path)))
            }
            "file" => Ok(plain(RemoteKind::File(path("file", "file:///path", rest)?))),
            "fork" => command(text, rest),
            _ => Err(RemoteError::UnknownScheme(excerpt(scheme))),
        }
    }

    /// Where the bytes come from.
    pub fn kind(&self) -> &RemoteKind {
        &self.kind
    }

    /// The URL as written, a password replaced by `***`: for logs and metric labels.
    pub fn label(&self) -> &str {
        &self.label
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remote").field(&self.label).finish()
    }
}

impl fmt::Debug for RemoteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(url) => {
                f.debug_tuple("Http").field(&mask::label(url, url.as_str())).finish()
            }
            Self::Tcp(address) => f.debug_tuple("Tcp").field(address).finish(),
            Self::Udp(datagrams) => f.debug_tuple("Udp").field(datagrams).finish(),
            Self::Rtp(datagrams) => f.debug_tuple("Rtp").field(datagrams).finish(),
            Self::Unix(path) => f.debug_tuple("Unix").field(path).finish(),
            Self::UnixDatagram(path) => f.debug_tuple("UnixDatagram").field(path).finish(),
            Self::UnixPacket(path) => f.debug_tuple("UnixPacket").field(path).finish(),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Command { program, arguments } => {
                let masked: Vec<String> =
                    arguments.iter().map(|text| mask_passwords(text)).collect();
                let mut shown = f.debug_struct("Command");
                shown.field("program", program).field("arguments", &masked).finish()
            }
            Self::Sample => f.write_str("Sample"),
        }
    }
}

/// Why a URL is refused. Nothing here repeats more of it than its scheme.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// What is wrong with any URL, or with one of `http` or `https`.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// No scheme at all.
    #[error(
        "is not a URL, expected http://, https://, tcp://, udp://, rtp://, unix://, unixgram://, \
        unixpacket://, file:// or fork://"
    )]
    NoScheme,
    /// A scheme nobody knows.
    #[error(
        "unknown scheme `{0}`, expected http, https, tcp, udp, rtp, unix, unixgram, unixpacket, \
        file or fork"
    )]
    UnknownScheme(String),
    /// Not of the scheme's form.
    #[error("{scheme} is written {form}")]
    Form {
        /// The scheme.
        scheme: &'static str,
        /// Its form, such as `tcp://host:port`.
        form: &'static str,
    },
    /// Nothing in front of the port.
    #[error("{0} needs a host")]
    NoHost(&'static str),
    /// No port.
    #[error("{0} needs a port")]
    NoPort(&'static str),
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets, as in {0}://[::1]:8000")]
    NoBrackets(&'static str),
    /// Neither a host name nor an IP address.
    #[error("its host is neither a name nor an IP address")]
    Host,
    /// A user or password where the protocol has none.
    #[error("{0} takes neither user nor password")]
    Credentials(&'static str),
    /// A password where a user may stand: the source of a multicast group.
    #[error("{0} takes no password")]
    Password(&'static str),
    /// A question mark, as ffmpeg's options of a URL have it.
    #[error("{0} takes no options behind a ?, use `mru`, `clientinterface` and `rejoin`")]
    Options(&'static str),
    /// Something else than a sender's address in front of the `@`.
    #[error(
        "what is in front of the @ must be the IP address of a sender, \
        as in {0}://192.0.2.1@232.0.0.1:5000"
    )]
    Source(&'static str),
    /// A source without a group.
    #[error(
        "what is behind a source's @ must be the IP address of a multicast group, \
        as in {0}://192.0.2.1@232.0.0.1:5000"
    )]
    Group(&'static str),
    /// Source and group of different families.
    #[error("source and group must be both IPv4 or both IPv6 addresses")]
    Families,
    /// A question mark or number sign where it would cut a name off.
    #[error("has a ? or # in a name, write %3F or %23")]
    Query,
    /// A percent sign that escapes nothing.
    #[error("has a % without two hexadecimal digits behind it, write %25")]
    Escape,
    /// `%00`.
    #[error("has a NUL character (%00)")]
    Nul,
    /// An argument of a command is not UTF-8.
    #[error("has an argument that is not UTF-8")]
    NotUtf8,
    /// Longer than a socket's address can hold.
    #[error("a socket's path has at most {UNIX_PATH_BYTES_MAX} bytes")]
    SocketPath,
    /// A command that is neither a name nor an absolute path.
    #[error("a command is a name or an absolute path: fork://name?a+b, fork:///path?a+b")]
    Command,
}

/// Scheme (as written) and what is behind its colon (RFC 3986, 3.1).
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let goes_on = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    (begins && goes_on).then_some((scheme, rest))
}

/// An absolute path: `/path`, `///path` or `//localhost/path` behind the colon (RFC 8089).
fn path(scheme: &'static str, form: &'static str, rest: &str) -> Result<PathBuf, RemoteError> {
    let encoded = match rest.strip_prefix("//") {
        Some(behind) => behind.strip_prefix("localhost").unwrap_or(behind),
        None => rest,
    };
    if !encoded.starts_with('/') {
        return Err(RemoteError::Form { scheme, form });
    }
    if encoded.contains(['?', '#']) {
        return Err(RemoteError::Query);
    }
    Ok(PathBuf::from(OsString::from_vec(decode(encoded)?)))
}

fn socket_path(
    scheme: &'static str,
    form: &'static str,
    rest: &str,
) -> Result<PathBuf, RemoteError> {
    let path = path(scheme, form, rest)?;
    let fits = path.as_os_str().len() <= UNIX_PATH_BYTES_MAX;
    if fits { Ok(path) } else { Err(RemoteError::SocketPath) }
}

/// By hand and not by `Url`: a command is no host, its case and characters are kept.
fn command(text: &str, rest: &str) -> Result<Remote, RemoteError> {
    let form = RemoteError::Form { scheme: "fork", form: "fork://command?argument+argument" };
    let behind = rest.strip_prefix("//").ok_or(form)?;
    if behind.contains('#') {
        return Err(RemoteError::Query);
    }
    let (name, query) = behind.split_once('?').unwrap_or((behind, ""));
    let program = program(name)?;
    let encoded = query.split('+').filter(|_| !query.is_empty());
    let arguments = encoded
        .map(|argument| String::from_utf8(decode(argument)?).map_err(|_| RemoteError::NotUtf8));
    let arguments = arguments.collect::<Result<Vec<String>, _>>()?;
    let masked: Vec<String> = arguments.iter().map(|argument| mask_passwords(argument)).collect();
    let label = if masked == arguments {
        text.to_owned()
    } else {
        let escape = |text: &String| utf8_percent_encode(text, ARGUMENT).to_string();
        format!("fork://{name}?{}", masked.iter().map(escape).collect::<Vec<_>>().join("+"))
    };
    Ok(Remote { kind: RemoteKind::Command { program, arguments }, label })
}

/// A name to be looked for in `PATH`, or an absolute path; nothing relative, since the working
/// directory of a daemon is an accident.
fn program(name: &str) -> Result<PathBuf, RemoteError> {
    let mut program = decode(name)?;
    let absolute = program.starts_with(b"/");
    // `fork://command/?a` has always been the same as `fork://command?a`.
    if !absolute && program.ends_with(b"/") {
        program.pop();
    }
    let directory = program.is_empty() || program.ends_with(b"/");
    if directory || (!absolute && program.contains(&b'/')) {
        return Err(RemoteError::Command);
    }
    if !absolute && program.contains(&b'@') {
        return Err(RemoteError::Credentials("fork"));
    }
    Ok(PathBuf::from(OsString::from_vec(program)))
}

/// Strict percent decoding: an escape that is none is more likely a name with a `%` in it.
fn decode(text: &str) -> Result<Vec<u8>, RemoteError> {
    let hexadecimal = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
    let mut escapes = text.match_indices('%');
    if !escapes.all(|(at, _)| hexadecimal(at + 1) && hexadecimal(at + 2)) {
        return Err(RemoteError::Escape);
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if bytes.contains(&0) { Err(RemoteError::Nul) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests;
