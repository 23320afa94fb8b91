//! How many connections each peer has, and its share of the memory: one that takes all leaves none for others.

use crate::access::network;
use crate::budget::{Budget, Share};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// The peers that are connected: addresses, or for IPv6 networks of 64 bits, since whoever has one address has as many as
/// he likes.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    budget: Budget,
    /// How many connections each may have.
    most: usize,
    connected: Arc<Mutex<HashMap<IpAddr, Peer>>>,
}

#[derive(Debug)]
struct Peer {
    connections: usize,
    share: Share,
}

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    peers: Peers,
    peer: IpAddr,
    share: Share,
}

impl Admission {
    /// What the peer may have in memory, by all its connections.
    pub(super) fn share(&self) -> &Share {
        &self.share
    }
}

impl Peers {
    /// None yet. Each may have `most` connections, and all of them `messages_size_bytes` in memory.
    pub(super) fn new(most: usize, messages_size_bytes: u64) -> Self {
        Self { budget: Budget::new(messages_size_bytes), most, connected: Arc::default() }
    }

    /// Counts a connection from `address`; `None` where it has too many.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admission> {
        let peer = network(address);
        let mut connected = self.connected.lock();
        let known = connected.entry(peer).or_insert_with(|| Peer { connections: 0, share: self.budget.share() });
        if known.connections >= self.most {
            return None;
        }
        known.connections += 1;
        Some(Admission { peers: self.clone(), peer, share: known.share.clone() })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut connected = self.peers.connected.lock();
        if let Some(known) = connected.get_mut(&self.peer) {
            known.connections -= 1;
            if known.connections == 0 {
                connected.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        const CONNECTIONS_PER_PEER: usize = 100;
        let peers = Peers::new(CONNECTIONS_PER_PEER, 64 * 1024 * 1024);
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let mut held: Vec<Admission> =
            (0..CONNECTIONS_PER_PEER).map(|_| peers.admit(address("::ffff:10.0.0.1")).expect("room")).collect();
        assert!(peers.admit(address("10.0.0.1")).is_none());
        assert!(peers.admit(address("10.0.0.2")).is_some(), "others have theirs");
        held.pop();
        assert!(peers.admit(address("10.0.0.1")).is_some());
        let network: Vec<_> =
            (0..CONNECTIONS_PER_PEER).map(|number| peers.admit(address(&format!("2001:db8::{number:x}")))).collect();
        assert!(network.iter().all(Option::is_some) && peers.admit(address("2001:db8::ffff:1")).is_none());
        assert!(peers.admit(address("2001:db8:0:1::1")).is_some());
        drop((held, network));
        assert!(peers.connected.lock().is_empty());
    }
}
