//! Rate limits by network: one for each address, and larger ones for the blocks around it.

use std::net::IpAddr;
use std::time::Duration;

use crate::config::Rate;
use crate::control::limiter::{Limiter, Wait};
use crate::domain::network::blocks;

/// The limits of an IPv6 /56 and /48, as multiples of the limit of a /64. Most belong to one customer, some to thousands.
const IPV6_SHARES: [u32; 2] = [4, 16];

/// The limits of an IPv4 /24 and /16, as multiples of the limit of one address. Strangers share them.
const IPV4_SHARES: [u32; 2] = [8, 64];

/// A bucket for each address (for each /64 of IPv6) and larger ones for the blocks around it, so that a client with many
/// addresses gets no larger limit.
pub struct NetworkLimiter {
    /// Each IPv4 address and each /64.
    narrow: Limiter<IpAddr>,
    /// Each /56, then each /48.
    ipv6: [Limiter<IpAddr>; 2],
    /// Each /24, then each /16.
    ipv4: [Limiter<IpAddr>; 2],
}

impl NetworkLimiter {
    /// For one address or /64. The limits of the blocks around it are multiples of this one.
    pub fn new(rate: Rate) -> Self {
        let interval = 1_000_000 / u64::from(rate.per_second.max(1));
        Self::every(Duration::from_micros(interval), rate.burst)
    }

    /// The same with a bucket that gains one request each `interval`.
    pub fn every(interval: Duration, burst: u32) -> Self {
        let share = |times: u32| Limiter::every(interval / times, burst.saturating_mul(times));
        Self {
            narrow: Limiter::every(interval, burst),
            ipv6: IPV6_SHARES.map(share),
            ipv4: IPV4_SHARES.map(share),
        }
    }

    /// The buckets of an address, each with its key: the narrowest first.
    fn buckets(&self, from: IpAddr) -> [(&Limiter<IpAddr>, IpAddr); 3] {
        let [near, wide] = match from.to_canonical() {
            IpAddr::V4(_) => &self.ipv4,
            IpAddr::V6(_) => &self.ipv6,
        };
        let [_, around, inner, own] = blocks(from);
        [(&self.narrow, own), (near, inner), (wide, around)]
    }

    /// Counts one request from an address, unless it is over the limit.
    pub fn take(&self, from: IpAddr, now: Duration) -> Result<(), Wait> {
        let buckets = self.buckets(from);
        for (at, (limiter, key)) in buckets.iter().enumerate() {
            if let Err(wait) = limiter.take(key, now) {
                for (limiter, key) in buckets.iter().take(at) {
                    limiter.give_back(key);
                }
                return Err(wait);
            }
        }
        Ok(())
    }

    /// Whether a request from an address would be within the limit. Does not count it.
    pub fn look(&self, from: IpAddr, now: Duration) -> Result<(), Wait> {
        let buckets = self.buckets(from);
        buckets
            .iter()
            .try_for_each(|(limiter, key)| limiter.look(key, now))
    }

    /// Undoes the count of one request.
    pub fn give_back(&self, from: IpAddr) {
        for (limiter, key) in self.buckets(from) {
            limiter.give_back(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000_000);

    fn taken(limiter: &NetworkLimiter, addresses: impl Iterator<Item = String>) -> usize {
        addresses
            .filter(|address| limiter.take(address.parse().unwrap(), NOW).is_ok())
            .count()
    }

    #[test]
    fn one_48_with_65536_networks_is_limited_as_a_whole() {
        let limiter = NetworkLimiter::every(Duration::from_secs(10), 10);
        let all = (0..65_536_u32).map(|at| format!("2001:db8:1:{at:x}::1"));
        assert_eq!(taken(&limiter, all), 160);
        let from: IpAddr = "2001:db8:1:ffff::2".parse().unwrap();
        assert!(limiter.look(from, NOW).is_err() && limiter.take(from, NOW).is_err());
        // Neighbouring blocks are not limited, and one /56 among them gets a quarter.
        let neighbours = (0..256_u32).map(|at| format!("2001:db8:2:{at:x}::1"));
        assert_eq!(taken(&limiter, neighbours), 40);
    }

    #[test]
    fn one_16_of_ipv4_is_limited_as_a_whole() {
        let limiter = NetworkLimiter::every(Duration::from_secs(10), 10);
        let one = (0..1_000).map(|_| "192.0.2.1".to_owned());
        assert_eq!(taken(&limiter, one), 10);
        let near = (0..256).map(|host| format!("192.0.2.{host}"));
        assert_eq!(taken(&limiter, near), 70);
        let all = (0..4_096).map(|at| format!("198.51.{}.{}", at % 256, at / 256));
        assert_eq!(taken(&limiter, all), 640);
    }

    #[test]
    fn what_is_given_back_counts_nowhere() {
        let limiter = NetworkLimiter::every(Duration::from_secs(10), 1);
        for at in 0..1_000_u32 {
            let from = format!("2001:db8:1:{at:x}::1").parse().unwrap();
            assert_eq!(limiter.take(from, NOW), Ok(()));
            limiter.give_back(from);
        }
    }
}
