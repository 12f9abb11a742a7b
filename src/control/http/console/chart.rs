//! The chart of requests by decision, as SVG that the server renders: without script or inline style.

use askama::Template;
use askama::filters::HtmlSafe;

use super::components::exact;
use crate::domain::time::UnixSeconds;
use crate::model::traffic::SpanTraffic;
use crate::report::Verdict;

/// Bars of a day, half an hour each.
const BARS: u64 = 48;
const BAR_S: u64 = 1_800;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 150;
/// Space below the bars for the hours, and left of them for the scale.
const BELOW: u64 = 20;
const LEFT: u64 = 44;

#[derive(Template)]
#[template(path = "parts/chart.html")]
pub(crate) struct Chart {
    pub total: Counts,
    summary: String,
    bars: Vec<Bar>,
    top: u64,
    middle: u64,
    hours: Vec<(u64, String)>,
    table: Vec<(String, Counts)>,
}

impl HtmlSafe for Chart {}

/// Requests by verdict.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub allow: u64,
    pub deny: u64,
    pub would_deny: u64,
}

impl Counts {
    fn add(&mut self, verdict: Verdict, requests: u64) {
        let count = match verdict {
            Verdict::Allow => &mut self.allow,
            Verdict::Deny => &mut self.deny,
            Verdict::WouldDeny => &mut self.would_deny,
        };
        *count = count.saturating_add(requests);
    }

    fn sum(self) -> u64 {
        self.allow
            .saturating_add(self.deny)
            .saturating_add(self.would_deny)
    }
}

/// Part of a bar.
struct Bar {
    class: &'static str,
    x: u64,
    y: u64,
    height: u64,
}

impl Chart {
    /// The day before `now`.
    pub fn of_day(traffic: &[SpanTraffic], now: UnixSeconds) -> Self {
        let last = now.0 / BAR_S;
        let first = last.saturating_sub(BARS - 1);
        let mut counts = vec![Counts::default(); usize::try_from(BARS).unwrap_or_default()];
        for span in traffic {
            let at = (span.begins.0 / BAR_S)
                .checked_sub(first)
                .and_then(|at| usize::try_from(at).ok());
            if let Some(counts) = at.and_then(|at| counts.get_mut(at)) {
                counts.add(span.verdict, span.requests);
            }
        }
        let mut total = Counts::default();
        for counts in &counts {
            total.add(Verdict::Allow, counts.allow);
            total.add(Verdict::Deny, counts.deny);
            total.add(Verdict::WouldDeny, counts.would_deny);
        }
        let top = round_up(counts.iter().map(|counts| counts.sum()).max().unwrap_or_default());
        let hour = |bar: u64| {
            exact(UnixSeconds(bar * BAR_S))
                .get(11..16)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            summary: format!(
                "Requests of the last 24 hours, per half hour: {} allowed, {} denied, {} would be denied.",
                total.allow, total.deny, total.would_deny
            ),
            total,
            bars: (0..)
                .zip(&counts)
                .flat_map(|(at, counts)| bars(at, *counts, top))
                .collect(),
            top,
            middle: top / 2,
            hours: (0..BARS)
                .filter(|at| (first + at).is_multiple_of(8))
                .map(|at| (x(at), hour(first + at)))
                .collect(),
            table: (0..)
                .zip(&counts)
                .filter(|(_, counts)| counts.sum() > 0)
                .map(|(at, counts)| (hour(first + at), *counts))
                .collect(),
        }
    }
}

fn x(at: u64) -> u64 {
    LEFT + at * (WIDTH - LEFT) / BARS
}

/// One bar: allowed at the bottom, denied on top.
fn bars(at: u64, counts: Counts, top: u64) -> Vec<Bar> {
    let room = HEIGHT - BELOW;
    let parts = [
        ("allow", counts.allow),
        ("would", counts.would_deny),
        ("deny", counts.deny),
    ];
    let mut floor = room;
    let mut bars = Vec::new();
    for (class, count) in parts.into_iter().filter(|(_, count)| *count > 0) {
        // A few among many stay visible.
        let height = (u128::from(count) * u128::from(room) / u128::from(top.max(1))).max(2);
        let height = u64::try_from(height).unwrap_or(room).min(floor);
        floor -= height;
        bars.push(Bar {
            class,
            x: x(at),
            y: floor,
            height,
        });
    }
    bars
}

/// The next round number, for the top of the scale.
fn round_up(most: u64) -> u64 {
    let mut step: u64 = 1;
    loop {
        for nice in [2, 4, 10] {
            let top = step.saturating_mul(nice);
            if top >= most || top == u64::MAX {
                return top;
            }
        }
        step = step.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_a_round_number() {
        for (most, top) in [
            (0, 2),
            (2, 2),
            (3, 4),
            (5, 10),
            (11, 20),
            (399, 400),
            (401, 1_000),
            (u64::MAX, u64::MAX),
        ] {
            assert_eq!(round_up(most), top);
        }
    }

    #[test]
    fn chart_draws_the_counts_of_the_day_only() {
        let now = UnixSeconds(100 * 86_400);
        let span = |begins, verdict, requests| SpanTraffic {
            begins: UnixSeconds(begins),
            verdict,
            requests,
        };
        let traffic = [
            span(now.0 - 600, Verdict::Allow, 7),
            span(now.0 - 600, Verdict::Deny, 1),
            span(now.0 - 90_000, Verdict::Allow, 1_000),
        ];
        let chart = Chart::of_day(&traffic, now);
        assert_eq!(
            (chart.total.allow, chart.total.deny, chart.total.would_deny),
            (7, 1, 0)
        );
        assert_eq!(chart.bars.len(), 2);
        assert!(chart.bars.iter().all(|bar| bar.y + bar.height <= HEIGHT - BELOW));
        let html = chart.render().unwrap();
        assert!(
            html.contains("7 allowed, 1 denied") && !html.contains("style="),
            "{html}"
        );
    }
}
