//! Why an upstream could not be reached, and why a connection ended.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustls::CertificateError;

use crate::config::Condition;
use crate::http::chunked::ChunkedError;
use crate::http::via::Via;
use crate::limits::{REDIRECTS_MAX, UPSTREAM_HEAD_BYTES_MAX};

/// Why an attempt failed. The text goes on from the upstream's address.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name has no address.
    #[error("cannot be reached: {host} cannot be resolved: {error}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        error: io::Error,
    },
    /// No connection.
    #[error("cannot be reached: {0}")]
    Connect(io::Error),
    /// `timeout` is over.
    #[error("gave no answer within the timeout")]
    TimedOut,
    /// No TLS.
    #[error("cannot be reached by TLS: {0}")]
    Tls(#[from] TlsError),
    /// The proxy that leads to it does not.
    #[error("cannot be reached by way of {proxy}: the proxy {error}")]
    Proxy {
        /// The proxy's address, its password masked.
        proxy: String,
        /// What it did.
        error: Box<DialError>,
    },
    /// A proxy that speaks where only the server may.
    #[error("sent something of its own where the server's TLS begins")]
    NotATunnel,
    /// The connection broke or ended before the response head was whole.
    #[error("broke off before its response head was whole: {0}")]
    Head(io::Error),
    /// The response is not HTTP.
    #[error("does not answer in HTTP: {0}")]
    NotHttp(httparse::Error),
    /// The response head is too long.
    #[error("answered with a head longer than {UPSTREAM_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// The answer is not the stream.
    #[error("answered {0}, expected 200")]
    Status(u16),
    /// What it sends has come from us.
    #[error("comes by way of this stream itself: Via: {0}")]
    Loop(Via),
    /// What it sends has come a longer way than any chain of nodes should be.
    #[error("comes a way that is too long to be meant: Via: {0}, and more")]
    TooFar(Via),
    /// Redirected too often.
    #[error("redirected more than {REDIRECTS_MAX} times")]
    TooManyRedirects,
    /// Redirected to nowhere.
    #[error("redirected with a location that is missing or no address")]
    BadRedirect,
    /// Redirected to what this version cannot reach.
    #[error("redirected to {0}://, which this version cannot reach")]
    RedirectScheme(String),
    /// A transfer coding that is not `chunked`.
    #[error("answered with transfer coding {0:?}, which is not known")]
    TransferCoding(String),
    /// A file, FIFO or socket that cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// A socket that cannot be bound.
    #[error("cannot be received: {0}")]
    Bind(io::Error),
    /// A multicast group that cannot be joined.
    #[error("cannot be joined: {0}")]
    Join(io::Error),
    /// No such network interface.
    #[error("cannot be received on {name}: {error}")]
    Interface {
        /// The interface.
        name: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// Neither a FIFO, a device nor a regular file.
    #[error("is neither file, device nor FIFO: {}", .0.display())]
    NotAFile(PathBuf),
    /// A command that cannot be started.
    #[error("cannot be started: {0}")]
    Start(io::Error),
    /// No thread for the attempt.
    #[error("cannot be tried: no thread: {0}")]
    Thread(io::Error),
}

impl DialError {
    /// What an error of a connect that was given a limit of time means.
    pub fn of_connect(error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut,
            _ => DialError::Connect(error),
        }
    }

    /// What an error before the end of the response head means.
    pub fn of_exchange(error: io::Error) -> DialError {
        match error.kind() {
            io::ErrorKind::TimedOut => DialError::TimedOut,
            io::ErrorKind::UnexpectedEof => DialError::Head(error.kind().into()),
            _ => match error.downcast::<rustls::Error>() {
                Ok(error) => DialError::Tls(error.into()),
                Err(error) => DialError::Head(error),
            },
        }
    }

    /// One word for the metric's label and the log's `error` key.
    pub fn kind(&self) -> &'static str {
        match self {
            DialError::Resolve { .. } => "resolve",
            DialError::Connect(_) => "connect",
            DialError::TimedOut => "timeout",
            DialError::Tls(_) => "tls",
            // Whoever it waits for: what takes too long is one thing, to whom counts.
            DialError::Proxy { error, .. } if matches!(**error, DialError::TimedOut) => "timeout",
            DialError::Proxy { .. } => "proxy",
            DialError::Head(_) | DialError::HeadTooLong => "head",
            DialError::NotHttp(_) | DialError::TransferCoding(_) | DialError::NotATunnel => {
                "protocol"
            }
            DialError::Status(_) => "status",
            DialError::Loop(_) => "loop",
            DialError::TooFar(_) => "too_far",
            DialError::TooManyRedirects | DialError::BadRedirect | DialError::RedirectScheme(_) => {
                "redirect"
            }
            DialError::Bind(_) => "bind",
            DialError::Join(_) | DialError::Interface { .. } => "join",
            DialError::Open(_) | DialError::NotAFile(_) => "open",
            DialError::Start(_) => "start",
            DialError::Thread(_) => "thread",
        }
    }
}

/// Why a connection to an upstream ended. The text goes on from the upstream's address.
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// It closed the connection, or the body has its length.
    #[error("ended")]
    Ended,
    /// It closed the connection in the middle of a framed body.
    #[error("ended in the middle of its body")]
    Truncated,
    /// The connection broke.
    #[error("broke: {0}")]
    Broken(io::Error),
    /// The body's framing is broken.
    #[error("sent a broken body: {0}")]
    Framing(ChunkedError),
    /// No data for `readtimeout`.
    #[error("sent nothing for {0:?}")]
    Silent(Duration),
    /// What it sends was not worth watching for so long, which is its time in `health`.
    #[error("{0} for {1:?}")]
    Unhealthy(Condition, Duration),
}

impl Loss {
    /// One word for the metric's label and the log's `error` key.
    pub fn kind(&self) -> &'static str {
        match self {
            Loss::Ended => "ended",
            Loss::Truncated => "truncated",
            Loss::Broken(_) => "broken",
            Loss::Framing(_) => "framing",
            Loss::Silent(_) => "silent",
            Loss::Unhealthy(condition, _) => condition.word(),
        }
    }
}

/// Why there is no TLS. The text goes on from a colon.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Nobody who is trusted vouches for the server.
    #[error("its certificate is by nobody who is trusted (`ca_file` names others)")]
    UnknownIssuer,
    /// Its certificate is somebody else's.
    #[error("its certificate is not for {0}")]
    WrongName(String),
    /// Its certificate is too old.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate is too young, or our clock is wrong.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// No certificate can be for such a name.
    #[error("its name is none that a certificate can be for")]
    Name,
    /// It speaks something else.
    #[error("it does not speak TLS")]
    NotTls,
    /// It hung up in the middle of the handshake, or the connection broke.
    #[error("the handshake was broken off: {0}")]
    BrokenOff(io::Error),
    /// The connection ended, and might have been cut by anybody.
    #[error("it hung up without saying so by TLS")]
    Unannounced,
    /// Everything else.
    #[error("{0}")]
    Other(rustls::Error),
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> TlsError {
        use rustls::Error::{InvalidCertificate, InvalidMessage};
        match error {
            // A bad signature: by somebody who has the name of one who is trusted.
            InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            ) => TlsError::UnknownIssuer,
            InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. }) => {
                TlsError::WrongName(expected.to_str().into_owned())
            }
            InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            ) => TlsError::Expired,
            InvalidCertificate(
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
            ) => TlsError::NotYetValid,
            InvalidMessage(rustls::InvalidMessage::InvalidContentType) => TlsError::NotTls,
            error => TlsError::Other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    fn wrapped(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    /// A server that wants to know who we are says so when the handshake is over for us.
    #[test]
    fn what_tls_says_in_front_of_the_answer_is_of_tls() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
        let error = DialError::of_exchange(wrapped(alert));
        assert_eq!(error.kind(), "tls");
        let said = "cannot be reached by TLS: received fatal alert: CertificateRequired";
        assert_eq!(error.to_string(), said);
        let ended = DialError::of_exchange(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(ended.kind(), "head");
    }

    #[test]
    fn refusals_say_why() {
        use rustls::Error::InvalidCertificate;
        for (error, why) in [
            (CertificateError::NotValidYet, "its certificate is not valid yet"),
            (CertificateError::Expired, "its certificate has expired"),
            (CertificateError::Revoked, "invalid peer certificate: Revoked"),
        ] {
            assert_eq!(TlsError::from(InvalidCertificate(error)).to_string(), why);
        }
    }
}
