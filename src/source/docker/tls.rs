//! TLS to an engine: which certificates it is trusted by and which one we show. Reads files, connects to nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_platform_verifier::BuilderVerifierExt as _;
use thiserror::Error;

/// Files of the folder, as Docker's own tools name them.
const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Why there is no TLS to an engine.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} holds no {what} in PEM form", path.display())]
    Malformed { path: PathBuf, what: &'static str },
    #[error("{} is there but {missing} beside it is not: a client certificate needs both", path.display())]
    Half { path: PathBuf, missing: &'static str },
    #[error("the certificates of {} cannot be used: {source}", folder.display())]
    Unusable { folder: PathBuf, source: rustls::Error },
}

/// The client's side of TLS with the certificates of `folder`: `ca.pem` alone is trusted where it is there, else what the
/// system trusts; `cert.pem` and `key.pem` are shown where both are there.
///
/// # Errors
/// [`TlsError`], for files that are there and cannot be used.
pub fn client(folder: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let folder = folder.unwrap_or(Path::new(""));
    let unusable = |source| TlsError::Unusable { folder: folder.to_owned(), source };
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match read(&folder.join(AUTHORITY))? {
        Some(text) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&folder.join(AUTHORITY), &text)? {
                roots.add(certificate).map_err(unusable)?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder.with_platform_verifier().map_err(unusable)?,
    };
    let (certificate_path, key_path) = (folder.join(CERTIFICATE), folder.join(KEY));
    match (read(&certificate_path)?, read(&key_path)?) {
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err(TlsError::Half { path: certificate_path, missing: KEY }),
        (None, Some(_)) => Err(TlsError::Half { path: key_path, missing: CERTIFICATE }),
        (Some(certificate), Some(key)) => {
            let chain = certificates(&certificate_path, &certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|_| TlsError::Malformed { path: key_path, what: "private key" })?;
            builder.with_client_auth_cert(chain, key).map_err(unusable)
        }
    }
}

/// What is said of a connection that failed where no certificate of ours was shown: not every engine that wants one says so.
pub fn unshown(folder: &Path) -> &'static str {
    if folder.join(CERTIFICATE).exists() { "" } else { ", no cert.pem among them: the engine may want one" }
}

/// `None` where there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, TlsError> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TlsError::Unreadable { path: path.to_owned(), source }),
    }
}

fn certificates(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(text).collect();
    let malformed = || TlsError::Malformed { path: path.to_owned(), what: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_certificates_is_used_or_said_to_be_wrong() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(Vec::new()).expect("parameters").self_signed(&key);
        let (certificate, key) = (certificate.expect("a certificate").pem(), key.serialize_pem());
        let other = rcgen::KeyPair::generate().expect("a key").serialize_pem();
        let check = |files: &[(&str, &str)], expected: Result<bool, &str>| {
            let dir = tempfile::tempdir().expect("folder");
            for (name, text) in files {
                std::fs::write(dir.path().join(name), text).expect("written");
            }
            match (client(Some(dir.path())), expected) {
                (Ok(found), Ok(shown)) => assert_eq!(found.client_auth_cert_resolver.has_certs(), shown, "{files:?}"),
                (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
                (found, expected) => panic!("{:?} is not {expected:?}", found.err()),
            }
        };
        check(&[("ca.pem", &certificate)], Ok(false));
        check(&[("ca.pem", &certificate), ("cert.pem", &certificate), ("key.pem", &key)], Ok(true));
        check(&[("ca.pem", "none")], Err("ca.pem holds no certificate in PEM form"));
        check(&[("ca.pem", &certificate), ("cert.pem", &certificate)], Err("cert.pem is there but key.pem beside it"));
        check(&[("ca.pem", &certificate), ("key.pem", &key)], Err("key.pem is there but cert.pem beside it"));
        check(
            &[("ca.pem", &certificate), ("cert.pem", &certificate), ("key.pem", "none")],
            Err("key.pem holds no private key"),
        );
        check(&[("ca.pem", &certificate), ("cert.pem", &certificate), ("key.pem", &other)], Err("cannot be used: "));
    }
}
