//! A reverse proxy with TLS that checks who comes, for engines that have no security of their own.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto::aws_lc_rs};

use super::http1;

/// A certificate authority made for one test, and what it signs.
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Authority { params, key, certificate }
    }

    /// A certificate for 127.0.0.1 and localhost, with its key.
    fn sign(&self, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &Issuer::from_params(&self.params, &self.key)).expect("a certificate");
        (certificate, key)
    }

    /// Writes `ca.pem` for `ca_file`.
    pub fn write_ca(&self, folder: &std::path::Path) -> PathBuf {
        let path = folder.join("ca.pem");
        fs::write(&path, self.certificate.pem()).expect("a file");
        path
    }

    /// Writes `client.pem` for `client_cert_file`.
    pub fn write_client(&self, folder: &std::path::Path) -> PathBuf {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let path = folder.join("client.pem");
        fs::write(&path, certificate.pem() + &key.serialize_pem()).expect("a file");
        path
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem`, as in the folder that `DOCKER_CERT_PATH` names.
    pub fn write_docker(&self, folder: &std::path::Path) {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ClientAuth);
        fs::create_dir_all(folder).expect("a folder");
        self.write_ca(folder);
        fs::write(folder.join("cert.pem"), certificate.pem()).expect("a file");
        fs::write(folder.join("key.pem"), key.serialize_pem()).expect("a file");
    }

    /// The server's side of TLS; `ask_client`: clients have to show a certificate of this authority.
    pub fn acceptor(&self, ask_client: bool) -> TlsAcceptor {
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("protocol versions");
        let builder = if ask_client {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.der().clone()).expect("our CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        } else {
            builder.with_no_client_auth()
        };
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).expect("a key");
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).expect("a configuration");
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Both directions of a connection.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Serves every connection, each in a task of its own; by TLS where there is an acceptor.
pub fn serve_each<Served>(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    serve: impl Fn(Box<dyn Duplex>) -> Served + Clone + Send + 'static,
) where
    Served: Future<Output = std::io::Result<()>> + Send,
{
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (serve, acceptor) = (serve.clone(), acceptor.clone());
            tokio::spawn(async move {
                let stream: Box<dyn Duplex> = match acceptor {
                    Some(acceptor) => Box::new(acceptor.accept(stream).await?),
                    None => Box::new(stream),
                };
                serve(stream).await
            });
        }
    });
}

/// Who gets through, and where.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The one value of `Authorization` that is not answered with 401; `None`: any.
    pub authorization: Option<String>,
    /// Beginnings of `METHOD path` that are answered with 403.
    pub forbidden: Vec<String>,
    /// Ask clients for a certificate of the same authority.
    pub client_certificate: bool,
}

/// The proxy; it ends with the test's runtime.
pub struct AuthProxy {
    pub url: String,
    state: Arc<State>,
}

struct State {
    upstream: String,
    rules: Mutex<Rules>,
    refused: AtomicUsize,
    lose_answers: AtomicUsize,
}

impl AuthProxy {
    /// With TLS where there is an authority. `upstream`: `http://HOST:PORT`.
    pub async fn new(upstream: &str, authority: Option<&Authority>, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = authority.map(|authority| authority.acceptor(rules.client_certificate));
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let state = Arc::new(State {
            upstream: upstream.trim_start_matches("http://").trim_end_matches('/').to_owned(),
            rules: Mutex::new(rules),
            refused: AtomicUsize::new(0),
            lose_answers: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        serve_each(listener, acceptor, move |stream| Arc::clone(&shared).serve(stream));
        AuthProxy { url: format!("{scheme}://{address}"), state }
    }

    /// From now on these rules hold; the client certificate is settled at the start.
    pub fn set_rules(&self, rules: Rules) {
        *self.state.rules.lock().expect("no panic") = rules;
    }

    /// Requests that were answered with 401 or 403.
    pub fn refused(&self) -> usize {
        self.state.refused.load(Ordering::SeqCst)
    }

    /// The next `calls` answers to `_bulk` do not come back: the server has stored, the client does not know.
    pub fn lose_answers(&self, calls: usize) {
        self.state.lose_answers.store(calls, Ordering::SeqCst);
    }
}

impl State {
    /// One request a connection: the answer says so.
    async fn serve(self: Arc<Self>, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
        let mut rest = Vec::new();
        let Some(mut request) = http1::read_head(&mut stream, &mut rest).await? else { return Ok(()) };
        http1::read_body(&mut stream, &mut rest, &mut request).await?;
        if let Some(answer) = self.refuse(&request) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            stream.write_all(&answer).await?;
            return stream.shutdown().await;
        }
        let mut upstream = TcpStream::connect(&self.upstream).await?;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            if !["connection", "authorization", "host"].contains(&name.as_str()) {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        head.push_str(&format!("host: {}\r\nconnection: close\r\n\r\n", self.upstream));
        upstream.write_all(head.as_bytes()).await?;
        upstream.write_all(&request.body).await?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).await?;
        let is_bulk = request.path().ends_with("/_bulk");
        if is_bulk && self.lose_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok() {
            return Ok(());
        }
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }

    fn refuse(&self, request: &http1::Request) -> Option<Vec<u8>> {
        let rules = self.rules.lock().expect("no panic");
        let close = ("connection", "close");
        if let Some(expected) = &rules.authorization
            && request.header("authorization") != Some(expected)
        {
            let body =
                br#"{"error":{"type":"security_exception","reason":"missing or wrong credentials"},"status":401}"#;
            return Some(http1::response(401, &[close, ("www-authenticate", "ApiKey")], body));
        }
        let call = format!("{} {}", request.method, request.path());
        rules.forbidden.iter().any(|start| call.starts_with(start)).then(|| {
            let body = br#"{"error":{"type":"security_exception","reason":"action is unauthorized"},"status":403}"#;
            http1::response(403, &[close], body)
        })
    }
}
