//! TLS by rustls, with a certificate that can be replaced while connections come in.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A certificate with its key, and the files that they come from.
#[derive(Clone, Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Arc<Current>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Tls {
    /// Reads both files (PEM; the server's certificate first, then those that vouch for it).
    ///
    /// # Errors
    /// In words: which file, and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let current = Arc::new(Current(RwLock::new(read(certificate, key)?)));
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again; new connections get what is in them now.
    ///
    /// # Errors
    /// As [`Tls::load`]; the old certificate then stays.
    pub fn reload(&self) -> Result<(), String> {
        let read = read(&self.certificate, &self.key)?;
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// What a listener needs: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Errors
    /// Never in practice: the library knows its own versions.
    pub fn config(&self) -> Result<ServerConfig, String> {
        let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>))
    }
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, String> {
    let wrong = |path: &Path, why: String| format!("{}: {why}", path.display());
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificate, format!("no certificate can be read from it: {error}")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "it holds no certificate".to_owned()));
    }
    refuse_open_key(key)?;
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| wrong(key, format!("no private key can be read from it: {error}")))?;
    let certified = CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|error| format!("{} and {}: {error}", certificate.display(), key.display()))?;
    Ok(Arc::new(certified))
}

/// A private key that every account can read is none (CFG-04). A group may: that is how certificates are shared with
/// services.
#[cfg(unix)]
fn refuse_open_key(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;

    let metadata = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
    if metadata.mode() & 0o006 == 0 {
        return Ok(());
    }
    let (path, mode) = (path.display(), metadata.mode() & 0o777);
    Err(format!("{path}: every account can read this private key (mode {mode:03o}); run chmod o-rwx on it"))
}

#[cfg(not(unix))]
fn refuse_open_key(_path: &Path) -> Result<(), String> {
    Ok(())
}
