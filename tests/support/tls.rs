//! Authorities of the test's own, and HTTPS upstreams that a test serves itself.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::upstream::accept;

/// Who vouches for servers.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        Authority::named("authority of a test")
    }

    pub fn named(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Authority(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its certificate as a file, for `ca_file`.
    pub fn file(&self, dir: &Path) -> PathBuf {
        let path = dir.join("authority.pem");
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }

    /// A server that can prove to be `name`.
    pub fn vouch_for(&self, name: &str) -> Arc<ServerConfig> {
        self.vouch(&CertificateParams::new(vec![name.to_owned()]).unwrap())
    }

    /// A server that could have proved it until long ago.
    pub fn vouched_for(&self, name: &str) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.vouch(&params)
    }

    fn vouch(&self, params: &CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// An HTTPS server whose every answer a test gives itself.
pub struct Server {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

/// A connection of the program, decrypted. Dropping it ends the connection without a word of TLS.
pub type Peer = StreamOwned<ServerConnection, TcpStream>;

impl Server {
    /// One on a free port of 127.0.0.1.
    pub fn open(config: Arc<ServerConfig>) -> Server {
        Server::open_at("127.0.0.1", config)
    }

    /// One on a free port of an address or name.
    pub fn open_at(host: &str, config: Arc<ServerConfig>) -> Server {
        Server { listener: TcpListener::bind((host, 0)).unwrap(), config }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    pub fn url(&self) -> String {
        format!("https://{}/live.ts", self.address())
    }

    /// Takes the program's next connection, and shakes hands.
    pub fn accept(&self) -> Peer {
        greet(accept(&self.listener), &self.config).unwrap()
    }

    /// Takes the program's next connection, on which no handshake can succeed.
    pub fn accept_in_vain(&self) -> io::Error {
        greet(accept(&self.listener), &self.config).map(drop).expect_err("it was believed")
    }
}

/// Shakes hands on a connection for a stream, which asks for HTTP/1.1.
pub fn greet(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Peer> {
    let peer = shake_hands(socket, config)?;
    assert_eq!(peer.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(peer)
}

/// Shakes hands on a connection of the program.
pub fn shake_hands(mut socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Peer> {
    let mut tls = ServerConnection::new(Arc::clone(config)).unwrap();
    // The program refuses a certificate after the server has done its part.
    while tls.is_handshaking() {
        tls.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(tls, socket))
}

/// Ends a connection as TLS has it.
pub fn close(mut peer: Peer) {
    peer.conn.send_close_notify();
    peer.flush().unwrap();
}
