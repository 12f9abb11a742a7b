//! How often who may ask: token buckets in bounded memory, whatever the number of those who ask.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Extensions, HeaderMap};
use quick_cache::sync::Cache;

use crate::clock::Clock;
use crate::config::{ControlLimits, Rate};
use crate::domain::digest::sha256;
use crate::domain::ids::{AccountId, AppId};
use crate::domain::network::{Network, neighbourhood};

/// Those remembered by one limit. When there are more, some that were not seen for long begin anew: whoever
/// sends from more addresses than this is not held back by a limit per address anyway.
const REMEMBERED: usize = 65_536;

/// Entries of `X-Forwarded-For` looked at, from the nearest on.
const HOPS_MAX: usize = 16;

/// How long to wait before the next request, in whole seconds and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(u64);

impl Wait {
    /// The shortest wait that is asked for.
    pub const SHORTEST: Self = Self(1);

    /// So many seconds, and at least one.
    #[must_use]
    pub const fn of_seconds(seconds: u64) -> Self {
        if seconds == 0 {
            Self::SHORTEST
        } else {
            Self(seconds)
        }
    }

    /// The seconds to wait.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    fn of(time: Duration) -> Self {
        Self(
            time.as_millis()
                .div_ceil(1_000)
                .try_into()
                .unwrap_or(u64::MAX)
                .max(1),
        )
    }
}

/// Where a request came from, as far as we believe it. Every request has one among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The one of a request. Where it is missing all against the contract, the request shares the limits of nowhere.
    #[must_use]
    pub fn in_extensions(extensions: &Extensions) -> Self {
        let nowhere = Self(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        extensions.get().copied().unwrap_or(nowhere)
    }

    /// The peer's own address, or, where the peer is one of `trusted`, the nearest address in
    /// `X-Forwarded-For` that is not. What stands farther away in it, the client may have written itself.
    #[must_use]
    pub fn of(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> Self {
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
        let mut nearest = peer.to_canonical();
        if !is_trusted(nearest) {
            return Self(nearest);
        }
        let values = headers.get_all("x-forwarded-for").iter().rev();
        let hops = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for hop in hops.take(HOPS_MAX) {
            let Some(address) = hop_address(hop.trim()) else {
                break;
            };
            nearest = address;
            if !is_trusted(address) {
                break;
            }
        }
        Self(nearest)
    }
}

/// An address as proxies write it: alone, with a port, or in brackets.
fn hop_address(text: &str) -> Option<IpAddr> {
    let bracketed = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(address, _)| address);
    let address = match (bracketed, text.split_once(':')) {
        (Some(address), _) => address,
        // One colon: a port. IPv6 has at least two.
        (None, Some((address, port))) if !port.contains(':') => address,
        _ => text,
    };
    address.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// A bucket of `burst` requests that fills again at a steady rate, for each of a bounded number of keys.
pub struct Limiter<K> {
    /// Time between two requests at the steady rate, in microseconds.
    interval: u64,
    /// Time in which an empty bucket fills, in microseconds.
    whole: u64,
    /// When each bucket will be full.
    full_at: Cache<K, Arc<AtomicU64>>,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub fn new(rate: Rate) -> Self {
        let interval = 1_000_000 / u64::from(rate.per_second.max(1));
        Self::every(Duration::from_micros(interval), rate.burst)
    }

    /// A bucket that gains one request each `interval`.
    pub fn every(interval: Duration, burst: u32) -> Self {
        let interval = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX).max(1);
        Self {
            interval,
            whole: interval.saturating_mul(u64::from(burst.max(1))),
            full_at: Cache::new(REMEMBERED),
        }
    }

    /// Counts one request of `key`, unless it has to wait.
    pub fn take(&self, key: &K, now: Duration) -> Result<(), Wait> {
        let now = micros(now);
        let bucket = self
            .full_at
            .get_or_insert_with(key, || Ok::<_, Wait>(Arc::default()))?;
        // The buckets do not depend on each other, nor anything else on them: no ordering is needed.
        let taken = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let after = full_at.max(now).saturating_add(self.interval);
            (after - now <= self.whole).then_some(after)
        });
        taken.map(drop).map_err(|full_at| self.wait(full_at, now))
    }

    /// Whether a request of `key` would have to wait; it is not counted.
    pub fn look(&self, key: &K, now: Duration) -> Result<(), Wait> {
        let Some(bucket) = self.full_at.get(key) else {
            return Ok(());
        };
        let now = micros(now);
        let full_at = bucket.load(Ordering::Relaxed);
        if full_at.max(now).saturating_add(self.interval) - now <= self.whole {
            Ok(())
        } else {
            Err(self.wait(full_at, now))
        }
    }

    /// Forgets what `key` did.
    pub fn forget(&self, key: &K) {
        self.full_at.remove(key);
    }

    /// Takes one request back that was counted.
    pub fn give_back(&self, key: &K) {
        if let Some(bucket) = self.full_at.get(key) {
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                Some(full_at.saturating_sub(self.interval))
            });
        }
    }

    fn wait(&self, full_at: u64, now: u64) -> Wait {
        let until = full_at.saturating_add(self.interval).saturating_sub(self.whole);
        Wait::of(Duration::from_micros(until.saturating_sub(now)))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The limits of a control plane.
pub struct Limits {
    clock: Clock,
    trusted_proxies: Vec<Network>,
    token_app: Limiter<AppId>,
    token_address: Limiter<IpAddr>,
    api_account: Limiter<AccountId>,
    api_address: Limiter<IpAddr>,
    sign_in: SignInLimits,
    sign_on: Limiter<IpAddr>,
}

/// Attempts to sign in, by what they have in common. Attempts that succeed do not count.
struct SignInLimits {
    /// One e-mail address from one address.
    pair: Limiter<[u8; 32]>,
    /// Any e-mail address from one address.
    address: Limiter<IpAddr>,
    /// One e-mail address from everywhere together. One address alone cannot exhaust it: it fills faster than
    /// `pair` lets any one of them through.
    account: Limiter<[u8; 32]>,
    /// One e-mail address from a browser that its person has signed in from.
    browser: Limiter<[u8; 32]>,
}

impl Default for SignInLimits {
    fn default() -> Self {
        Self {
            pair: Limiter::every(Duration::from_secs(60), 10),
            address: Limiter::every(Duration::from_secs(6), 50),
            account: Limiter::every(Duration::from_secs(10), 100),
            browser: Limiter::every(Duration::from_secs(60), 10),
        }
    }
}

/// A counted attempt to sign in.
pub struct Attempt<'l> {
    limits: &'l SignInLimits,
    address: IpAddr,
    account: [u8; 32],
    pair: [u8; 32],
    browser: Option<[u8; 32]>,
}

impl Attempt<'_> {
    /// The attempt was the person's own: it does not count, nor do the mistypings before it.
    pub fn succeeded(self) {
        if let Some(browser) = self.browser {
            self.limits.browser.forget(&browser);
        } else {
            self.limits.pair.forget(&self.pair);
            self.limits.address.give_back(&self.address);
            self.limits.account.give_back(&self.account);
        }
    }
}

impl Limits {
    pub fn new(limits: &ControlLimits, trusted_proxies: Vec<Network>, clock: Clock) -> Self {
        Self {
            clock,
            trusted_proxies,
            token_app: Limiter::new(limits.token_app),
            token_address: Limiter::new(limits.token_address),
            api_account: Limiter::new(limits.api_account),
            api_address: Limiter::new(limits.api_address),
            sign_in: SignInLimits::default(),
            sign_on: Limiter::every(Duration::from_secs(2), 30),
        }
    }

    /// Time since the start, for limits that are kept elsewhere.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Peers whose `X-Forwarded-For` is believed.
    pub fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// Where a request came from.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        ClientAddress::of(peer, headers, &self.trusted_proxies)
    }

    /// Whether an app has tokens left to ask for. Looked at before an assertion is used up.
    pub fn app_may_ask(&self, app: &AppId) -> Result<(), Wait> {
        self.token_app.look(app, self.clock.elapsed())
    }

    /// Counts a token request on the app that it was proved to come from. One that was not proved counts on
    /// its address: a stranger must not use up what an app may ask for by naming it.
    pub fn app_asks(&self, app: &AppId) -> Result<(), Wait> {
        self.token_app.take(app, self.clock.elapsed())
    }

    /// Counts a token request that proved nothing. Requests that prove an app are never refused for their
    /// address: a neighbour behind the same address cannot keep them out.
    pub fn unproven_token_request(&self, from: ClientAddress) -> Result<(), Wait> {
        self.token_address
            .take(&neighbourhood(from.0), self.clock.elapsed())
    }

    /// Whether a token request that proves nothing may come from there yet; it is not counted.
    pub fn may_prove_nothing(&self, from: ClientAddress) -> Result<(), Wait> {
        self.token_address
            .look(&neighbourhood(from.0), self.clock.elapsed())
    }

    /// Counts a management request of a person.
    pub fn management_request(&self, account: &AccountId) -> Result<(), Wait> {
        self.api_account.take(account, self.clock.elapsed())
    }

    /// Counts an attempt to sign in, unless it has to wait. `browser` is what the browser is known by to this
    /// person, where it is. Nothing here depends on whether there is an account with this address.
    pub fn sign_in(&self, email: &str, from: IpAddr, browser: Option<&str>) -> Result<Attempt<'_>, Wait> {
        let (now, limits, address) = (self.clock.elapsed(), &self.sign_in, neighbourhood(from));
        let key = |parts: [&str; 2]| sha256(parts.join("\n").as_bytes());
        let attempt = Attempt {
            limits,
            address,
            account: key([email, ""]),
            pair: key([email, &address.to_string()]),
            browser: browser.map(|browser| key([email, browser])),
        };
        if let Some(browser) = &attempt.browser {
            limits.browser.take(browser, now)?;
            return Ok(attempt);
        }
        limits.pair.take(&attempt.pair, now)?;
        if let Err(wait) = limits.address.take(&address, now) {
            limits.pair.give_back(&attempt.pair);
            return Err(wait);
        }
        if let Err(wait) = limits.account.take(&attempt.account, now) {
            limits.pair.give_back(&attempt.pair);
            limits.address.give_back(&address);
            return Err(wait);
        }
        Ok(attempt)
    }

    /// Counts a sign-on that is begun at a provider.
    pub fn sign_on(&self, from: IpAddr) -> Result<(), Wait> {
        self.sign_on.take(&neighbourhood(from), self.clock.elapsed())
    }

    /// Counts a management request whose credentials are not good.
    pub fn failed_authentication(&self, from: ClientAddress) -> Result<(), Wait> {
        self.api_address
            .take(&neighbourhood(from.0), self.clock.elapsed())
    }

    /// Whether a management request whose credentials are not good may come from there yet; it is not counted.
    pub fn may_fail(&self, from: ClientAddress) -> Result<(), Wait> {
        self.api_address
            .look(&neighbourhood(from.0), self.clock.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000_000 + seconds)
    }

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate_and_says_how_long_to_wait() {
        let limiter = Limiter::every(Duration::from_secs(10), 3);
        for _ in 0..3 {
            assert_eq!(limiter.look(&"a", at(0)), Ok(()));
            assert_eq!(limiter.take(&"a", at(0)), Ok(()));
        }
        assert_eq!(limiter.look(&"a", at(0)), Err(Wait(10)));
        assert_eq!(limiter.take(&"a", at(0)), Err(Wait(10)));
        assert_eq!(limiter.take(&"b", at(0)), Ok(()), "others are not held back");
        assert_eq!(
            limiter.take(&"a", at(9)),
            Err(Wait(1)),
            "being refused costs nothing"
        );
        assert_eq!(limiter.take(&"a", at(10)), Ok(()));
        assert_eq!(limiter.take(&"a", at(10)), Err(Wait(10)));
        // Full again, and no fuller than it was.
        for _ in 0..3 {
            assert_eq!(limiter.take(&"a", at(1_000)), Ok(()));
        }
        assert_eq!(limiter.take(&"a", at(1_000)), Err(Wait(10)));
        limiter.forget(&"a");
        assert_eq!(limiter.take(&"a", at(1_000)), Ok(()));
    }

    #[test]
    fn concurrent_requests_get_the_burst_and_not_one_more() {
        let limiter = Limiter::every(Duration::from_secs(10), 1_000);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if limiter.take(&7, at(0)).is_ok() {
                            taken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 1_000);
    }

    #[test]
    fn memory_is_bounded_and_those_who_keep_asking_stay_remembered() {
        let limiter = Limiter::every(Duration::from_secs(3_600), 2);
        for flood in 0..(4 * REMEMBERED as u64) {
            let _ = limiter.take(&flood, at(0));
            if flood % 1_000 == 0 {
                let _ = limiter.take(&u64::MAX, at(0));
            }
        }
        assert!(limiter.full_at.len() <= REMEMBERED, "{}", limiter.full_at.len());
        assert!(limiter.take(&u64::MAX, at(0)).is_err());
    }

    #[test]
    fn address_is_taken_from_listed_proxies_only() {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|text| Network::parse(text).unwrap());
        for (peer, forwarded, expected) in [
            ("192.0.2.1", &["198.51.100.1"][..], "192.0.2.1"),
            ("::ffff:192.0.2.1", &[], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            // What the client wrote itself stands to the left of what the proxies saw.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1:443"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::1]:443"], "2001:db8::1"),
            ("fd00::1", &["2001:db8::1"], "2001:db8::1"),
            ("10.0.0.1", &["198.51.100.1, nonsense"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, 10.0.0.2, "], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            let found = ClientAddress::of(peer.parse().unwrap(), &headers, &proxies);
            assert_eq!(
                found.0,
                expected.parse::<IpAddr>().unwrap(),
                "{peer} {forwarded:?}"
            );
        }
    }
}
