//! The config's `login:` section: sessions, and single sign-on at an OpenID provider.

use std::time::Duration;

use serde_saphyr::Spanned;

use super::login_types::{ClientSecret, Login, Oidc};

use super::check::Check;
use super::file::{LoginFile, OidcFile};
use super::shown::has_user;

impl Check<'_> {
    pub(super) fn login(&mut self, file: &LoginFile) -> Option<Login> {
        let default = Login::default();
        let oidc = match &file.oidc {
            Some(oidc) => Some(self.oidc(oidc)?),
            None => None,
        };
        let passwords = self.word(
            file.passwords.as_ref(),
            &[("on", true), ("off", false)],
            default.passwords,
        );
        if let (Some(raw), None, false) = (&file.passwords, &file.oidc, passwords)
            && !self.is_incomplete("control_plane.login.oidc")
        {
            self.problem(
                raw.referenced,
                "`passwords: off` needs `login.oidc`; without it nobody could sign in",
                "add `oidc:` with a provider, or write `passwords: on`",
            );
        }
        let range = (Duration::from_secs(1), Duration::from_secs(366 * 86_400));
        let mut time = |raw: &Option<Spanned<super::file::Duration>>, default| {
            self.in_range(raw.as_ref(), default, |held| held.0, range, "1s to 366d")
        };
        Some(Login {
            session_lifetime: time(&file.session.lifetime, default.session_lifetime),
            session_idle: time(&file.session.idle, default.session_idle),
            oidc,
            passwords,
        })
    }

    fn oidc(&mut self, file: &OidcFile) -> Option<Oidc> {
        let issuer = self.text(&file.issuer)?;
        let uri = issuer.parse::<http::Uri>().ok();
        let host = uri.as_ref().and_then(http::Uri::host);
        let local = host.is_some_and(|host| matches!(host, "localhost" | "127.0.0.1" | "[::1]"));
        let has_user = uri.as_ref().is_some_and(has_user);
        if host.is_none()
            || has_user
            || !(issuer.starts_with("https://") || local && issuer.starts_with("http://"))
        {
            self.problem(
                file.issuer.referenced,
                "the issuer is not the https URL of a provider",
                "write https://login.example.com, as its /.well-known/openid-configuration names itself",
            );
        }
        let client_secret =
            ClientSecret::new(self.secret("control_plane.login.oidc.client_secret", &file.client_secret)?);
        let client_id = self.text(&file.client_id)?;
        for (value, raw) in [
            (client_id.as_str(), &file.client_id),
            (client_secret.expose(), &file.client_secret),
        ] {
            if value.is_empty() {
                self.problem(
                    raw.referenced,
                    "the value is empty",
                    "write what the provider gave you",
                );
            }
        }
        let texts = |check: &mut Self, raws: &[Spanned<String>]| -> Vec<String> {
            raws.iter().filter_map(|raw| check.text(raw)).collect()
        };
        let scopes = file.scopes.as_ref().map(|scopes| texts(self, scopes));
        let domains = texts(self, &file.domains);
        Some(Oidc {
            issuer,
            client_id,
            client_secret,
            scopes: scopes.unwrap_or_else(|| ["openid", "email"].map(str::to_owned).to_vec()),
            domains: domains.iter().map(|domain| domain.to_lowercase()).collect(),
            networks: self.networks(&file.networks),
        })
    }
}
