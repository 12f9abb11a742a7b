//! What a connection is doing, as one atomic word: requests change it without taking a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a connection is doing. Times are milliseconds of the limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// No part of a request has arrived since then.
    Idle(u64),
    /// The head of a request has been arriving since then.
    Head(u64),
    /// So many requests are being served. Once the eviction order has met such a connection, it no longer ranks
    /// it; the connection then takes its rank again when its last request ends.
    Serving { requests: u64, is_ranked: bool },
    /// It is being closed to make room; no request may begin.
    Evicted,
}

impl Phase {
    const fn pack(self) -> u64 {
        match self {
            Self::Idle(since) => since << 2,
            Self::Head(since) => since << 2 | 1,
            Self::Serving { requests, is_ranked } => requests << 3 | (is_ranked as u64) << 2 | 2,
            Self::Evicted => 3,
        }
    }

    const fn unpack(word: u64) -> Self {
        match word & 3 {
            0 => Self::Idle(word >> 2),
            1 => Self::Head(word >> 2),
            2 => Self::Serving {
                requests: word >> 3,
                is_ranked: word & 4 != 0,
            },
            _ => Self::Evicted,
        }
    }
}

/// What the eviction order found when it looked at a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Eviction {
    /// It was idle for long enough and is evicted now.
    Evicted,
    /// It has been idle only since this later time.
    IdleSince(u64),
    /// A request is being served.
    Serving,
}

/// What a connection needs of the limiter that it counts in.
pub(super) trait Ranking: Send + Sync {
    /// Milliseconds since the limiter began.
    fn now(&self) -> u64;

    /// Ranks a connection for eviction again, whose requests have ended.
    fn rank_again(&self, id: u64);
}

/// An open connection, shared by its task and the limiter.
pub struct Connection {
    limiter: Arc<dyn Ranking>,
    id: u64,
    phase: AtomicU64,
    ends_by_itself: AtomicBool,
}

impl Connection {
    pub(super) fn new(limiter: Arc<dyn Ranking>, id: u64, now: u64) -> Arc<Self> {
        Arc::new(Self {
            limiter,
            id,
            phase: AtomicU64::new(Phase::Idle(now).pack()),
            ends_by_itself: AtomicBool::new(false),
        })
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn phase(&self) -> Phase {
        Phase::unpack(self.phase.load(Ordering::Acquire))
    }

    /// Goes to the phase that `next` names, and returns the phase before; `Err` with it where `next` names none.
    fn change(&self, next: impl Fn(Phase) -> Option<Phase>) -> Result<Phase, Phase> {
        self.phase
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
                next(Phase::unpack(word)).map(Phase::pack)
            })
            .map(Phase::unpack)
            .map_err(Phase::unpack)
    }

    /// Notes that the first byte of a request's head has arrived: the connection is no longer idle, and may still be
    /// evicted.
    pub fn head_began(&self) {
        let now = self.limiter.now();
        let _ = self.change(|phase| matches!(phase, Phase::Idle(_)).then_some(Phase::Head(now)));
    }

    /// Begins a request, which protects the connection from eviction until the value is dropped. `None` where the
    /// connection has just been evicted: the request must not be served.
    #[must_use]
    pub fn begin_request(self: &Arc<Self>) -> Option<ActiveRequest> {
        let begun = self.change(|phase| match phase {
            Phase::Idle(_) | Phase::Head(_) => Some(Phase::Serving {
                requests: 1,
                is_ranked: true,
            }),
            Phase::Serving { requests, is_ranked } => Some(Phase::Serving {
                requests: requests + 1,
                is_ranked,
            }),
            Phase::Evicted => None,
        });
        begun.is_ok().then(|| ActiveRequest(Arc::clone(self)))
    }

    fn end_request(&self) {
        let now = self.limiter.now();
        let before = self.change(|phase| match phase {
            Phase::Serving { requests: 0 | 1, .. } => Some(Phase::Idle(now)),
            Phase::Serving { requests, is_ranked } => Some(Phase::Serving {
                requests: requests - 1,
                is_ranked,
            }),
            Phase::Idle(_) | Phase::Head(_) | Phase::Evicted => None,
        });
        if let Ok(Phase::Serving {
            requests: 0 | 1,
            is_ranked: false,
        }) = before
        {
            self.limiter.rank_again(self.id);
        }
    }

    /// Evicts the connection if it has been idle, or its head unfinished, since `key` or before. Called with the
    /// eviction order locked.
    pub(super) fn evict_if_idle_since(&self, key: u64) -> Eviction {
        let looked = self.change(|phase| match phase {
            Phase::Idle(since) | Phase::Head(since) if since <= key => Some(Phase::Evicted),
            Phase::Serving { requests, .. } => Some(Phase::Serving {
                requests,
                is_ranked: false,
            }),
            Phase::Idle(_) | Phase::Head(_) | Phase::Evicted => None,
        });
        match looked {
            Ok(Phase::Idle(_) | Phase::Head(_)) => Eviction::Evicted,
            Err(Phase::Idle(since) | Phase::Head(since)) => Eviction::IdleSince(since),
            _ => Eviction::Serving,
        }
    }

    /// How long no request has been served; `None` while one is.
    #[must_use]
    pub fn idle_for(&self) -> Option<Duration> {
        match self.phase() {
            Phase::Idle(since) | Phase::Head(since) => {
                Some(Duration::from_millis(self.limiter.now().saturating_sub(since)))
            }
            Phase::Serving { .. } => None,
            Phase::Evicted => Some(Duration::MAX),
        }
    }

    /// From now on a drain lets the connection end on its own, as an HTTP/2 one does after `GOAWAY`.
    pub fn ends_by_itself(&self) {
        self.ends_by_itself.store(true, Ordering::Relaxed);
    }

    /// Since when a drain may count the connection as idle; `None` where it must not end it.
    pub(super) fn drainable_since(&self) -> Option<u64> {
        match self.phase() {
            Phase::Idle(since) if !self.ends_by_itself.load(Ordering::Relaxed) => Some(since),
            _ => None,
        }
    }
}

/// A request that is being served; its connection is not evicted before this is dropped.
pub struct ActiveRequest(Arc<Connection>);

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

#[cfg(test)]
mod tests {
    use super::Phase;

    #[test]
    fn phases_survive_packing() {
        for phase in [
            Phase::Idle(0),
            Phase::Idle(u64::MAX >> 2),
            Phase::Head(1),
            Phase::Serving {
                requests: 1,
                is_ranked: true,
            },
            Phase::Serving {
                requests: 1 << 40,
                is_ranked: false,
            },
            Phase::Evicted,
        ] {
            assert_eq!(Phase::unpack(phase.pack()), phase);
        }
    }
}
