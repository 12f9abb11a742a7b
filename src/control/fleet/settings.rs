//! Settings that all control planes on one store share: the audience of access tokens, and the fleet's `max_age`.

use std::time::Duration;

use serde_json::json;

use super::edges::Edges;
use crate::control::actor::Actor;
use crate::control::audit_event::{AuditAction, Event};
use crate::control::error::ControlError;
use crate::control::open_error::OpenError;
use crate::control::settings::ControlSettings;
use crate::fleet::lease::{MAX_AGE_MAX, MAX_AGE_MIN};
use crate::model::edge::FleetSettings;
use crate::store::{Store, StoreError};

/// `aud` of access tokens where neither config nor store names one.
pub const AUDIENCE: &str = "portcullis";

/// The fleet's `max_age` where neither config nor store says.
pub const MAX_AGE: Duration = Duration::from_secs(86_400);

/// The longest audience, in bytes.
const AUDIENCE_BYTES_MAX: usize = 1_024;

/// The settings that hold.
pub(crate) struct InForce {
    pub audience: String,
    pub max_age: Duration,
}

impl InForce {
    /// What the store has, and the defaults for what it does not have.
    pub(crate) fn of(stored: FleetSettings) -> Self {
        Self {
            audience: stored.audience.unwrap_or_else(|| AUDIENCE.to_owned()),
            max_age: stored.max_age_s.map_or(MAX_AGE, Duration::from_secs),
        }
    }

    /// Stores what the config says where the store has nothing. A config that says otherwise than the store is refused:
    /// two control planes would tell their gateways different things under one policy version.
    ///
    /// # Errors
    /// [`OpenError::OtherAudience`], [`OpenError::OtherMaxAge`], [`OpenError::Store`].
    pub(crate) async fn settle(store: &Store, settings: &ControlSettings) -> Result<Self, OpenError> {
        let said = said(settings);
        let stored = match said == FleetSettings::default() {
            true => store.read().await?.fleet_settings().await?,
            false => store.keep_fleet_settings(&said).await?,
        };
        if let (Some(config), Some(stored)) = (&said.audience, &stored.audience)
            && config != stored
        {
            return Err(OpenError::OtherAudience {
                config: config.clone(),
                stored: stored.clone(),
            });
        }
        if let (Some(config), Some(stored)) = (said.max_age_s, stored.max_age_s)
            && config != stored
        {
            return Err(OpenError::OtherMaxAge { config, stored });
        }
        Ok(Self::of(stored))
    }

    /// The same next to a running server: nothing is stored, and the store wins.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(crate) async fn read(store: &Store, settings: &ControlSettings) -> Result<Self, StoreError> {
        let stored = store.read().await?.fleet_settings().await?;
        let said = said(settings);
        Ok(Self::of(FleetSettings {
            audience: stored.audience.or(said.audience),
            max_age_s: stored.max_age_s.or(said.max_age_s),
        }))
    }
}

fn said(settings: &ControlSettings) -> FleetSettings {
    FleetSettings {
        audience: settings.audience.clone(),
        max_age_s: settings.fleet_max_age.map(|age| age.as_secs()),
    }
}

impl Edges {
    /// What is stored of the fleet's settings.
    ///
    /// # Errors
    /// [`ControlError::NotOwnerOfAll`].
    pub async fn fleet_settings(&self, actor: &Actor) -> Result<FleetSettings, ControlError> {
        let mut tx = self.store.read().await?;
        super::edges::require_fleet_owner(&mut tx, actor).await?;
        Ok(tx.fleet_settings().await?)
    }

    /// Changes the settings that are named; the others stay. Running control planes apply another `max_age` within
    /// seconds, and another audience when they start again. A lease that was granted under a longer `max_age` runs out.
    ///
    /// # Errors
    /// [`ControlError::Invalid`], [`ControlError::NotOwnerOfAll`].
    pub async fn set_fleet_settings(
        &self,
        actor: &Actor,
        change: &FleetSettings,
    ) -> Result<FleetSettings, ControlError> {
        check(change)?;
        let mut tx = self.begin(actor).await?;
        let before = tx.fleet_settings().await?;
        let after = FleetSettings {
            audience: change.audience.clone().or_else(|| before.audience.clone()),
            max_age_s: change.max_age_s.or(before.max_age_s),
        };
        if after == before {
            return Ok(before);
        }
        tx.put_fleet_settings(&after).await?;
        let shown = |held: &FleetSettings| json!({"audience": held.audience, "max_age_s": held.max_age_s});
        let event = Event::of_server(AuditAction::FleetSettingsChanged, "fleet", &"fleet", &"fleet")
            .changed(shown(&before), shown(&after));
        self.changes.commit(tx, &[], event).await?;
        Ok(after)
    }
}

fn check(change: &FleetSettings) -> Result<(), ControlError> {
    if let Some(audience) = &change.audience
        && (audience.is_empty() || audience.len() > AUDIENCE_BYTES_MAX)
    {
        return Err(ControlError::invalid("audience", "is not 1 to 1024 bytes long"));
    }
    let range = MAX_AGE_MIN.as_secs()..=MAX_AGE_MAX.as_secs();
    if change.max_age_s.is_some_and(|age| !range.contains(&age)) {
        return Err(ControlError::invalid("max_age", "is not between 3s and 366d"));
    }
    Ok(())
}
