//! The order in which connections are evicted: a client with more connections first, then the longest idle.
//!
//! Connections are queued by a time since when they have been idle at the earliest. Requests come and go without
//! telling the queue; only an eviction looks, and then queues anew what turned out to be younger. Each request
//! causes one such correction at most, so an eviction costs O(log n) over time, and a request takes no lock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::phase::{Connection, Eviction};

/// Whom a connection counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Client {
    /// An address, or the /64 of an IPv6 one.
    Address(IpAddr),
    /// A peer without a limit of its own, such as a load balancer. It brings many clients, so each of its
    /// connections counts as another client.
    Exempt(u64),
}

/// The rank of a client: the first one loses a connection next.
type Rank = (Reverse<usize>, u64, Client);

/// An open connection.
pub(super) struct Entry {
    pub(super) connection: Arc<Connection>,
    pub(super) group: u64,
    /// None until the task is known.
    pub(super) task: Option<AbortHandle>,
    client: Client,
    /// The time that it is queued by, unless a request was being served when an eviction looked.
    queued_by: Option<u64>,
}

/// The connections of one client.
#[derive(Default)]
struct ClientConnections {
    open: usize,
    /// By time and number.
    queue: BTreeSet<(u64, u64)>,
}

impl ClientConnections {
    fn rank(&self, client: Client) -> Option<Rank> {
        let (since, _) = self.queue.first()?;
        Some((Reverse(self.open), *since, client))
    }
}

/// All open connections.
#[derive(Default)]
pub(super) struct EvictionOrder {
    entries: HashMap<u64, Entry>,
    clients: HashMap<Client, ClientConnections>,
    ranks: BTreeSet<Rank>,
}

impl EvictionOrder {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn open_of(&self, client: Client) -> usize {
        self.clients.get(&client).map_or(0, |client| client.open)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    pub(super) fn entry(&mut self, id: u64) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// Adds a connection that has been idle since `now`.
    pub(super) fn insert(&mut self, connection: Arc<Connection>, client: Client, group: u64, now: u64) {
        let id = connection.id();
        self.adjust(client, |held| {
            held.open += 1;
            held.queue.insert((now, id));
        });
        let entry = Entry {
            connection,
            group,
            task: None,
            client,
            queued_by: Some(now),
        };
        self.entries.insert(id, entry);
    }

    /// Takes a connection out; `None` where it has been taken out before.
    pub(super) fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        self.adjust(entry.client, |held| {
            held.open = held.open.saturating_sub(1);
            if let Some(since) = entry.queued_by {
                held.queue.remove(&(since, id));
            }
        });
        Some(entry)
    }

    /// Counts a connection for another client. Does nothing where it has been taken out.
    pub(super) fn reassign(&mut self, id: u64, client: Client) {
        let Some(entry) = self.remove(id) else { return };
        self.adjust(client, |held| {
            held.open += 1;
            held.queue.extend(entry.queued_by.map(|since| (since, id)));
        });
        self.entries.insert(id, Entry { client, ..entry });
    }

    /// Queues a connection by `since`, or takes it out of the queue.
    pub(super) fn requeue(&mut self, id: u64, since: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        let (client, before) = (entry.client, entry.queued_by);
        entry.queued_by = since;
        self.adjust(client, |held| {
            if let Some(before) = before {
                held.queue.remove(&(before, id));
            }
            if let Some(since) = since {
                held.queue.insert((since, id));
            }
        });
    }

    /// Evicts the connection that is to make room; `None` where every one is serving a request.
    pub(super) fn evict(&mut self) -> Option<Entry> {
        loop {
            let (_, _, client) = self.ranks.first()?;
            let (key, id) = *self.clients.get(client)?.queue.first()?;
            match self.entries.get(&id)?.connection.evict_if_idle_since(key) {
                Eviction::Evicted => return self.remove(id),
                Eviction::IdleSince(since) => self.requeue(id, Some(since)),
                Eviction::Serving => self.requeue(id, None),
            }
        }
    }

    fn adjust(&mut self, client: Client, change: impl FnOnce(&mut ClientConnections)) {
        let held = self.clients.entry(client).or_default();
        let before = held.rank(client);
        change(held);
        let after = held.rank(client);
        if held.open == 0 {
            self.clients.remove(&client);
        }
        if before != after {
            if let Some(before) = before {
                self.ranks.remove(&before);
            }
            self.ranks.extend(after);
        }
    }
}
