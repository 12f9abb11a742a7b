//! How often who may ask: token buckets in bounded memory, whatever the number of those who ask.

mod network_limiter;

use super::client_address::ClientAddress;
use super::limiter::{Limiter, Wait};
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderMap;

use self::network_limiter::NetworkLimiter;
use crate::clock::Clock;
use crate::config::{ControlLimits, Rate};
use crate::domain::digest::sha256;
use crate::domain::ids::{AccountId, AppId, WorkspaceId};
use crate::domain::network::{Network, blocks};
use crate::domain::role::{Action, Resource, may};
use crate::model::member::Member;

/// The limits of a control plane.
pub struct Limits {
    clock: Clock,
    trusted_proxies: Vec<Network>,
    token_app: Limiter<AppId>,
    token_address: NetworkLimiter,
    api_account: Limiter<AccountId>,
    api_address: NetworkLimiter,
    changes: ChangeLimits,
    sign_in: SignInLimits,
    sign_on: NetworkLimiter,
}

/// How many times what one person may change the people of one workspace, or at one address, may change together.
const CHANGES_SHARED: u32 = 8;

/// Changes: each takes the one writer of the store, a row of the audit trail and a policy version.
struct ChangeLimits {
    /// Changes of one person whose roles let them change apps, sources or members, or of one app.
    manager: Limiter<AccountId>,
    app: Limiter<AppId>,
    /// Changes of one person who may change only what is their own.
    member: Limiter<AccountId>,
    /// Changes of all such persons in one workspace together.
    members: Limiter<WorkspaceId>,
    /// Changes of everybody at one address.
    address: NetworkLimiter,
    /// Sessions that one person opens.
    sessions: Limiter<AccountId>,
}

impl ChangeLimits {
    fn new(limits: &ControlLimits) -> Self {
        let shared = |rate: Rate| Rate {
            burst: rate.burst.saturating_mul(CHANGES_SHARED),
            per_second: rate.per_second.saturating_mul(CHANGES_SHARED),
        };
        Self {
            manager: Limiter::new(limits.changes_manager),
            app: Limiter::new(limits.changes_manager),
            member: Limiter::new(limits.changes_member),
            members: Limiter::new(shared(limits.changes_member)),
            address: NetworkLimiter::new(shared(limits.changes_manager)),
            sessions: Limiter::new(limits.changes_member),
        }
    }
}

/// Attempts to sign in, by what they have in common. Attempts that succeed do not count.
struct SignInLimits {
    /// One e-mail address from one address.
    pair: Limiter<[u8; 32]>,
    /// Any e-mail address from one address, and from the blocks around it.
    address: NetworkLimiter,
    /// One e-mail address from everywhere together. One address alone cannot exhaust it: it fills faster than
    /// `pair` lets any one of them through.
    account: Limiter<[u8; 32]>,
    /// One e-mail address from a browser that its person has signed in from.
    browser: Limiter<[u8; 32]>,
    /// Places for known browsers that one e-mail address takes, whether its attempts succeed or not.
    places: Limiter<[u8; 32]>,
}

impl Default for SignInLimits {
    fn default() -> Self {
        Self {
            pair: Limiter::every(Duration::from_secs(60), 10),
            address: NetworkLimiter::every(Duration::from_secs(6), 50),
            account: Limiter::every(Duration::from_secs(10), 100),
            browser: Limiter::every(Duration::from_secs(60), 10),
            places: Limiter::every(Duration::from_secs(6), 20),
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
            self.limits.address.give_back(self.address);
            self.limits.account.give_back(&self.account);
        }
    }

    /// No password was checked, since the server had no room for it: the attempt does not count.
    pub fn not_made(self) {
        if let Some(browser) = self.browser {
            self.limits.browser.give_back(&browser);
        } else {
            self.limits.pair.give_back(&self.pair);
            self.limits.address.give_back(self.address);
            self.limits.account.give_back(&self.account);
        }
    }
}

fn digest_of(parts: [&str; 2]) -> [u8; 32] {
    sha256(parts.join("\n").as_bytes())
}

impl Limits {
    pub fn new(limits: &ControlLimits, trusted_proxies: Vec<Network>, clock: Clock) -> Self {
        Self {
            clock,
            trusted_proxies,
            token_app: Limiter::new(limits.token_app),
            token_address: NetworkLimiter::new(limits.token_address),
            api_account: Limiter::new(limits.api_account),
            api_address: NetworkLimiter::new(limits.api_address),
            changes: ChangeLimits::new(limits),
            sign_in: SignInLimits::default(),
            sign_on: NetworkLimiter::every(Duration::from_secs(2), 30),
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
        self.token_address.take(from.0, self.clock.elapsed())
    }

    /// Whether a token request that proves nothing may come from there yet; it is not counted.
    pub fn may_prove_nothing(&self, from: ClientAddress) -> Result<(), Wait> {
        self.token_address.look(from.0, self.clock.elapsed())
    }

    /// Counts a management request of a person.
    pub fn management_request(&self, account: &AccountId) -> Result<(), Wait> {
        self.api_account.take(account, self.clock.elapsed())
    }

    /// Counts a change that a member makes. Those whose roles let them change apps, sources or members have a limit of
    /// their own; all others share one in their workspace, besides one for each.
    pub fn change_by_member(&self, member: &Member, from: Option<IpAddr>) -> Result<(), Wait> {
        let (limits, now, account) = (&self.changes, self.clock.elapsed(), &member.account);
        let manages = may(&member.grants, Action::EditApp, Resource::Workspace);
        let own = if manages { &limits.manager } else { &limits.member };
        own.take(account, now)?;
        if !manages && let Err(wait) = limits.members.take(&member.workspace, now) {
            own.give_back(account);
            return Err(wait);
        }
        let Some(from) = from else { return Ok(()) };
        limits.address.take(from, now).inspect_err(|_| {
            own.give_back(account);
            if !manages {
                limits.members.give_back(&member.workspace);
            }
        })
    }

    /// Counts a change that an app makes.
    pub fn change_by_app(&self, app: &AppId) -> Result<(), Wait> {
        self.changes.app.take(app, self.clock.elapsed())
    }

    /// Counts a session that a person opens, once they proved who they are.
    pub fn session_opened(&self, account: &AccountId) -> Result<(), Wait> {
        self.changes.sessions.take(account, self.clock.elapsed())
    }

    /// Counts an attempt to sign in, unless it has to wait. `browser` is what the browser is known by to this
    /// person, where it is. Nothing here depends on whether there is an account with this address.
    pub fn sign_in(&self, email: &str, from: IpAddr, browser: Option<&str>) -> Result<Attempt<'_>, Wait> {
        let (now, limits) = (self.clock.elapsed(), &self.sign_in);
        let [.., own] = blocks(from);
        let attempt = Attempt {
            limits,
            address: from,
            account: digest_of([email, ""]),
            pair: digest_of([email, &own.to_string()]),
            browser: browser.map(|browser| digest_of([email, browser])),
        };
        if let Some(browser) = &attempt.browser {
            limits.browser.take(browser, now)?;
            return Ok(attempt);
        }
        limits.pair.take(&attempt.pair, now)?;
        if let Err(wait) = limits.address.take(from, now) {
            limits.pair.give_back(&attempt.pair);
            return Err(wait);
        }
        if let Err(wait) = limits.account.take(&attempt.account, now) {
            limits.pair.give_back(&attempt.pair);
            limits.address.give_back(from);
            return Err(wait);
        }
        Ok(attempt)
    }

    /// Counts a place for known browsers that is taken for this e-mail address. Answers whether it has any left: who
    /// signs in over and over with a password of their own waits with everybody else.
    pub fn has_known_place(&self, email: &str) -> bool {
        let account = digest_of([email, ""]);
        self.sign_in.places.take(&account, self.clock.elapsed()).is_ok()
    }

    /// Counts a sign-on that is begun at a provider.
    pub fn sign_on(&self, from: IpAddr) -> Result<(), Wait> {
        self.sign_on.take(from, self.clock.elapsed())
    }

    /// Counts a management request whose credentials are not good.
    pub fn failed_authentication(&self, from: ClientAddress) -> Result<(), Wait> {
        self.api_address.take(from.0, self.clock.elapsed())
    }

    /// Whether a management request whose credentials are not good may come from there yet; it is not counted.
    pub fn may_fail(&self, from: ClientAddress) -> Result<(), Wait> {
        self.api_address.look(from.0, self.clock.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        let clock = Clock::Manual(crate::clock::ManualClock::at(crate::domain::time::UnixSeconds(1)));
        Limits::new(&ControlLimits::default(), Vec::new(), clock)
    }

    #[test]
    fn guesses_from_one_48_are_limited_as_a_whole() {
        let limits = limits();
        let guess = |at: u32| {
            let from = format!("2001:db8:1:{at:x}::1").parse().unwrap();
            limits.sign_in(&format!("{at}@example.com"), from, None).is_ok()
        };
        assert_eq!((0..65_536).filter(|at| guess(*at)).count(), 16 * 50);
        let elsewhere = "2001:db8:2::1".parse().unwrap();
        assert!(limits.sign_in("a@example.com", elsewhere, None).is_ok());
    }

    #[test]
    fn attempt_without_a_place_does_not_count() {
        let limits = limits();
        let from = "192.0.2.1".parse().unwrap();
        for browser in [Some("hash"), None] {
            for _ in 0..1_000 {
                limits.sign_in("a@example.com", from, browser).unwrap().not_made();
            }
            for _ in 0..10 {
                assert!(limits.sign_in("a@example.com", from, browser).is_ok());
            }
            assert!(limits.sign_in("a@example.com", from, browser).is_err());
        }
    }

    #[test]
    fn places_for_known_browsers_are_counted_per_person() {
        let limits = limits();
        let taken = (0..1_000).filter(|_| limits.has_known_place("a@example.com"));
        assert_eq!(taken.count(), 20);
        assert!(limits.has_known_place("b@example.com"));
    }
}
