//! How many connections each peer has: one that takes them all leaves none for others.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// How many connections one peer may have: an address, or for IPv6 a network of 64 bits, since whoever has one address has
/// as many as he likes.
const CONNECTIONS_PER_PEER: usize = 2048;

/// The peers that are connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Peers(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Admission {
    peers: Peers,
    peer: IpAddr,
}

impl Peers {
    /// Counts a connection from `address`; `None` where it has too many.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admission> {
        let peer = match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from(u128::from(address) >> 64 << 64)),
            address @ IpAddr::V4(_) => address,
        };
        let mut counts = self.0.lock();
        let count = counts.entry(peer).or_default();
        if *count >= CONNECTIONS_PER_PEER {
            return None;
        }
        *count += 1;
        Some(Admission { peers: self.clone(), peer })
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let mut counts = self.peers.0.lock();
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_no_more() {
        let peers = Peers::default();
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
        assert!(peers.0.lock().is_empty());
    }
}
