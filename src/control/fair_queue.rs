//! A fair queue: clients are served in turn, however many places one of them requests.
//!
//! A waiter has a path of names, from wide to narrow: networks around an address, or a workspace and an account.
//! Turns rotate among the widest groups, within each of them among the next narrower ones, and so on. A full group
//! makes room by removing a waiter from its subgroup with the most waiters.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::domain::digest::sha256;
use crate::domain::network::blocks;

/// The names of a waiter, from the widest group to the narrowest. Each is unique within its group.
pub type Path = Vec<u128>;

/// A text as a name in a [`Path`].
#[must_use]
pub fn name(text: &str) -> u128 {
    let digest = sha256(text.as_bytes());
    digest
        .first_chunk()
        .map_or(0, |first: &[u8; 16]| u128::from_be_bytes(*first))
}

/// The networks around an address as a [`Path`].
#[must_use]
pub fn networks(address: IpAddr) -> Path {
    let bits = |block: IpAddr| match block {
        IpAddr::V4(block) => block.to_ipv6_mapped().to_bits(),
        IpAddr::V6(block) => block.to_bits(),
    };
    blocks(address).map(bits).to_vec()
}

/// A group of waiters.
struct Group<T> {
    name: u128,
    /// How many wait in this group and in all its subgroups.
    waiting: usize,
    /// Subgroups; the first has the next turn.
    groups: VecDeque<Group<T>>,
    /// The waiters directly in this group, oldest first, each with its number.
    items: VecDeque<(u64, T)>,
}

impl<T> Group<T> {
    const fn new(name: u128) -> Self {
        Self {
            name,
            waiting: 0,
            groups: VecDeque::new(),
            items: VecDeque::new(),
        }
    }

    fn below(&mut self, name: u128) -> Option<&mut Self> {
        self.groups.iter_mut().find(|group| group.name == name)
    }

    fn push(&mut self, path: &[u128], id: u64, item: T) {
        self.waiting += 1;
        let Some((name, rest)) = path.split_first() else {
            self.items.push_back((id, item));
            return;
        };
        if let Some(group) = self.below(*name) {
            group.push(rest, id, item);
        } else {
            let mut group = Self::new(*name);
            group.push(rest, id, item);
            self.groups.push_back(group);
        }
    }

    /// Takes the waiter with the next turn. Its groups move to the end of the order.
    fn pop(&mut self) -> Option<T> {
        let item = if let Some((_, item)) = self.items.pop_front() {
            item
        } else {
            let mut group = self.groups.pop_front()?;
            let item = group.pop();
            if group.waiting > 0 {
                self.groups.push_back(group);
            }
            item?
        };
        self.waiting -= 1;
        Some(item)
    }

    fn remove(&mut self, path: &[u128], id: u64) -> Option<T> {
        let removed = match path.split_first() {
            None => {
                let at = self.items.iter().position(|(held, _)| *held == id)?;
                self.items.remove(at).map(|(_, item)| item)?
            }
            Some((name, rest)) => self.below(*name)?.remove(rest, id)?,
        };
        self.waiting -= 1;
        self.groups.retain(|group| group.waiting > 0);
        Some(removed)
    }

    /// Removes the newest waiter of the subgroup with the most waiters, the newcomer included. `None` if that is the
    /// newcomer.
    fn displace(&mut self, newcomer: Option<&[u128]>) -> Option<T> {
        let own = newcomer.and_then(<[u128]>::split_first);
        if newcomer.is_some() && own.is_none() {
            // All waiters here have the same path as the newcomer: first come, first served.
            return None;
        }
        let displaced = if let Some((_, item)) = self.items.pop_back() {
            item
        } else {
            let is_own = |group: &Self| own.is_some_and(|(name, _)| *name == group.name);
            // If subgroups have equally many, the newcomer's loses.
            let weight = |group: &Self| (group.waiting + usize::from(is_own(group)), is_own(group));
            let heaviest = self.groups.iter_mut().max_by_key(|group| weight(group))?;
            if own.is_some() && weight(heaviest) <= (1, false) {
                return None;
            }
            let rest = own.filter(|_| is_own(heaviest)).map(|(_, rest)| rest);
            heaviest.displace(rest)?
        };
        self.waiting -= 1;
        self.groups.retain(|group| group.waiting > 0);
        Some(displaced)
    }
}

/// The waiters, with a limit at each level: `places` in all, then in one group of each width.
struct Waiting<T> {
    all: Group<T>,
    places: &'static [usize],
}

impl<T> Waiting<T> {
    const fn new(places: &'static [usize]) -> Self {
        Self {
            all: Group::new(0),
            places,
        }
    }

    /// Adds a waiter. Returns the waiter that it displaced.
    ///
    /// # Errors
    /// [`Full`] if no network or account has more waiters than the newcomer's.
    fn offer(&mut self, path: &[u128], id: u64, item: T) -> Result<Option<T>, Full> {
        let displaced = match self.full_level(path) {
            None => None,
            Some(level) => Some(self.displace(path, level).ok_or(Full)?),
        };
        self.all.push(path, id, item);
        Ok(displaced)
    }

    /// The narrowest group on the path that is full, by the number of names that lead to it.
    fn full_level(&self, path: &[u128]) -> Option<usize> {
        let mut group = Some(&self.all);
        let mut full = None;
        for (level, places) in self.places.iter().enumerate() {
            let Some(held) = group else { break };
            if held.waiting >= *places {
                full = Some(level);
            }
            let Some(name) = path.get(level) else { break };
            group = held.groups.iter().find(|below| below.name == *name);
        }
        full
    }

    fn displace(&mut self, path: &[u128], level: usize) -> Option<T> {
        fn within<T>(group: &mut Group<T>, path: &[u128], level: usize) -> Option<T> {
            let Some((name, rest)) = path.split_first().filter(|_| level > 0) else {
                return group.displace(Some(path));
            };
            let displaced = within(group.below(*name)?, rest, level - 1)?;
            group.waiting -= 1;
            group.groups.retain(|below| below.waiting > 0);
            Some(displaced)
        }
        within(&mut self.all, path, level)
    }
}

/// The queue has no place for the waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The place of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Waiters that proved an earlier sign-in.
    Known,
    /// All others.
    Open,
}

/// Limits how many run at the same time; the others wait their turn.
pub struct Turns(Arc<Mutex<State>>);

struct State {
    at_once: usize,
    /// How many run now. Nobody waits while this is less than `at_once`.
    taken: usize,
    known: Waiting<oneshot::Sender<Turn>>,
    open: Waiting<oneshot::Sender<Turn>>,
    is_known_next: bool,
    next_id: u64,
}

impl State {
    const fn lane(&mut self, lane: Lane) -> &mut Waiting<oneshot::Sender<Turn>> {
        match lane {
            Lane::Known => &mut self.known,
            Lane::Open => &mut self.open,
        }
    }

    /// The next waiter: the lanes alternate while both have waiters.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        self.is_known_next = !self.is_known_next;
        let (first, second) = if self.is_known_next {
            (&mut self.known, &mut self.open)
        } else {
            (&mut self.open, &mut self.known)
        };
        first.all.pop().or_else(|| second.all.pop())
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // No code panics between two changes that belong together.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Permission to run now. When it is dropped, the next waiter gets it.
pub struct Turn(Option<Arc<Mutex<State>>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        let mut state = lock(&shared);
        while let Some(next) = state.next() {
            match next.send(Self(Some(Arc::clone(&shared)))) {
                Ok(()) => return,
                // This waiter has left. Do not drop its turn here, because the lock is held.
                Err(mut turn) => turn.0 = None,
            }
        }
        state.taken -= 1;
    }
}

/// A waiter. Its place is free when this is dropped.
struct Place<'t> {
    turns: &'t Turns,
    lane: Lane,
    path: Path,
    id: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let removed = {
            let mut state = lock(&self.turns.0);
            state.lane(self.lane).all.remove(&self.path, self.id)
        };
        drop(removed);
    }
}

impl Turns {
    /// Lets `at_once` run at the same time. `known` and `open` limit the waiters of each lane: in all, then in one group
    /// of each width.
    pub fn new(at_once: usize, known: &'static [usize], open: &'static [usize]) -> Self {
        Self(Arc::new(Mutex::new(State {
            at_once,
            taken: 0,
            known: Waiting::new(known),
            open: Waiting::new(open),
            is_known_next: false,
            next_id: 0,
        })))
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Full`] if the queue is full, or a waiter from a less busy network or account took the place.
    pub async fn take(&self, lane: Lane, path: Path) -> Result<Turn, Full> {
        let (place, receiver) = {
            let mut state = lock(&self.0);
            if state.taken < state.at_once {
                state.taken += 1;
                return Ok(Turn(Some(Arc::clone(&self.0))));
            }
            let (sender, receiver) = oneshot::channel();
            let id = state.next_id;
            state.next_id += 1;
            drop(state.lane(lane).offer(&path, id, sender)?);
            let place = Place {
                turns: self,
                lane,
                path,
                id,
            };
            (place, receiver)
        };
        let turn = receiver.await.map_err(|_| Full);
        drop(place);
        turn
    }

    /// Whether nobody waits and nobody runs.
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        let state = lock(&self.0);
        state.taken == 0 && state.known.all.waiting + state.open.all.waiting == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(places: &'static [usize]) -> Waiting<&'static str> {
        Waiting::new(places)
    }

    fn served(queue: &mut Waiting<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.all.pop()).collect()
    }

    #[test]
    fn turns_rotate_by_network_and_not_by_arrival() {
        let mut queue = queue(&[100]);
        for (at, item) in ["a1", "a2", "a3", "a4"].into_iter().enumerate() {
            queue.offer(&[1, at as u128], at as u64, item).unwrap();
        }
        queue.offer(&[2, 0], 10, "b1").unwrap();
        queue.offer(&[2, 1], 11, "b2").unwrap();
        queue.offer(&[2, 0], 12, "b3").unwrap();
        queue.offer(&[3, 0], 13, "c1").unwrap();
        assert_eq!(
            served(&mut queue),
            ["a1", "b1", "c1", "a2", "b2", "a3", "b3", "a4"]
        );
        assert_eq!((queue.all.waiting, queue.all.groups.len()), (0, 0));
    }

    #[test]
    fn full_queue_displaces_the_network_with_most_waiting() {
        let mut queue = queue(&[4]);
        for (id, item) in [(0, "a1"), (1, "a2"), (2, "a3")] {
            assert_eq!(queue.offer(&[1, u128::from(id)], id, item), Ok(None));
        }
        assert_eq!(queue.offer(&[2, 0], 3, "b1"), Ok(None));
        // The network with three waiters loses, no matter which one the newcomer is from.
        assert_eq!(queue.offer(&[1, 9], 4, "a4"), Err(Full));
        assert_eq!(queue.offer(&[3, 0], 5, "c1"), Ok(Some("a3")));
        assert_eq!(queue.offer(&[4, 0], 6, "d1"), Ok(Some("a2")));
        // Now each has one waiter: none has more than the newcomer's would have.
        assert_eq!(queue.offer(&[5, 0], 7, "e1"), Err(Full));
        assert_eq!(queue.offer(&[2, 0], 8, "b2"), Err(Full));
        assert_eq!(served(&mut queue), ["a1", "b1", "c1", "d1"]);
    }

    #[test]
    fn quiet_address_displaces_a_busy_neighbour() {
        let mut queue = queue(&[8, 3, 3]);
        for (id, item) in [(0, "a1"), (1, "a2"), (2, "a3")] {
            queue.offer(&[1, 7], id, item).unwrap();
        }
        // The wide group is full. Only its own busy subgroup loses a waiter to a newcomer in it.
        assert_eq!(queue.offer(&[1, 8], 3, "n1"), Ok(Some("a3")));
        assert_eq!(queue.offer(&[1, 7], 4, "a4"), Err(Full));
        assert_eq!(queue.offer(&[2, 0], 5, "other"), Ok(None));
        assert_eq!(served(&mut queue), ["a1", "other", "n1", "a2"]);
    }

    #[test]
    fn place_of_who_left_is_free() {
        let mut queue = queue(&[2, 2, 1]);
        queue.offer(&[1, 1], 0, "gone").unwrap();
        assert_eq!(queue.offer(&[1, 1], 1, "next"), Err(Full));
        assert_eq!(queue.all.remove(&[1, 1], 0), Some("gone"));
        assert_eq!(queue.all.remove(&[1, 1], 0), None);
        assert_eq!(queue.offer(&[1, 1], 2, "next"), Ok(None));
        assert_eq!(served(&mut queue), ["next"]);
    }

    #[tokio::test]
    async fn lanes_alternate_and_cancelled_turns_go_on() {
        let turns = Arc::new(Turns::new(1, &[8], &[8]));
        let first = turns.take(Lane::Open, vec![1]).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for (lane, item) in [
            (Lane::Open, "open 1"),
            (Lane::Open, "open 2"),
            (Lane::Open, "cancelled"),
            (Lane::Open, "open 3"),
            (Lane::Known, "known 1"),
            (Lane::Known, "known 2"),
        ] {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            let before = lock(&turns.0).next_id;
            let counted = Arc::clone(&turns);
            waiting.push(tokio::spawn(async move {
                let _turn = turns.take(lane, vec![1]).await.unwrap();
                order.lock().unwrap().push(item);
            }));
            while lock(&counted.0).next_id == before {
                tokio::task::yield_now().await;
            }
        }
        waiting.remove(2).abort();
        while lock(&turns.0).open.all.waiting > 3 {
            tokio::task::yield_now().await;
        }
        drop(first);
        for task in waiting {
            task.await.unwrap();
        }
        assert_eq!(
            *order.lock().unwrap(),
            ["known 1", "open 1", "known 2", "open 2", "open 3"]
        );
        assert!(turns.is_idle());
    }

    #[tokio::test]
    async fn turn_sent_to_who_left_goes_to_the_next() {
        let turns = Turns::new(1, &[8], &[8]);
        let first = turns.take(Lane::Open, vec![1]).await.unwrap();
        let mut leaves = Box::pin(turns.take(Lane::Open, vec![1]));
        let mut stays = Box::pin(turns.take(Lane::Open, vec![1]));
        assert!(futures::poll!(&mut leaves).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        // The waiter has got its turn, but is never polled again.
        drop(first);
        drop(leaves);
        drop(stays.await.unwrap());
        assert!(turns.is_idle());
    }
}
