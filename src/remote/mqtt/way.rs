//! The way to a broker: its address, and whom to trust on it.
//!
//! A name and a password never go readable to another machine unless the config allows it:
//! that is refused before anything is sent. Trust is as for the backend itself: the
//! system's authorities, and those of `ca_file`.

use std::path::PathBuf;
use std::sync::Arc;

use reqwest::Url;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::model::settings::Remote as Settings;
use crate::model::{Fault, FaultKind, ReasonCode};
use crate::remote::http::{fault, is_loopback};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

pub struct Way {
    host: String,
    port: u16,
    tls: bool,
    ca_file: Option<PathBuf>,
}

impl Way {
    /// Fails only on what a change of the config alone can mend.
    pub fn new(settings: &Settings, url: &str) -> Result<Way, Fault> {
        let wrong = |why: &str| {
            let text = format!("`mqtt_url` cannot be used: {why}; {}", fault::KEPT);
            let next = "write it like mqtts://broker.example.org:8883";
            Fault::new(FaultKind::Protocol, ReasonCode::BadRequest, text, next)
        };
        let url = Url::parse(url).map_err(|error| wrong(&error.to_string()))?;
        let tls = match url.scheme() {
            "mqtts" => true,
            "mqtt" => false,
            _ => return Err(wrong("it must begin with mqtts:// or mqtt://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("a name or password has no place in it"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let mqtt = &settings.backend.mqtt;
        let secret = mqtt.user.is_some() || mqtt.password_file.is_some();
        if secret && !tls && !settings.allow_plain_http && !is_loopback(&url) {
            let text = format!(
                "no broker is listened to: the password would travel readable to {host}; the timer goes on, and {}",
                fault::KEPT
            );
            let next = "use mqtts://, or set `allow_plain_http = true` where the network itself is trusted";
            return Err(Fault::new(FaultKind::SignedOut, ReasonCode::AuthPlainHttp, text, next));
        }
        let port = url.port().unwrap_or(if tls { 8883 } else { 1883 });
        Ok(Way { host, port, tls, ca_file: settings.ca_file.clone() })
    }

    /// What messages call the broker.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// `Err`: why not, in words.
    pub async fn open(&self) -> Result<Box<dyn Stream>, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| error.to_string())?;
        let _ = stream.set_nodelay(true);
        if !self.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let stream = self.connector()?.connect(name, stream).await.map_err(|error| error.to_string())?;
        Ok(Box::new(stream))
    }

    fn connector(&self) -> Result<TlsConnector, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = self.authorities()?;
        let verifier =
            Verifier::new_with_extra_roots(authorities, provider.clone()).map_err(|error| error.to_string())?;
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn authorities(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        let Some(path) = &self.ca_file else { return Ok(Vec::new()) };
        let unusable =
            |error: &dyn std::fmt::Display| format!("the `ca_file` {} cannot be used: {error}", path.display());
        let found = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
        found.collect::<Result<_, _>>().map_err(|error| unusable(&error))
    }
}
