//! News of the machine's own network: a link or an address that came or went.
//!
//! A change is a wake for every replica whose remote is on another machine, and an address
//! that went cuts what may have begun there; no address at all means that nothing is tried
//! until one is back. A remote on this machine needs no network and hears nothing of it.
//! Where the system gives no such news, timers and the live channel do.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use netwatcher::{Update, WatchHandle};

use super::crew::Crew;
use super::supply;
use super::worker::Order;
use crate::engine::session::{Event, Wake};

/// Watches until dropped.
pub struct Network(#[allow(dead_code)] WatchHandle);

impl Network {
    pub fn watch(crew: &Arc<Crew>) -> Option<Network> {
        let away = crew.posts().into_iter().filter(|(replica, _)| !is_this_machine(&replica.remote.url));
        let workers: Vec<Sender<Order>> = away.map(|(_, worker)| worker).collect();
        if workers.is_empty() {
            return None;
        }
        let mut was_up = true;
        let crew = crew.clone();
        let watched = netwatcher::watch_interfaces_with_callback(move |update: Update| {
            let up =
                update.interfaces.values().flat_map(|interface| &interface.ips).any(|record| leads_away(record.ip));
            // What it costs comes first: a network that is paid for may be no reason to sync.
            if up && !update.is_initial {
                supply::ask(&crew);
            }
            if update.addrs_removed().any(|(_, record)| leads_away(record.ip)) {
                crew.moved();
            }
            for worker in &workers {
                if up != was_up {
                    let _ = worker.send(Order::Event(Event::Network(up)));
                } else if up && !update.is_initial {
                    let _ = worker.send(Order::Event(Event::Wake(Wake::Network)));
                }
            }
            was_up = up;
        });
        watched.inspect_err(|error| tracing::info!("no news of the network: {error}")).ok().map(Network)
    }
}

/// An address from which other machines can be reached.
fn leads_away(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// True where no network is needed to get there.
pub fn is_this_machine(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_on_this_machine_needs_no_network() {
        for url in ["http://127.0.0.1:4747", "http://localhost", "https://[::1]:8/x", "http://ada@127.9.9.9/"] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in ["https://hub.example.org", "http://10.0.0.7:4747", "https://localhost.example.org"] {
            assert!(!is_this_machine(url), "{url}");
        }
    }
}
