//! Rate limits of the control plane: token buckets in bounded memory, however many clients there are.

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

/// The limit of all persons of one workspace, or at one address, as a multiple of the limit of one person.
const CHANGES_SHARED: u32 = 8;

/// Changes: each uses the store's only writer, a row of the audit trail and a policy version.
struct ChangeLimits {
    /// Changes by one person whose roles allow changes of apps, sources or members, or by one app.
    manager: Limiter<AccountId>,
    app: Limiter<AppId>,
    /// Changes by one person who may change only their own account.
    member: Limiter<AccountId>,
    /// Changes by all such persons of one workspace together.
    members: Limiter<WorkspaceId>,
    /// Changes by all clients at one address together.
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

/// Failed attempts to sign in, grouped by what they have in common.
struct SignInLimits {
    /// One e-mail address from one address.
    pair: Limiter<[u8; 32]>,
    /// Any e-mail address from one address, and from the blocks around it.
    address: NetworkLimiter,
    /// One e-mail address from all addresses together. One address alone cannot exhaust it, because it refills faster
    /// than `pair` allows attempts from one address.
    account: Limiter<[u8; 32]>,
    /// One e-mail address from a browser from which its person has signed in before.
    browser: Limiter<[u8; 32]>,
    /// Places for known browsers that one e-mail address uses, even if its attempts succeed.
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
    /// The attempt succeeded: it does not count, and neither do the person's failures before it.
    pub fn succeeded(self) {
        if let Some(browser) = self.browser {
            self.limits.browser.forget(&browser);
        } else {
            self.limits.pair.forget(&self.pair);
            self.limits.address.give_back(self.address);
            self.limits.account.give_back(&self.account);
        }
    }

    /// The server was too busy to check the password: the attempt does not count.
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

    /// Time on the monotonic clock, for limits in other modules.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// The proxies whose `X-Forwarded-For` is trusted.
    pub fn trusted_proxies(&self) -> &[Network] {
        &self.trusted_proxies
    }

    /// The client address of a request.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        ClientAddress::of(peer, headers, &self.trusted_proxies)
    }

    /// Whether an app may request another token. This is checked before its assertion is marked as used.
    pub fn app_may_ask(&self, app: &AppId) -> Result<(), Wait> {
        self.token_app.look(app, self.clock.elapsed())
    }

    /// Counts an authenticated token request for its app. An unauthenticated one counts for its address, so that a
    /// stranger cannot exhaust an app's limit by naming the app.
    pub fn app_asks(&self, app: &AppId) -> Result<(), Wait> {
        self.token_app.take(app, self.clock.elapsed())
    }

    /// Counts an unauthenticated token request. Authenticated requests have no limit by address, so a client behind the
    /// same address cannot block them.
    pub fn unproven_token_request(&self, from: ClientAddress) -> Result<(), Wait> {
        self.token_address.take(from.0, self.clock.elapsed())
    }

    /// Whether an unauthenticated token request from this address is within the limit. Does not count it.
    pub fn may_prove_nothing(&self, from: ClientAddress) -> Result<(), Wait> {
        self.token_address.look(from.0, self.clock.elapsed())
    }

    /// Counts a management request of a person.
    pub fn management_request(&self, account: &AccountId) -> Result<(), Wait> {
        self.api_account.take(account, self.clock.elapsed())
    }

    /// Counts a change by a member. A member whose roles allow changes of apps, sources or members has a limit alone.
    /// All other members have a smaller limit each, and share one for their workspace.
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

    /// Counts a change by an app.
    pub fn change_by_app(&self, app: &AppId) -> Result<(), Wait> {
        self.changes.app.take(app, self.clock.elapsed())
    }

    /// Counts a session that a person opens, after they have authenticated.
    pub fn session_opened(&self, account: &AccountId) -> Result<(), Wait> {
        self.changes.sessions.take(account, self.clock.elapsed())
    }

    /// Counts an attempt to sign in, unless it is over a limit. `browser` identifies a browser from which this person
    /// has signed in before. Nothing here depends on whether an account with this address exists.
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

    /// Counts a place for a known browser of this e-mail address. Returns whether the address is within the limit: an
    /// account that signs in again and again gets no advantage over others.
    pub fn has_known_place(&self, email: &str) -> bool {
        let account = digest_of([email, ""]);
        self.sign_in.places.take(&account, self.clock.elapsed()).is_ok()
    }

    /// Counts a sign-on that starts at a provider.
    pub fn sign_on(&self, from: IpAddr) -> Result<(), Wait> {
        self.sign_on.take(from, self.clock.elapsed())
    }

    /// Counts a management request with invalid credentials.
    pub fn failed_authentication(&self, from: ClientAddress) -> Result<(), Wait> {
        self.api_address.take(from.0, self.clock.elapsed())
    }

    /// Whether a management request with invalid credentials from this address is within the limit. Does not count it.
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
