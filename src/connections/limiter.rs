//! Gives each accepted connection a permit, and takes permits back when connections end or are evicted.

use super::client_address::is_trusted;
use super::metrics::Refused;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::metrics::ConnectionMetrics;
use super::order::{Client, EvictionOrder};
use super::phase::{Connection, Phase, Ranking};
use crate::clock::instant;
use crate::domain::network::{Network, neighbourhood};

/// How many connections may be open. A limit of 0 counts as 1.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits<'a> {
    /// Of all clients together.
    pub connections: usize,
    /// Of one address, or of the /64 of an IPv6 one.
    pub per_client: usize,
    /// Peers without a limit of their own, such as load balancers.
    pub exempt: &'a [Network],
}

/// The open connections of one plane.
pub struct ConnectionLimiter {
    order: Mutex<EvictionOrder>,
    /// How many there are, readable without the lock.
    open: AtomicUsize,
    next_id: AtomicU64,
    metrics: ConnectionMetrics,
    /// What the times of phases count from.
    began: Instant,
}

/// The connections of one listener. Listeners of one plane share a limiter, and are drained one by one.
pub struct ConnectionGroup {
    limiter: Arc<ConnectionLimiter>,
    id: u64,
    /// Connections whose task has not ended, evicted ones among them.
    open: AtomicUsize,
    left: Notify,
}

/// A connection's place among the open ones; given back when dropped.
pub struct ConnectionPermit {
    group: Arc<ConnectionGroup>,
    connection: Arc<Connection>,
}

impl ConnectionLimiter {
    /// A limiter without connections, which counts what it refuses and evicts in `metrics`.
    #[must_use]
    pub fn new(metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self {
            order: Mutex::default(),
            open: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
            metrics,
            began: instant(),
        })
    }

    /// A group for one listener.
    #[must_use]
    pub fn group(self: &Arc<Self>) -> Arc<ConnectionGroup> {
        Arc::new(ConnectionGroup {
            limiter: Arc::clone(self),
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            open: AtomicUsize::new(0),
            left: Notify::new(),
        })
    }

    /// How many connections are open. Evicted ones do not count.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn remove(&self, id: u64) {
        let mut order = self.order.lock();
        order.remove(id);
        self.open.store(order.len(), Ordering::Relaxed);
    }
}

impl Ranking for ConnectionLimiter {
    fn now(&self) -> u64 {
        u64::try_from((instant() - self.began).as_millis()).unwrap_or(u64::MAX >> 2)
    }

    fn rank_again(&self, id: u64) {
        let mut order = self.order.lock();
        let now = self.now();
        let since = order.entry(id).map(|entry| match entry.connection.phase() {
            Phase::Idle(since) | Phase::Head(since) => since,
            Phase::Serving { .. } | Phase::Evicted => now,
        });
        order.requeue(id, since);
    }
}

impl ConnectionGroup {
    /// A permit for a connection from `peer`. Where all are taken, the longest idle connection ends for it.
    ///
    /// # Errors
    /// [`Refused`] says why there is none.
    pub fn acquire(
        self: &Arc<Self>,
        peer: IpAddr,
        limits: &ConnectionLimits<'_>,
    ) -> Result<ConnectionPermit, Refused> {
        let limiter = &self.limiter;
        let id = limiter.next_id.fetch_add(1, Ordering::Relaxed);
        let client = match is_trusted(peer, limits.exempt) {
            true => Client::Exempt(id),
            false => Client::Address(neighbourhood(peer)),
        };
        let mut order = limiter.order.lock();
        let refused = if order.open_of(client) >= limits.per_client.max(1) {
            Some(Refused::ClientLimit)
        } else if order.len() < limits.connections.max(1) {
            None
        } else if let Some(evicted) = order.evict() {
            // Where the task is not known yet, it ends as soon as it is: see `set_task`.
            if let Some(task) = evicted.task {
                task.abort();
            }
            limiter.metrics.evicted(limiter.now());
            None
        } else {
            Some(Refused::Full)
        };
        if let Some(refused) = refused {
            drop(order);
            limiter.metrics.refused(refused, peer, limiter.now());
            return Err(refused);
        }
        let now = limiter.now();
        let connection = Connection::new(Arc::clone(limiter) as Arc<dyn Ranking>, id, now);
        order.insert(Arc::clone(&connection), client, self.id, now);
        limiter.open.store(order.len(), Ordering::Relaxed);
        drop(order);
        self.open.fetch_add(1, Ordering::Relaxed);
        Ok(ConnectionPermit {
            group: Arc::clone(self),
            connection,
        })
    }

    /// Counts a connection that could not be accepted.
    pub(super) fn count_accept_error(&self, error: &std::io::Error, is_shortage: bool) {
        let now = self.limiter.now();
        self.limiter.metrics.not_accepted(error, is_shortage, now);
    }

    /// Names the task that serves a connection, to be aborted when the connection is evicted or drained.
    pub fn set_task(&self, connection: &Connection, task: AbortHandle) {
        match self.limiter.order.lock().entry(connection.id()) {
            Some(entry) => entry.task = Some(task),
            // It has ended, or was evicted meanwhile.
            None => task.abort(),
        }
    }

    /// Ends the connections that have been idle for this long. Returns how soon the next one may be due.
    pub fn end_idle(&self, after: Duration) -> Duration {
        let now = self.limiter.now();
        let mut next = after;
        for entry in self.limiter.order.lock().entries() {
            let Some(since) = entry.connection.drainable_since() else {
                continue;
            };
            if entry.group != self.id {
                continue;
            }
            let left = after.saturating_sub(Duration::from_millis(now.saturating_sub(since)));
            match &entry.task {
                Some(task) if left.is_zero() => task.abort(),
                _ => next = next.min(left),
            }
        }
        next
    }

    /// Ends every connection. Returns how many there were.
    pub fn end_all(&self) -> usize {
        let order = self.limiter.order.lock();
        let own = order.entries().filter(|entry| entry.group == self.id);
        own.filter_map(|entry| entry.task.as_ref())
            .map(AbortHandle::abort)
            .count()
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    /// Resolves when no connection is open.
    pub async fn wait_until_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.is_empty() {
                return;
            }
            left.await;
        }
    }
}

impl ConnectionPermit {
    /// From now on counts the connection for `client`, which a load balancer named in its PROXY header.
    ///
    /// # Errors
    /// [`Refused::ClientLimit`]: the client has as many connections as it may have. The connection must be closed.
    pub fn attribute_to(&self, client: IpAddr, limits: &ConnectionLimits<'_>) -> Result<(), Refused> {
        if is_trusted(client, limits.exempt) {
            return Ok(());
        }
        let (limiter, address) = (&self.group.limiter, Client::Address(neighbourhood(client)));
        let mut order = limiter.order.lock();
        if order.open_of(address) < limits.per_client.max(1) {
            order.reassign(self.connection.id(), address);
            return Ok(());
        }
        drop(order);
        limiter
            .metrics
            .refused(Refused::ClientLimit, client, limiter.now());
        Err(Refused::ClientLimit)
    }

    /// The connection that the permit is for.
    #[must_use]
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.group.limiter.remove(self.connection.id());
        self.group.open.fetch_sub(1, Ordering::AcqRel);
        self.group.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::HashMap;

    use super::*;
    use crate::connections::phase::ActiveRequest;

    fn group() -> Arc<ConnectionGroup> {
        ConnectionLimiter::new(ConnectionMetrics::new("test").unwrap()).group()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv6_clients_count_by_their_64_bit_network() {
        let group = group();
        let limits = ConnectionLimits {
            connections: 10,
            per_client: 2,
            exempt: &[Network::parse("2001:db8:ffff::/48").unwrap()],
        };
        let take = |from: &str| group.acquire(address(from), &limits);
        let held = [take("2001:db8:1:2::1"), take("2001:db8:1:2:ffff::2")];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(take("2001:db8:1:2:3::3").err(), Some(Refused::ClientLimit));
        assert!(take("2001:db8:1:3::1").is_ok(), "another network");
        let mapped = [take("::ffff:192.0.2.1"), take("192.0.2.1")];
        assert!(mapped.iter().all(Result::is_ok));
        assert_eq!(take("::ffff:192.0.2.1").err(), Some(Refused::ClientLimit));
        let exempt = [(); 3].map(|()| take("2001:db8:ffff::1"));
        assert!(exempt.iter().all(Result::is_ok), "a listed proxy");
        drop((held, mapped, exempt));
        assert!(group.is_empty() && group.limiter.open() == 0);
    }

    /// xorshift64; its seed is in every message.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 % bound.max(1) as u64).unwrap()
        }
    }

    const LIMITS: ConnectionLimits<'_> = ConnectionLimits {
        connections: 24,
        per_client: 8,
        exempt: &[],
    };

    /// The open connections, searched from end to end.
    #[derive(Default)]
    struct Reference(HashMap<u64, (ConnectionPermit, IpAddr)>);

    impl Reference {
        fn open_of(&self, client: IpAddr) -> usize {
            self.0.values().filter(|(_, of)| *of == client).count()
        }

        fn ids(&self) -> Vec<u64> {
            let mut ids: Vec<u64> = self.0.keys().copied().collect();
            ids.sort_unstable();
            ids
        }

        /// For each connection that may be evicted: how many its client has, and since when it is idle.
        fn idle(&self) -> HashMap<u64, (Reverse<usize>, u64)> {
            let all = self.0.iter();
            all.filter_map(|(id, (permit, client))| match permit.connection.phase() {
                Phase::Idle(since) | Phase::Head(since) => {
                    Some((*id, (Reverse(self.open_of(*client)), since)))
                }
                Phase::Serving { .. } | Phase::Evicted => None,
            })
            .collect()
        }

        fn acquire(&mut self, group: &Arc<ConnectionGroup>, client: IpAddr, context: &str) {
            let (idle, is_full) = (self.idle(), self.0.len() == LIMITS.connections);
            let is_at_limit = self.open_of(client) == LIMITS.per_client;
            match group.acquire(client, &LIMITS) {
                Ok(permit) => {
                    assert!(!is_at_limit, "{context}");
                    let evicted = self
                        .0
                        .iter()
                        .find(|(_, (permit, _))| permit.connection.phase() == Phase::Evicted);
                    let evicted = evicted.map(|(id, _)| *id);
                    assert_eq!(evicted.is_some(), is_full, "{context}");
                    if let Some(id) = evicted {
                        assert_eq!(idle.get(&id), idle.values().min(), "{context}");
                        self.0.remove(&id);
                    }
                    self.0.insert(permit.connection.id(), (permit, client));
                }
                Err(Refused::ClientLimit) => assert!(is_at_limit, "{context}"),
                Err(Refused::Full) => assert!(is_full && idle.is_empty(), "{context}"),
            }
        }
    }

    #[test]
    fn eviction_agrees_with_a_search_of_all_connections() {
        for seed in 1..=12_u64 {
            let (group, mut random) = (group(), Random(seed));
            let (mut reference, mut requests) = (Reference::default(), Vec::<ActiveRequest>::new());
            for step in 0..1_500 {
                let context = format!("seed {seed}, step {step}");
                let ids = reference.ids();
                let any = ids.get(random.below(ids.len())).copied();
                match (random.below(8), any) {
                    (0..=2, _) => {
                        let client = IpAddr::from([127, 0, 0, u8::try_from(random.below(6)).unwrap()]);
                        reference.acquire(&group, client, &context);
                    }
                    // More begin than end, so that sometimes all are busy.
                    (3 | 4, Some(id)) => requests.extend(reference.0[&id].0.connection.begin_request()),
                    (5, Some(id)) => reference.0[&id].0.connection.head_began(),
                    (6, _) if !requests.is_empty() => {
                        drop(requests.swap_remove(random.below(requests.len())));
                    }
                    (7, Some(id)) if random.below(8) == 0 => {
                        reference.0.remove(&id);
                    }
                    _ => {
                        let now = group.limiter.now();
                        while group.limiter.now() == now {
                            std::hint::spin_loop();
                        }
                    }
                }
                assert_eq!(group.limiter.open(), reference.0.len(), "{context}");
            }
        }
    }
}
