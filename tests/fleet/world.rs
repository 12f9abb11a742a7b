//! One simulated fleet: a database, a control plane and its edges, in steps of ten milliseconds.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use portcullis::fleet::account::Account;
use portcullis::fleet::lease::{Proof, Question, beat_every, current_until};
use portcullis::fleet::position::{PolicyChain, Position};

const STEP_MS: u64 = 10;
const RUN_MS: u64 = 40_000;
const EDGES: usize = 4;
const MAX_AGE: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long an edge waits for the answer to a beat.
const ANSWER_WITHIN_MS: u64 = 10_000;

/// How an edge concludes from an answer that it is current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The product's rule.
    Proposed,
    CountedFromArrival,
    WithoutAge,
    RenewedWhileBehind,
    /// The answer is compared with what is in force when it arrives, and not with what the beat named.
    ByThePositionInForce,
}

/// What must not happen.
#[derive(Clone, Copy)]
pub enum Violation {
    /// An edge accepted by an older version later than the bound after the commit.
    Late { edge: usize, after_ms: u64 },
    /// An edge accepted by an older version after the control plane had said that none does.
    Incomplete {
        edge: usize,
        version: u64,
        in_force: u64,
    },
}

impl Violation {
    pub const fn is_late(&self) -> bool {
        matches!(self, Self::Late { .. })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { edge, after_ms } => {
                write!(
                    f,
                    "edge {edge} accepts by an older version {after_ms} ms after a commit"
                )
            }
            Self::Incomplete {
                edge,
                version,
                in_force,
            } => {
                write!(
                    f,
                    "edge {edge} accepts by version {in_force}, and {version} is complete"
                )
            }
        }
    }
}

/// Pseudo-random numbers, the same for a seed on every machine.
struct Random(u64);

impl Random {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    const fn in_a_thousand(&mut self, chance: u64) -> bool {
        self.below(1_000) < chance
    }

    /// How long a message takes, or none if it is lost.
    const fn delay(&mut self) -> Option<u64> {
        match self.below(100) {
            0..5 => None,
            5..15 => Some(self.below(8_000)),
            _ => Some(1 + self.below(40)),
        }
    }
}

/// A clock that runs up to half a per cent too fast or too slow.
#[derive(Clone, Copy)]
struct Drifting {
    rate: u64,
    offset_ms: u64,
}

impl Drifting {
    const fn new(random: &mut Random) -> Self {
        Self {
            rate: 995 + random.below(11),
            offset_ms: random.below(1_000_000),
        }
    }

    const fn shows(self, at_ms: u64) -> Duration {
        Duration::from_micros(self.offset_ms * 1_000 + at_ms * self.rate)
    }
}

fn position(version: u64) -> Position {
    let chain = PolicyChain::EMPTY.after(version, "[]");
    Position { version, chain }
}

/// A beat that the control plane has not seen yet, or its answer that the edge has not seen yet.
#[derive(Clone, Copy)]
struct Message {
    arrives_ms: u64,
    instance: u64,
    question: Question,
    /// Newest version and age.
    answer: Option<(u64, Duration)>,
}

struct Edge {
    clock: Drifting,
    instance: u64,
    version: u64,
    current_until: Duration,
    /// Changes on the stream, in order: when each arrives.
    stream: VecDeque<(u64, u64)>,
    sent_to: u64,
    /// When the beat in flight is given up.
    waits_until_ms: Option<u64>,
    next_beat_ms: u64,
    is_due: bool,
    cut_until_ms: u64,
    messages: Vec<Message>,
    account: Account,
}

pub struct World {
    random: Random,
    rule: Rule,
    now_ms: u64,
    /// When each version was committed; version 1 first.
    commits: Vec<u64>,
    clock: Drifting,
    /// The newest version that the control plane knows, and when it asked.
    known: (u64, Duration),
    database_cut_until_ms: u64,
    edges: Vec<Edge>,
    instances: u64,
    /// The newest version of which the control plane said that no edge accepts by an older one.
    complete: u64,
}

impl World {
    pub fn new(seed: u64, rule: Rule) -> Self {
        let mut random = Random(seed);
        let clock = Drifting::new(&mut random);
        let edges = (0..EDGES as u64)
            .map(|at| Edge::new(at + 1, &mut random, clock))
            .collect();
        Self {
            random,
            rule,
            now_ms: 0,
            commits: Vec::new(),
            clock,
            known: (0, clock.shows(0)),
            database_cut_until_ms: 0,
            edges,
            instances: EDGES as u64,
            complete: 0,
        }
    }

    /// Runs to the end, or to the first violation.
    pub fn run(mut self) -> Option<Violation> {
        while self.now_ms < RUN_MS {
            self.now_ms += STEP_MS;
            self.commit_and_poll();
            for at in 0..self.edges.len() {
                self.step_edge(at);
            }
            self.conclude();
            if let Some(violation) = self.violation() {
                return Some(violation);
            }
        }
        None
    }

    fn commit_and_poll(&mut self) {
        if self.random.in_a_thousand(8) {
            self.commits.push(self.now_ms);
        }
        if self.random.in_a_thousand(2) {
            self.database_cut_until_ms = self.now_ms + self.random.below(9_000);
        }
        if self.now_ms >= self.database_cut_until_ms && self.random.in_a_thousand(300) {
            self.known = (self.commits.len() as u64, self.clock.shows(self.now_ms));
        }
    }

    fn step_edge(&mut self, at: usize) {
        let (now, known, clock) = (self.now_ms, self.known, self.clock);
        let (rule, random) = (self.rule, &mut self.random);
        let Some(edge) = self.edges.get_mut(at) else {
            return;
        };
        if random.in_a_thousand(1) {
            edge.cut_until_ms = now + random.below(12_000);
        }
        // A crash: another process starts from the disk, with the lease that was there.
        if random.in_a_thousand(1) {
            self.instances += 1;
            edge.restart(self.instances);
        }
        let is_cut = now < edge.cut_until_ms;
        while edge.sent_to < known.0 {
            edge.sent_to += 1;
            let delay = random.delay().unwrap_or(3_000);
            let last = edge.stream.back().map_or(0, |(_, arrives)| *arrives);
            edge.stream.push_back((edge.sent_to, last.max(now + delay)));
        }
        while let Some((version, arrives)) = edge.stream.front().copied()
            && arrives <= now
            && !is_cut
        {
            edge.stream.pop_front();
            edge.version = version;
            edge.is_due = true;
        }
        edge.take_messages(now, is_cut, known, clock, rule, random);
        edge.beat(now, is_cut, random);
    }

    /// What `wait=edges` would say.
    fn conclude(&mut self) {
        let now = self.clock.shows(self.now_ms);
        let newest = self.known.0;
        let accounts = self.edges.iter().map(|edge| edge.account);
        let complete = (self.complete..=newest).rev().find(|version| {
            accounts
                .clone()
                .all(|account| !account.may_accept_before(*version, now))
        });
        self.complete = complete.unwrap_or(self.complete);
    }

    fn violation(&self) -> Option<Violation> {
        for (at, edge) in self.edges.iter().enumerate() {
            if edge.clock.shows(self.now_ms) >= edge.current_until {
                continue;
            }
            if edge.version < self.complete {
                return Some(Violation::Incomplete {
                    edge: at,
                    version: self.complete,
                    in_force: edge.version,
                });
            }
            let Some(committed) = self.commits.get(usize::try_from(edge.version).ok()?) else {
                continue;
            };
            let after_ms = self.now_ms - committed;
            let bound = MAX_AGE + MAX_AGE / 100;
            if Duration::from_millis(after_ms) > bound + Duration::from_millis(STEP_MS) {
                return Some(Violation::Late { edge: at, after_ms });
            }
        }
        None
    }
}

impl Edge {
    fn new(instance: u64, random: &mut Random, control: Drifting) -> Self {
        let clock = Drifting::new(random);
        Self {
            clock,
            instance,
            version: 0,
            current_until: Duration::ZERO,
            stream: VecDeque::new(),
            sent_to: 0,
            waits_until_ms: None,
            next_beat_ms: random.below(1_000),
            is_due: false,
            cut_until_ms: 0,
            messages: Vec::new(),
            account: Account {
                version: 0,
                lapses: control.shows(0),
            },
        }
    }

    /// The policy on disk is what was in force; what was acknowledged is never lost. The control plane goes on to count the
    /// process that died, whose lease the new one has.
    fn restart(&mut self, instance: u64) {
        self.instance = instance;
        self.stream.clear();
        self.sent_to = self.version;
        self.waits_until_ms = None;
    }

    fn take_messages(
        &mut self,
        now: u64,
        is_cut: bool,
        known: (u64, Duration),
        control: Drifting,
        rule: Rule,
        random: &mut Random,
    ) {
        let (arrived, waiting): (Vec<Message>, Vec<Message>) = self
            .messages
            .drain(..)
            .partition(|message| message.arrives_ms <= now);
        self.messages = waiting;
        for message in arrived {
            if is_cut {
                continue;
            }
            match message.answer {
                None => {
                    let shown = control.shows(now);
                    let named = Some(message.question.position);
                    self.account.heard(named, position(known.0), shown, MAX_AGE);
                    let age = shown.saturating_sub(known.1);
                    if let Some(delay) = random.delay() {
                        self.messages.push(Message {
                            arrives_ms: now + delay,
                            answer: Some((known.0, age)),
                            ..message
                        });
                    }
                }
                Some((newest, age)) if message.instance == self.instance => {
                    self.waits_until_ms = None;
                    self.conclude(message.question, newest, age, now, rule);
                }
                Some(_) => {}
            }
        }
    }

    fn conclude(&mut self, question: Question, newest: u64, age: Duration, now: u64, rule: Rule) {
        let proposed = |question: Question| match question.answered(position(newest), age, MAX_AGE) {
            Proof::CurrentUntil(until) => Some(until),
            _ => None,
        };
        let until = match rule {
            Rule::Proposed => proposed(question),
            Rule::ByThePositionInForce => proposed(Question {
                position: position(self.version),
                ..question
            }),
            Rule::CountedFromArrival => proposed(Question {
                sent: self.clock.shows(now),
                ..question
            }),
            Rule::WithoutAge => {
                proposed(question).map(|_| current_until(question.sent, Duration::ZERO, MAX_AGE))
            }
            Rule::RenewedWhileBehind => Some(current_until(question.sent, age, MAX_AGE)),
        };
        if let Some(until) = until {
            self.current_until = self.current_until.max(until);
        }
    }

    fn beat(&mut self, now: u64, is_cut: bool, random: &mut Random) {
        if now >= self.next_beat_ms {
            let every = beat_every(HEARTBEAT, MAX_AGE).as_millis();
            self.next_beat_ms = now + u64::try_from(every).unwrap();
            self.is_due = true;
        }
        if self.waits_until_ms.is_some_and(|until| now >= until) {
            self.waits_until_ms = None;
        }
        if !self.is_due || self.waits_until_ms.is_some() {
            return;
        }
        self.is_due = false;
        self.waits_until_ms = Some(now + ANSWER_WITHIN_MS);
        let question = Question {
            position: position(self.version),
            sent: self.clock.shows(now),
        };
        if let (false, Some(delay)) = (is_cut, random.delay()) {
            self.messages.push(Message {
                arrives_ms: now + delay,
                instance: self.instance,
                question,
                answer: None,
            });
        }
    }
}
