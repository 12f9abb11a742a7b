//! Writes down the checks of a decision, each with what it compared.

use smallvec::SmallVec;

use super::explanation::{CheckRecord, CheckResult, NamedSource};
use super::inputs::Inputs;
use crate::domain::checks::{Basis, Check, Observer};
use crate::domain::decision::DenyReason;
use crate::domain::ids::AppId;

/// Records the last decision that it watched. By default only one that has a reason against the request: an allowed
/// request then costs no copy of what it rests on.
#[derive(Default)]
pub struct Recorder {
    of_every_decision: bool,
    inputs: Option<Inputs>,
    results: SmallVec<[(Check, Result<(), DenyReason>); Check::ALL.len()]>,
}

impl Observer for Recorder {
    fn begin(&mut self, on: &Basis<'_, '_>) {
        self.inputs = self.of_every_decision.then(|| Inputs::of(on));
        self.results.clear();
    }

    fn checked(&mut self, on: &Basis<'_, '_>, check: Check, result: Result<(), DenyReason>) {
        self.results.push((check, result));
        if result.is_err() && self.inputs.is_none() {
            self.inputs = Some(Inputs::of(on));
        }
    }
}

impl Recorder {
    /// A recorder of allowed requests, too.
    #[must_use]
    pub fn of_every_decision() -> Self {
        Self {
            of_every_decision: true,
            ..Self::default()
        }
    }

    /// Every check in its order: those that were made, and those that were not.
    #[must_use]
    pub fn checks(&self) -> Vec<CheckRecord> {
        let failed = self.results.iter().find(|(_, result)| result.is_err());
        let records = Check::ALL.into_iter().map(|check| {
            let made = self.results.iter().find(|(made, _)| *made == check);
            let (result, detail) = match (made, failed) {
                (Some((_, Ok(()))), _) => (CheckResult::Pass, self.detail(check)),
                (Some((_, Err(reason))), _) => (
                    CheckResult::Fail,
                    format!("{}: {}", reason.as_str(), self.detail(check)),
                ),
                (None, Some((first, _))) => (
                    CheckResult::Skipped,
                    format!("not reached: `{}` failed", first.as_str()),
                ),
                (None, None) => (CheckResult::Skipped, self.why_skipped().to_owned()),
            };
            CheckRecord {
                check,
                result,
                detail,
            }
        });
        records.collect()
    }

    fn detail(&self, check: Check) -> String {
        let inputs = self.inputs.as_ref();
        inputs.map(|inputs| inputs.detail(check)).unwrap_or_default()
    }

    fn why_skipped(&self) -> &'static str {
        match &self.inputs {
            None => "not reached: the request was answered before a decision",
            Some(inputs) => inputs.why_not_needed(),
        }
    }

    /// The known source that the request names.
    #[must_use]
    pub fn source(&self) -> Option<NamedSource> {
        self.inputs.as_ref()?.source.as_ref().map(|source| NamedSource {
            id: source.id.clone(),
            enforcement: source.enforcement,
        })
    }

    /// The app of a verified token.
    #[must_use]
    pub fn app(&self) -> Option<AppId> {
        let inputs = self.inputs.as_ref()?;
        inputs.token.as_ref().map(|token| token.app().clone())
    }

    /// Whether the request has a token that did not verify.
    #[must_use]
    pub fn has_faulty_token(&self) -> bool {
        self.inputs.as_ref().is_some_and(Inputs::has_faulty_token)
    }

    /// The issuer whose keys the decision needed and did not have.
    #[must_use]
    pub fn lacks_keys_of(&self) -> Option<String> {
        let failed = (Check::Token, Err(DenyReason::KeysUnavailable));
        let inputs = self.inputs.as_ref().filter(|_| self.results.contains(&failed));
        inputs?.lacks_keys_of.clone()
    }
}
