//! The way to one remote: its address, whom to trust, through which proxy,
//! with which token.
//!
//! A token never leaves over plain HTTP to another machine unless the config says so:
//! that is refused here, before there is anything to send with. No redirect is ever
//! followed. The HTTP client is built at the first call and kept until an address of this
//! machine goes; a certificate file that cannot be read then is read again at the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Certificate, Client, Proxy, Url};

use super::fault;
use super::line::Line;
use super::token::Tokens;
use crate::model::settings::{Remote as Settings, TokenSource};
use crate::model::{Fault, FaultKind, ReasonCode};

const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Long enough for the next cycle of a busy app, short enough to cost an idle one nothing.
const IDLE_MAX: Duration = Duration::from_secs(60);
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

pub struct Connection {
    settings: Settings,
    device: String,
    /// What places are relative to; ends with a slash.
    base: Url,
    /// The host, with its port where one is given: what messages call the remote.
    host: String,
    pub tokens: Tokens,
    /// With how many addresses had gone when it was built.
    client: Mutex<Option<(u64, Client)>>,
    line: Line,
    sent: AtomicU64,
    received: AtomicU64,
}

impl Connection {
    /// `segments`: what every place begins with, below the configured address.
    pub fn new(settings: Settings, device: String, line: Line, segments: &[&str]) -> Result<Connection, Fault> {
        let mut base = Url::parse(&settings.url).map_err(|error| not_a_url(&error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(not_a_url("it must begin with https:// or http://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(not_a_url("a name or password has no place in it; a token goes into `token_file`"));
        }
        let host = base.host_str().ok_or_else(|| not_a_url("it names no host"))?;
        let host = base.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let proxy = settings.proxy.as_deref().map(Url::parse).transpose().map_err(|_| bad_proxy())?;
        if settings.token != TokenSource::None && !settings.allow_plain_http && exposed(&base, proxy.as_ref()) {
            return Err(plain_http(&host));
        }
        base.set_query(None);
        base.set_fragment(None);
        let mut path = base.path_segments_mut().map_err(|()| not_a_url("it has no path"))?;
        path.pop_if_empty().extend(segments).push("");
        drop(path);
        Ok(Connection {
            tokens: Tokens::new(settings.token.clone()),
            settings,
            device,
            base,
            host,
            client: Mutex::new(None),
            line,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
        })
    }

    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn device(&self) -> &str {
        &self.device
    }

    pub fn place(&self, name: &str) -> Url {
        self.base.join(name).expect("BUG: a place is a plain word")
    }

    /// The longest silence that is waited for.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.settings.timeout.max(1) as u64)
    }

    /// What a call that begins now hangs on.
    pub fn line(&self) -> Line {
        self.line.begun()
    }

    /// Returns when the agent is told to stop.
    pub async fn stopped(&self) {
        self.line.stopped().await;
    }

    pub fn count(&self, sent: usize, received: usize) {
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.received.fetch_add(received as u64, Ordering::Relaxed);
    }

    /// Bytes since the last call.
    pub fn traffic(&self) -> (u64, u64) {
        (self.sent.swap(0, Ordering::Relaxed), self.received.swap(0, Ordering::Relaxed))
    }

    pub fn client(&self) -> Result<Client, Fault> {
        let mut client = self.client.lock().expect("BUG: nothing panics while the client is built");
        let moves = self.line.moves();
        // Connections that are kept open may have begun at an address that has gone.
        if let Some((built_after, client)) = &*client
            && *built_after == moves
        {
            return Ok(client.clone());
        }
        let built = self.build()?;
        *client = Some((moves, built.clone()));
        Ok(built)
    }

    fn build(&self) -> Result<Client, Fault> {
        // An error says that a provider was installed before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("homing/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .connect_timeout(self.timeout().min(CONNECT_MAX))
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_MAX);
        #[cfg(target_os = "linux")]
        {
            builder = builder.tcp_user_timeout(self.timeout());
        }
        let authorities = self.authorities()?;
        builder = match self.base.scheme() {
            "https" => builder.tls_certs_merge(authorities),
            // Spares an agent that only talks to its own machine the system's list.
            _ => builder.tls_certs_only(authorities),
        };
        builder = match &self.settings.proxy {
            Some(proxy) => builder.proxy(Proxy::all(proxy).map_err(|_| bad_proxy())?),
            // What the environment names is for the way out; this hub is on this machine.
            None if is_loopback(&self.base) => builder.no_proxy(),
            None => builder,
        };
        builder.build().map_err(|error| {
            let cause = fault::innermost(&error);
            let text = format!("no secure connection to {} can be set up: {cause}; {}", self.host, fault::KEPT);
            let next = "install the package `ca-certificates`, or name the hub's authority in `ca_file`";
            Fault::new(FaultKind::Network, ReasonCode::OfflineTls, text, next)
        })
    }

    fn authorities(&self) -> Result<Vec<Certificate>, Fault> {
        let Some(path) = &self.settings.ca_file else { return Ok(Vec::new()) };
        let unusable = |why: &str| {
            let text = format!("the `ca_file` {} {why}; {}", path.display(), fault::KEPT);
            let next = "correct `ca_file`: it is a PEM file with one or more certificates";
            Fault::new(FaultKind::Network, ReasonCode::OfflineTls, text, next)
        };
        let bytes = super::token::read_small(path, CA_FILE_BYTES_MAX).map_err(|why| unusable(&why))?;
        let certificates = Certificate::from_pem_bundle(&bytes).map_err(|_| unusable("is not a PEM file"))?;
        if certificates.is_empty() { Err(unusable("holds no certificate")) } else { Ok(certificates) }
    }
}

/// Would what is sent travel readable over a network?
fn exposed(url: &Url, proxy: Option<&Url>) -> bool {
    url.scheme() == "http" && !(is_loopback(url) && proxy.is_none_or(is_loopback))
}

pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

fn not_a_url(why: &str) -> Fault {
    let text = format!("the remote's `url` cannot be used: {why}; {}", fault::KEPT);
    Fault::new(FaultKind::Protocol, ReasonCode::BadRequest, text, "correct `url` in the config")
}

fn bad_proxy() -> Fault {
    let text = format!("the remote's `proxy` is not an address; {}", fault::KEPT);
    let next = "write it as http://host:port, https://host:port or socks5://host:port";
    Fault::new(FaultKind::Protocol, ReasonCode::BadRequest, text, next)
}

fn plain_http(host: &str) -> Fault {
    let text = format!("nothing was sent to {host}: its token would travel readable over plain HTTP; {}", fault::KEPT);
    let next = "use https://, or set `allow_plain_http = true` where the network itself is trusted";
    Fault::new(FaultKind::SignedOut, ReasonCode::AuthPlainHttp, text, next)
}

/// Shared with the listener.
pub type Shared = Arc<Connection>;

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    fn settings(url: &str) -> Settings {
        Settings {
            kind: "homing".to_owned(),
            url: url.to_owned(),
            scope: None,
            token: TokenSource::Environment("HOMING_TEST_TOKEN".to_owned()),
            allow_plain_http: false,
            ca_file: None,
            proxy: None,
            timeout: 1_000,
            backend: Default::default(),
        }
    }

    fn connect(settings: Settings) -> Result<Connection, Fault> {
        Connection::new(settings, "desk".to_owned(), watch::channel(false).1.into(), &["v1", "scopes", "@me"])
    }

    #[test]
    fn a_token_goes_over_plain_http_only_to_this_machine() {
        let refused = [
            "http://hub.example.org",
            "http://192.168.1.7:4747",
            "http://localhost.example.org",
            "http://[2001:db8::1]",
        ];
        for url in refused {
            let fault = connect(settings(url)).err().expect(url);
            assert_eq!(fault.reason.code, ReasonCode::AuthPlainHttp, "{url}");
            assert!(fault.reason.next.contains("allow_plain_http"), "{url}");
        }
        for url in ["http://127.0.0.1:4747", "http://localhost", "http://[::1]:1", "https://hub.example.org"] {
            assert!(connect(settings(url)).is_ok(), "{url}");
        }
        assert!(connect(Settings { allow_plain_http: true, ..settings(refused[0]) }).is_ok());
        assert!(connect(Settings { token: TokenSource::None, ..settings(refused[0]) }).is_ok());
    }

    #[test]
    fn a_proxy_on_another_machine_would_read_the_token_too() {
        let through = |proxy: &str| Settings { proxy: Some(proxy.to_owned()), ..settings("http://127.0.0.1:4747") };
        let fault = connect(through("http://proxy.example.org:3128")).err().unwrap();
        assert_eq!(fault.reason.code, ReasonCode::AuthPlainHttp);
        assert!(connect(through("socks5://127.0.0.1:1080")).is_ok());
    }

    #[test]
    fn places_keep_the_paths_prefix_and_hide_nothing_of_a_scopes_name() {
        let place = |url: &str, scope: Option<&str>| {
            let segments = ["v1", "scopes", scope.unwrap_or("@me")];
            let connection =
                Connection::new(settings(url), "desk".to_owned(), watch::channel(false).1.into(), &segments);
            connection.unwrap().place("pull").to_string()
        };
        assert_eq!(place("https://h", None), "https://h/v1/scopes/@me/pull");
        assert_eq!(place("https://h/sync/", None), "https://h/sync/v1/scopes/@me/pull");
        assert_eq!(place("https://h/sync?x=1#y", Some("a/b c")), "https://h/sync/v1/scopes/a%2Fb%20c/pull");
    }

    #[test]
    fn an_address_that_cannot_be_one_is_refused_in_words() {
        for url in ["", "hub.example.org", "ftp://hub", "https://ada:secret@hub"] {
            let fault = connect(settings(url)).err().expect(url);
            assert_eq!(fault.reason.code, ReasonCode::BadRequest, "{url}");
            assert!(!fault.reason.text.contains("secret"), "{}", fault.reason.text);
        }
    }
}
