//! The memory that requests and responses of the control plane hold: one budget, and a share of it for each client.
//!
//! Every request reserves what it takes before it is routed, its body as it arrives, and its response until the
//! client has taken the last byte of it. What does not fit is answered 503 (the budget is used up) or 429 (the
//! client's share is).
//!
//! The worst case of all bounds together is `worst_case_bytes`: a test holds it below 512 MiB with the default limits.

use crate::control::bad_request::Exhausted;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounterVec, IntGauge, Opts};

use crate::config::ControlLimits;
use crate::domain::network::neighbourhood;

/// What a request takes besides the text of its head and its body: its task, its stream and their tables, and a
/// response of up to [`SMALL_RESPONSE_BYTES`], in bytes.
pub(crate) const REQUEST_BYTES: usize = 12 << 10;

/// A response of this size, in bytes, takes no more than its request had reserved.
pub(crate) const SMALL_RESPONSE_BYTES: usize = 4 << 10;

/// Reserved for the response to a change before the change is made: what was done must not be answered with 429.
pub(crate) const CHANGE_RESPONSE_BYTES: usize = 48 << 10;

/// Of what is left free, one in so many parts is the most that one client may hold: a fifth of an idle budget, and
/// a dozen greedy clients leave 7 % of it.
const FREE_PARTS: usize = 4;

/// What a rejection takes until the client has taken it, in bytes.
const REJECTION_BYTES: usize = 4 << 10;

/// The part of the budget that rejections may take on top of it. Beyond it a stream is reset without a response.
const REJECTIONS_PART: usize = 8;

/// The most that one HTTP/2 connection buffers outside of the budget, in bytes: a receive window that nobody reads
/// (64 KiB), a head that is incomplete (16 KiB on the wire, six times that decoded), both frame buffers (32 KiB) and
/// both header tables. An HTTP/1 connection buffers less: a head of 32 KiB, and one part of a body.
#[cfg(test)]
const CONNECTION_BYTES: usize = 216 << 10;

/// What an HTTP/2 stream takes outside of the budget until it is answered or reset, in bytes: its entry in the
/// connection and a task that has not begun.
#[cfg(test)]
const STREAM_BYTES: usize = 1_200;

/// The most that work takes that no request holds for long, in bytes: two password hashes (19 MiB each), and what six
/// readers of the database have in hand (6 MiB each: 32 apps with a thousand connected sources each).
#[cfg(test)]
const WORK_BYTES: usize = 80 << 20;

/// The bytes that all requests and responses hold now, and those of each client, bounded.
pub(crate) struct MemoryBudget {
    bytes: usize,
    bytes_per_client: usize,
    held: Mutex<Held>,
    held_bytes: IntGauge,
    rejections: IntCounterVec,
}

/// Who holds how much. A client that holds nothing is not in the map, and one that holds something holds
/// [`REJECTION_BYTES`] at least: the budget bounds the map, too.
#[derive(Default)]
struct Held {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Held {
    fn add(&mut self, client: IpAddr, bytes: usize) {
        self.all = self.all.saturating_add(bytes);
        let own = self.by_client.entry(client).or_default();
        *own = own.saturating_add(bytes);
    }

    fn remove(&mut self, client: IpAddr, bytes: usize) {
        self.all = self.all.saturating_sub(bytes);
        self.remove_from_client(client, bytes);
    }

    fn remove_from_client(&mut self, client: IpAddr, bytes: usize) {
        if let Some(own) = self.by_client.get_mut(&client) {
            *own = own.saturating_sub(bytes);
            if *own == 0 {
                self.by_client.remove(&client);
            }
        }
    }
}

impl MemoryBudget {
    /// A budget as large as the limits say.
    ///
    /// # Errors
    /// A metric cannot be made.
    pub fn new(limits: &ControlLimits) -> Result<Arc<Self>, prometheus::Error> {
        Ok(Arc::new(Self {
            bytes: limits.held_bytes,
            bytes_per_client: limits.held_bytes_per_client,
            held: Mutex::default(),
            held_bytes: IntGauge::new(
                "portcullis_control_held_bytes",
                "Bytes that requests to the control plane and their unread responses hold.",
            )?,
            rejections: IntCounterVec::new(
                Opts::new(
                    "portcullis_control_memory_rejections_total",
                    "Requests to the control plane that were rejected for the memory they would have held, by the bound.",
                ),
                &["bound"],
            )?,
        }))
    }

    /// The metrics, for a registry.
    pub fn metrics(&self) -> (IntGauge, IntCounterVec) {
        for bound in [Exhausted::Server, Exhausted::Client] {
            self.rejections.with_label_values(&[bound.label()]);
        }
        (self.held_bytes.clone(), self.rejections.clone())
    }

    /// Reserves `bytes` for a request of this client.
    ///
    /// # Errors
    /// [`Exhausted`] says which bound was reached.
    pub fn reserve(self: &Arc<Self>, client: IpAddr, bytes: usize) -> Result<Reservation, Exhausted> {
        let reservation = self.empty(client);
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Reserves what a rejection takes, for which there is some room on top of the budget.
    ///
    /// # Errors
    /// The client has not read so many rejections that it gets none any more.
    pub fn reserve_rejection(self: &Arc<Self>, client: IpAddr) -> Result<Reservation, Exhausted> {
        let rejection = self.empty(client);
        let with_rejections = |bytes: usize| bytes.saturating_add(bytes / REJECTIONS_PART);
        let (bytes, own) = (
            with_rejections(self.bytes),
            with_rejections(self.bytes_per_client),
        );
        rejection.grow_within(REJECTION_BYTES, |all, of_client| {
            if of_client > own {
                Err(Exhausted::Client)
            } else if all > bytes {
                Err(Exhausted::Server)
            } else {
                Ok(())
            }
        })?;
        Ok(rejection)
    }

    /// Counts a request that was rejected.
    pub fn count_rejection(&self, bound: Exhausted) {
        self.rejections.with_label_values(&[bound.label()]).inc();
    }

    fn empty(self: &Arc<Self>, client: IpAddr) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            client: neighbourhood(client),
            bytes: AtomicUsize::new(0),
            shared: AtomicBool::new(false),
        }
    }

    /// Whether a client may hold `own` bytes where all hold `all`. A client holds at most a part of what is left
    /// free: each further greedy client gets less, and a dozen of them leave room for everybody else's small requests.
    fn admit(&self, all: usize, own: usize) -> Result<(), Exhausted> {
        if own > self.bytes_per_client {
            Err(Exhausted::Client)
        } else if own.saturating_mul(FREE_PARTS) > self.bytes.saturating_sub(all) {
            Err(Exhausted::Server)
        } else {
            Ok(())
        }
    }

    fn with_held<T>(&self, change: impl FnOnce(&mut Held) -> T) -> T {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let result = change(&mut held);
        self.held_bytes.set(i64::try_from(held.all).unwrap_or(i64::MAX));
        result
    }
}

/// A part of the budget, given back when dropped.
pub(crate) struct Reservation {
    budget: Arc<MemoryBudget>,
    client: IpAddr,
    /// Changed under the budget's lock only.
    bytes: AtomicUsize,
    /// Whether it counts in the sum alone, and not in the client's share.
    shared: AtomicBool,
}

impl Reservation {
    /// Reserves `bytes` more.
    ///
    /// # Errors
    /// [`Exhausted`] says which bound was reached; nothing more is reserved then.
    pub fn grow(&self, bytes: usize) -> Result<(), Exhausted> {
        if self.is_shared() {
            let most = self.budget.bytes;
            return self.grow_within(bytes, |all, _| {
                if all > most {
                    Err(Exhausted::Server)
                } else {
                    Ok(())
                }
            });
        }
        self.grow_within(bytes, |all, own| self.budget.admit(all, own))
    }

    /// Reserves `bytes` in place of what it had.
    ///
    /// # Errors
    /// [`Exhausted`]; it is as before then. To reserve less never fails.
    pub fn resize(&self, bytes: usize) -> Result<(), Exhausted> {
        let before = self.bytes();
        if bytes > before {
            return self.grow(bytes - before);
        }
        self.budget.with_held(|held| self.release(held, before - bytes));
        Ok(())
    }

    /// From now on it counts in the sum of all clients alone. For the few requests that are larger than a client's
    /// share and have a bound of their own.
    pub fn leave_client_share(&self) {
        self.budget.with_held(|held| {
            if !self.shared.swap(true, Ordering::Relaxed) {
                held.remove_from_client(self.client, self.bytes());
            }
        });
    }

    /// Whether it counts in the sum of all clients alone.
    pub fn is_shared(&self) -> bool {
        self.shared.load(Ordering::Relaxed)
    }

    /// Counts that its request was rejected.
    pub fn count_rejection(&self, bound: Exhausted) {
        self.budget.count_rejection(bound);
    }

    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn grow_within(
        &self,
        bytes: usize,
        admit: impl FnOnce(usize, usize) -> Result<(), Exhausted>,
    ) -> Result<(), Exhausted> {
        self.budget.with_held(|held| {
            let own = held.by_client.get(&self.client).copied().unwrap_or(0);
            admit(held.all.saturating_add(bytes), own.saturating_add(bytes))?;
            if self.is_shared() {
                held.all = held.all.saturating_add(bytes);
            } else {
                held.add(self.client, bytes);
            }
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(())
        })
    }

    fn release(&self, held: &mut Held, bytes: usize) {
        if self.is_shared() {
            held.all = held.all.saturating_sub(bytes);
        } else {
            held.remove(self.client, bytes);
        }
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.with_held(|held| self.release(held, self.bytes()));
    }
}

/// The most that all clients of the control plane together can make it hold over idle, whatever they send and
/// however little they read: the budget with its rejections, what each connection buffers outside of it, and the
/// work in hand.
#[cfg(test)]
fn worst_case_bytes(limits: &ControlLimits, connections: usize, streams: usize) -> usize {
    let budget = limits.held_bytes + limits.held_bytes / REJECTIONS_PART;
    budget + connections * (CONNECTION_BYTES + streams * STREAM_BYTES) + WORK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_server::{Bounds, STREAMS_MAX};

    const KIB: usize = 1 << 10;

    fn budget(bytes: usize, bytes_per_client: usize) -> Arc<MemoryBudget> {
        let limits = ControlLimits {
            held_bytes: bytes,
            held_bytes_per_client: bytes_per_client,
            ..ControlLimits::default()
        };
        MemoryBudget::new(&limits).unwrap()
    }

    fn client(last: u16) -> IpAddr {
        IpAddr::from([0x2001, 0xdb8, 0, last, 0, 0, 0, 1])
    }

    #[test]
    fn worst_case_of_all_bounds_is_below_512_mib() {
        let streams = usize::try_from(STREAMS_MAX).unwrap();
        let worst = worst_case_bytes(&ControlLimits::default(), Bounds::default().connections, streams);
        assert!(worst <= 512 << 20, "{} MiB", worst >> 20);
    }

    #[test]
    fn reservations_are_given_back_whole() {
        let budget = budget(1_024 * KIB, 64 * KIB);
        let one = budget.reserve(client(1), 10 * KIB).unwrap();
        one.grow(KIB).unwrap();
        one.resize(20 * KIB).unwrap();
        one.resize(4 * KIB).unwrap();
        let other = budget.reserve(client(2), KIB).unwrap();
        other.leave_client_share();
        other.grow(100 * KIB).unwrap();
        assert_eq!(budget.with_held(|held| held.all), 105 * KIB);
        drop((one, other));
        assert_eq!(budget.with_held(|held| (held.all, held.by_client.len())), (0, 0));
        assert_eq!(budget.held_bytes.get(), 0);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_share_one_share() {
        let budget = budget(1_024 * KIB, 64 * KIB);
        let _one = budget.reserve("2001:db8::1".parse().unwrap(), 40 * KIB).unwrap();
        let neighbour = budget.reserve("2001:db8::ffff:1".parse().unwrap(), 40 * KIB);
        assert_eq!(neighbour.err(), Some(Exhausted::Client));
        let stranger = budget.reserve("2001:db8:0:1::1".parse().unwrap(), 40 * KIB);
        assert!(stranger.is_ok());
    }

    #[test]
    fn many_greedy_clients_leave_room_for_a_small_request() {
        let budget = budget(1_024 * KIB, 256 * KIB);
        let mut held = Vec::new();
        for at in 0..8 {
            while let Ok(more) = budget.reserve(client(at), 4 * KIB) {
                held.push(more);
            }
        }
        assert!(budget.reserve(client(99), 12 * KIB).is_ok());
        assert_eq!(budget.reserve(client(0), 4 * KIB).err(), Some(Exhausted::Server));
    }

    #[test]
    fn rejections_have_room_on_top_and_an_end() {
        let budget = budget(1_024 * KIB, 64 * KIB);
        let full = budget.reserve(client(1), 64 * KIB).unwrap();
        let mut rejections = Vec::new();
        while let Ok(rejection) = budget.reserve_rejection(client(1)) {
            rejections.push(rejection);
        }
        assert_eq!(rejections.len(), 64 * KIB / REJECTIONS_PART / REJECTION_BYTES);
        drop((full, rejections));
        assert_eq!(budget.held_bytes.get(), 0);
    }
}
