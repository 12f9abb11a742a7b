//! Writes down the checks of a decision, each with what it compared.

use super::explanation::{CheckRecord, CheckResult, NamedSource};
use super::inputs::Inputs;
use crate::domain::checks::{Check, Observer};
use crate::domain::decision::DenyReason;
use crate::domain::facts::RequestFacts;
use crate::domain::ids::AppId;
use crate::domain::policy::Policy;
use crate::domain::time::UnixSeconds;

/// Records the last decision that it watched.
#[derive(Default)]
pub struct Recorder {
    inputs: Option<Inputs>,
    results: Vec<(Check, Result<(), DenyReason>)>,
}

impl Observer for Recorder {
    fn begin(&mut self, policy: &Policy, facts: &RequestFacts<'_>, now: UnixSeconds) {
        self.inputs = Some(Inputs::of(policy, facts, now));
        self.results.clear();
    }

    fn checked(&mut self, check: Check, result: Result<(), DenyReason>) {
        self.results.push((check, result));
    }
}

impl Recorder {
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
