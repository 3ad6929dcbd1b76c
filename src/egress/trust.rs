//! Whom we believe to be who they say: the system's root certificates and those of a file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// The certificates that prove a server to be who it says.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: Arc<Vec<CertificateDer<'static>>>,
    client: Arc<ClientConfig>,
}

/// Why certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file cannot be read.
    #[error("ca_file: {} cannot be read: {error}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// There is no certificate in it.
    #[error("ca_file: {} holds no certificate in PEM format", .path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// What the library says.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Trust {
    /// The system's roots, and those of `file` if there is one. A system without any is none to
    /// complain about: then every server is refused.
    pub fn load(file: Option<&Path>) -> Result<Trust, TrustError> {
        let mut roots = rustls_native_certs::load_native_certs().certs;
        if let Some(path) = file {
            let text = std::fs::read(path)
                .map_err(|error| TrustError::Unreadable { path: path.to_owned(), error })?;
            let found: Vec<_> = CertificateDer::pem_slice_iter(&text).flatten().collect();
            if found.is_empty() {
                return Err(TrustError::NoCertificate { path: path.to_owned() });
            }
            roots.extend(found);
        }
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Trust { roots: Arc::new(roots), client: Arc::new(client) })
    }

    /// What a TLS connection is made with.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// The root certificates themselves.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }
}
