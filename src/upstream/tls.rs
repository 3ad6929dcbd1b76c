//! HTTPS upstreams: the handshake, and what is decrypted for the worker. Blocks.
//!
//! The worker gets the read end of a pipe, as it does of a file; the thread of the attempt decrypts
//! into it, and waits with the server when the worker does. It ends when the body ends or when the
//! worker has let go: of the pipe, and with its [`Keeper`] of the connection, for a silent server
//! would keep the thread for ever.

use std::io::{self, BufReader, PipeWriter, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use url::{Host, Url};

use super::error::{DialError, TlsError};
use super::tcp::Timed;
use super::{Body, Dialed, Framing, Keeper};
use crate::limits::TLS_READ_BYTES;

/// A TLS connection whose every call ends by the attempt's deadline.
#[derive(Debug)]
pub struct Session {
    tls: ClientConnection,
    socket: Timed,
}

impl Session {
    /// Shakes hands with the URL's host, which must prove who it is.
    pub fn begin(
        mut socket: Timed,
        url: &Url,
        config: Arc<ClientConfig>,
    ) -> Result<Session, DialError> {
        let name = match url.host() {
            Some(Host::Ipv4(address)) => Ok(ServerName::from(std::net::IpAddr::V4(address))),
            Some(Host::Ipv6(address)) => Ok(ServerName::from(std::net::IpAddr::V6(address))),
            Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()),
            None => return Err(DialError::BadRedirect),
        };
        let name = name.map_err(|_no_name| TlsError::Name)?;
        let mut tls = ClientConnection::new(config, name).map_err(TlsError::from)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => DialError::TimedOut,
                _ => DialError::Tls(match error.downcast::<rustls::Error>() {
                    Ok(error) => TlsError::from(error),
                    Err(error) => TlsError::BrokenOff(error),
                }),
            })?;
        }
        Ok(Session { tls, socket })
    }

    /// The body from here on, and the work of decrypting it.
    pub fn into_body(
        self,
        framing: Framing,
        early: Vec<u8>,
    ) -> Result<(Dialed, Decrypting), DialError> {
        let socket = self.socket.into_inner().map_err(DialError::Connect)?;
        let (dialed, sink) = Dialed::piped().map_err(DialError::Connect)?;
        let shared = Arc::new(Shared { socket, fault: Mutex::default() });
        let work = Decrypting {
            tls: self.tls,
            framed: !matches!(framing, Framing::Raw),
            sink,
            shared: Arc::clone(&shared),
        };
        let keeper = Some(Keeper::Tls(Hold(shared)));
        Ok((Dialed { body: Body::Stream(framing), early, keeper, ..dialed }, work))
    }
}

impl Read for Session {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).read(buffer)
    }
}

impl Write for Session {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        rustls::Stream::new(&mut self.tls, &mut self.socket).flush()
    }
}

/// What the worker and the thread that decrypts for it have in common.
#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    /// Why there is nothing more, if it is not the body's end.
    fault: Mutex<Option<io::Error>>,
}

/// Held by whoever reads what is decrypted: when it is dropped, the connection is ended.
#[derive(Debug)]
pub struct Hold(Arc<Shared>);

impl Hold {
    /// Why there is nothing more, if it is not the body's end. Known once the pipe has ended.
    pub fn fault(&self) -> Option<io::Error> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // The server may have ended it already.
        let _ended = self.0.socket.shutdown(Shutdown::Both);
    }
}

/// A body that is to be decrypted.
#[derive(Debug)]
pub struct Decrypting {
    tls: ClientConnection,
    /// Whether the body tells its own end.
    framed: bool,
    sink: PipeWriter,
    shared: Arc<Shared>,
}

impl Decrypting {
    /// Decrypts until the body ends, the connection breaks or nobody reads any more.
    pub fn run(mut self) {
        if let Err(fault) = self.decrypt() {
            // Told before the pipe ends, which makes the worker ask.
            let mut told = self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner);
            *told = Some(fault);
        }
    }

    fn decrypt(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut wire = BufReader::with_capacity(TLS_READ_BYTES, &shared.socket);
        let mut clear = vec![0; TLS_READ_BYTES].into_boxed_slice();
        loop {
            // What came before something broken is passed on first.
            let processed = self.tls.process_new_packets();
            loop {
                match self.tls.reader().read(&mut clear) {
                    Ok(0) => return Ok(()),
                    Ok(n) => match self.sink.write_all(&clear[..n]) {
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                        written => written?,
                    },
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // Many servers hang up like this, and such a body ends with its connection.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !self.framed => {
                        return Ok(());
                    }
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Err(io::Error::new(error.kind(), TlsError::Unannounced));
                    }
                    Err(error) => return Err(error),
                }
            }
            // Answers to the server, and the complaint about what is broken.
            let answered = self.answer();
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            answered?;
            match self.tls.read_tls(&mut wire) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => drop(read?),
            }
        }
    }

    fn answer(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut &self.shared.socket)?;
        }
        Ok(())
    }
}
