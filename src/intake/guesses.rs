//! Peers that send bad signatures, counted per minute in a table of bounded size.
//!
//! A peer over the limit is told so; its deliveries are still checked, so that a genuine one that comes through the same
//! proxy or address is never refused for what others sent.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bad signatures a minute after which a peer is answered 429.
pub(super) const BAD_PER_MINUTE: u32 = 30;
/// The most peers that are counted at once.
const PEERS_MAX: usize = 4096;
const WINDOW: Duration = Duration::from_secs(60);

/// The table.
#[derive(Debug, Default)]
pub(super) struct Guesses(Mutex<HashMap<Option<IpAddr>, (Instant, u32)>>);

impl Guesses {
    /// Counts a bad signature; whether that was one too many.
    pub(super) fn too_many(&self, address: Option<IpAddr>, now: Instant) -> bool {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let network = address.map(network);
        if table.len() >= PEERS_MAX && !table.contains_key(&network) {
            table.retain(|_, (begun, _)| now.duration_since(*begun) < WINDOW);
            if table.len() >= PEERS_MAX {
                // So many at once are no single peer's guesses: counting begins anew rather than growing.
                table.clear();
            }
        }
        let (begun, count) = table.entry(network).or_insert((now, 0));
        if now.duration_since(*begun) >= WINDOW {
            (*begun, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > BAD_PER_MINUTE
    }
}

/// What one peer has: an IPv4 address, or the /64 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_guesses_a_minute_and_others_are_not_its_victims() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let bad: Option<IpAddr> = "2001:db8::1".parse().ok();
        let neighbour: Option<IpAddr> = "2001:db8::ffff".parse().ok();
        let other: Option<IpAddr> = "2001:db8:1::1".parse().ok();
        for _ in 0..BAD_PER_MINUTE {
            assert!(!guesses.too_many(bad, now));
        }
        assert!(guesses.too_many(bad, now) && guesses.too_many(neighbour, now));
        assert!(!guesses.too_many(other, now));
        assert!(!guesses.too_many(bad, now + WINDOW));
    }

    #[test]
    fn the_table_does_not_grow_with_the_number_of_peers() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for peer in 0..3 * u32::try_from(PEERS_MAX).expect("small") {
            guesses.too_many(Some(IpAddr::V4(peer.into())), now);
        }
        assert!(guesses.0.lock().expect("whole").len() <= PEERS_MAX);
    }
}
