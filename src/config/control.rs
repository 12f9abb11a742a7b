//! The control plane's section: its limits and the proxies before it.

use serde_saphyr::Spanned;

use super::file::{ControlLimitsFile, RateFile};
use super::load::Check;
use crate::domain::network::Network;

/// A burst that released SDKs make at once; no limit may be set below it.
const BURST_MIN: u32 = 16;

/// How often something may happen: `burst` times at once, then `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub burst: u32,
    pub per_second: u32,
}

/// How often the control plane may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// Token requests of one app, counted once its assertion is proved.
    pub token_app: Rate,
    /// Token requests of one address that prove no app.
    pub token_address: Rate,
    /// Management requests of one person.
    pub api_account: Rate,
    /// Management requests of one address without good credentials.
    pub api_address: Rate,
}

impl Default for ControlLimits {
    fn default() -> Self {
        let rate = |burst, per_second| Rate { burst, per_second };
        Self {
            token_app: rate(1_000, 100),
            token_address: rate(500, 20),
            api_account: rate(2_000, 200),
            api_address: rate(500, 20),
        }
    }
}

impl Check<'_> {
    pub(super) fn control_limits(&mut self, file: &ControlLimitsFile) -> ControlLimits {
        let default = ControlLimits::default();
        ControlLimits {
            token_app: self.rate(file.token_app.as_ref(), default.token_app),
            token_address: self.rate(file.token_address.as_ref(), default.token_address),
            api_account: self.rate(file.api_account.as_ref(), default.api_account),
            api_address: self.rate(file.api_address.as_ref(), default.api_address),
        }
    }

    fn rate(&mut self, file: Option<&RateFile>, default: Rate) -> Rate {
        let Some(file) = file else { return default };
        if file.burst.value < BURST_MIN {
            self.problem(
                file.burst.referenced,
                format!("a burst below {BURST_MIN} would refuse what released SDKs send at once"),
                format!("write {BURST_MIN} or more"),
            );
        }
        if !(1..=1_000_000).contains(&file.per_second.value) {
            self.problem(
                file.per_second.referenced,
                "is not a rate",
                "write a number of requests from 1 to 1000000",
            );
        }
        Rate {
            burst: file.burst.value,
            per_second: file.per_second.value,
        }
    }

    pub(super) fn networks(&mut self, file: &[Spanned<String>]) -> Vec<Network> {
        let mut networks = Vec::new();
        for raw in file {
            let Some(text) = self.text(raw) else { continue };
            match Network::parse(&text) {
                Ok(network) => networks.push(network),
                Err(error) => self.problem(
                    raw.referenced,
                    format!("`{text}` {error}"),
                    "write an address or a network, such as 10.0.0.0/8 or fd00::/8",
                ),
            }
        }
        networks
    }
}
