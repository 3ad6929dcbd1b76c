//! Whom we believe to be who they say: the system's root certificates and those of a file.
//!
//! Owns what a TLS connection is made with, the cryptography included: nothing relies on a default
//! of the process. Never connects. Read once, at start.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};

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
    /// One of its certificates is not in PEM format.
    #[error("ca_file: {}: certificate {number} is not in PEM format: {error}", .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Which certificate, from 1.
        number: usize,
        /// What is wrong.
        error: pem::Error,
    },
    /// One of its certificates is none.
    #[error("ca_file: {}: certificate {number} cannot be used: {error}", .path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Which certificate, from 1.
        number: usize,
        /// What is wrong.
        error: rustls::Error,
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
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        if let Some(path) = file {
            roots.extend(load_file(path, &mut store)?);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
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

/// Every certificate of a file, each of which must be one.
fn load_file(
    path: &Path,
    store: &mut RootCertStore,
) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let path = || path.to_owned();
    let text =
        std::fs::read(path()).map_err(|error| TrustError::Unreadable { path: path(), error })?;
    let mut found = Vec::new();
    for (number, certificate) in (1..).zip(CertificateDer::pem_slice_iter(&text)) {
        let certificate =
            certificate.map_err(|error| TrustError::Pem { path: path(), number, error })?;
        let added = store.add(certificate.clone());
        added.map_err(|error| TrustError::Certificate { path: path(), number, error })?;
        found.push(certificate);
    }
    if found.is_empty() {
        return Err(TrustError::NoCertificate { path: path() });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let name = vec!["h.test".to_owned()];
        rcgen::generate_simple_self_signed(name).unwrap().cert.pem()
    }

    fn load(text: &str) -> Result<Trust, TrustError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Trust::load(Some(file.path()))
    }

    #[test]
    fn the_files_certificates_are_added_to_the_systems() {
        let system = Trust::load(None).unwrap().roots().len();
        let two = format!("# ours\n{}\nand\n{}", certificate(), certificate());
        assert_eq!(load(&two).unwrap().roots().len(), system + 2);
    }

    #[test]
    fn only_http_1_1_is_offered() {
        assert_eq!(Trust::load(None).unwrap().client().alpn_protocols, [b"http/1.1"]);
    }

    #[test]
    fn a_file_that_is_not_what_it_should_be_is_refused() {
        let good = certificate();
        let begin = "-----BEGIN CERTIFICATE-----\n";
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (text, said) in [
            (String::new(), "holds no certificate in PEM format"),
            ("junk".to_owned(), "holds no certificate in PEM format"),
            (key, "holds no certificate in PEM format"),
            (
                format!("{good}{begin}!!\n-----END CERTIFICATE-----\n"),
                "certificate 2 is not in PEM",
            ),
            (format!("{good}{begin}"), "certificate 2 is not in PEM"),
            (
                format!("{good}{begin}AAAA\n-----END CERTIFICATE-----\n{good}"),
                "certificate 2 cannot be used",
            ),
        ] {
            let error = load(&text).unwrap_err().to_string();
            assert!(error.starts_with("ca_file: /") && error.contains(said), "{error}");
        }
        let error = Trust::load(Some(Path::new("/nowhere/ca.pem"))).unwrap_err().to_string();
        assert!(error.starts_with("ca_file: /nowhere/ca.pem cannot be read: No such"), "{error}");
    }
}
