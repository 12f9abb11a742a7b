//! The token of each identity provider, as the provider documents it, and its faults.

use portcullis::domain::claim_names::Profile;
use serde_json::{Value, json};

use super::AUDIENCE;
use crate::forge::{KEY_ID, NOW, SCOPE};

/// One shape of token, as its provider documents it.
pub struct Shape {
    pub name: &'static str,
    pub profile: Profile,
    /// The operator lets the scopes of the app count.
    pub scope_of_app: bool,
    pub issuer: &'static str,
    /// The claim and value that name the app.
    pub app: (&'static str, &'static str),
    pub header: Value,
    pub claims: Value,
    /// A change that makes it a token without the scope that the API needs; `null` where tokens say none.
    pub without_scope: Value,
    /// Further faults of this provider: what is changed in header and claims, and the reason.
    pub faults: Vec<(&'static str, Value, Value, &'static str)>,
}

pub fn header(typ: Option<&str>) -> Value {
    let mut header = json!({"alg": "RS256", "kid": KEY_ID});
    if let Some(typ) = typ {
        header["typ"] = json!(typ);
    }
    header
}

fn rfc9068() -> Shape {
    Shape {
        name: "RFC 9068",
        profile: Profile::Rfc9068,
        scope_of_app: false,
        issuer: "https://authorization-server.example.com/",
        app: ("client_id", "s6BhdRkqt3"),
        header: header(Some("at+jwt")),
        claims: json!({
            "iss": "https://authorization-server.example.com/", "sub": "s6BhdRkqt3", "client_id": "s6BhdRkqt3",
            "aud": AUDIENCE, "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "jti": "dbe39bf3a3ba4238a513f51d6e1691c4",
            "scope": SCOPE,
        }),
        without_scope: json!({"scope": "openid profile"}),
        faults: vec![
            ("ID token", json!({"typ": "JWT"}), json!({}), "token_type_wrong"),
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
            ("no sub", json!({}), json!({"sub": null}), "token_malformed"),
            (
                "azp in place of client_id",
                json!({}),
                json!({"client_id": null, "azp": "s6BhdRkqt3"}),
                "token_malformed",
            ),
        ],
    }
}

/// Ory Hydra: RFC 9068 with the scope as the list `scp`.
fn hydra() -> Shape {
    let mut shape = rfc9068();
    shape.name = "Ory Hydra";
    shape.claims["scope"] = Value::Null;
    shape.claims["scp"] = json!([SCOPE, "offline"]);
    shape.without_scope = json!({"scp": ["offline"]});
    shape.faults = vec![(
        "scope wins over scp",
        json!({}),
        json!({"scope": "offline"}),
        "scope_insufficient",
    )];
    shape
}

/// auth0.com/docs/secure/tokens/access-tokens/access-token-profiles, dialect `access_token`.
pub fn auth0_classic() -> Shape {
    Shape {
        name: "Auth0",
        profile: Profile::Auth0,
        scope_of_app: false,
        issuer: "https://tenant.eu.auth0.com/",
        app: ("azp", "my_client_id"),
        header: header(Some("JWT")),
        claims: json!({
            "iss": "https://tenant.eu.auth0.com/", "sub": "my_client_id@clients", "aud": AUDIENCE, "azp": "my_client_id",
            "iat": NOW.0 - 10, "exp": NOW.0 + 86_400, "scope": SCOPE, "gty": "client-credentials",
        }),
        without_scope: json!({"scope": "read:clients"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"nonce": "crypto-value"}),
                "token_type_wrong",
            ),
            (
                "ID token of a hybrid flow",
                json!({}),
                json!({"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}),
                "token_type_wrong",
            ),
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
        ],
    }
}

/// The same page, dialect `rfc9068_profile`.
fn auth0_rfc9068() -> Shape {
    let mut shape = auth0_classic();
    shape.name = "Auth0 with the RFC 9068 profile";
    shape.header = header(Some("at+jwt"));
    shape.app = ("client_id", "my_client_id");
    shape.claims["azp"] = Value::Null;
    shape.claims["client_id"] = json!("my_client_id");
    shape.claims["jti"] = json!("73WakrfVbNJBaAmhQtEeDv");
    shape.faults.clear();
    shape
}

/// developer.okta.com/docs/reference/api/oidc/#access-token-payload, a custom authorization server.
pub fn okta() -> Shape {
    Shape {
        name: "Okta",
        profile: Profile::Okta,
        scope_of_app: false,
        issuer: "https://example.okta.com/oauth2/default",
        app: ("cid", "nmdP1fcyvdVO11AL7ECm"),
        header: header(None),
        claims: json!({
            "ver": 1, "jti": "AT.0mP4JKAZX1iACIT4vbEDF7LpvDVjxypPMf0D7uX39RE",
            "iss": "https://example.okta.com/oauth2/default", "aud": AUDIENCE, "sub": "nmdP1fcyvdVO11AL7ECm",
            "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "cid": "nmdP1fcyvdVO11AL7ECm", "scp": [SCOPE, "custom"],
        }),
        without_scope: json!({"scp": ["openid", "custom"]}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"cid": null, "scp": null, "nonce": "n"}),
                "token_type_wrong",
            ),
            (
                "ID token without nonce",
                json!({}),
                json!({"cid": null, "scp": null}),
                "token_malformed",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
            (
                "org server's own token",
                json!({"typ": "application/okta-internal-at+jwt"}),
                json!({}),
                "token_type_wrong",
            ),
        ],
    }
}

/// learn.microsoft.com/entra/identity-platform/access-token-claims-reference, v2.0, app-only.
pub fn entra_v2() -> Shape {
    const TENANT: &str = "https://login.microsoftonline.com/aaaabbbb-0000-cccc-1111-dddd2222eeee/v2.0";
    Shape {
        name: "Entra v2.0, app-only",
        profile: Profile::Entra,
        scope_of_app: false,
        issuer: TENANT,
        app: ("azp", "11112222-bbbb-3333-cccc-4444dddd5555"),
        header: header(Some("JWT")),
        claims: json!({
            "aud": AUDIENCE, "iss": TENANT, "iat": NOW.0 - 10, "nbf": NOW.0 - 10, "exp": NOW.0 + 3_600,
            "aio": "E2NgYJBMXs", "azp": "11112222-bbbb-3333-cccc-4444dddd5555", "azpacr": "1",
            "oid": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "rh": "0.AX0", "roles": [SCOPE, "Orders.Read"],
            "sub": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "tid": "aaaabbbb-0000-cccc-1111-dddd2222eeee",
            "uti": "nBzKXUW7IkaAhCXAhG8DAA", "ver": "2.0",
        }),
        without_scope: json!({"roles": ["Orders.Read"]}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"nonce": "12345"}),
                "token_type_wrong",
            ),
            (
                "ID token without nonce",
                json!({}),
                json!({"azp": null}),
                "token_malformed",
            ),
            (
                "a user's roles",
                json!({}),
                json!({"idtyp": "user"}),
                "scope_insufficient",
            ),
            (
                "a user's roles beside a scope",
                json!({}),
                json!({"scp": "User.Read"}),
                "scope_insufficient",
            ),
            (
                "one role with a space",
                json!({}),
                json!({"roles": [format!("x {SCOPE}")]}),
                "scope_insufficient",
            ),
        ],
    }
}

/// The same page, v1.0, with a delegated scope.
fn entra_v1() -> Shape {
    const TENANT: &str = "https://sts.windows.net/aaaabbbb-0000-cccc-1111-dddd2222eeee/";
    let mut shape = entra_v2();
    shape.name = "Entra v1.0, delegated";
    shape.issuer = TENANT;
    shape.app = ("appid", "11112222-bbbb-3333-cccc-4444dddd5555");
    shape.claims["iss"] = json!(TENANT);
    shape.claims["ver"] = json!("1.0");
    for gone in ["azp", "azpacr", "roles"] {
        shape.claims[gone] = Value::Null;
    }
    shape.claims["appid"] = json!("11112222-bbbb-3333-cccc-4444dddd5555");
    shape.claims["scp"] = json!(format!("User.Read {SCOPE}"));
    shape.without_scope = json!({"scp": "User.Read"});
    shape.faults.clear();
    shape
}

/// docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html
fn cognito() -> Shape {
    const POOL: &str = "https://cognito-idp.us-east-1.amazonaws.com/us-east-1_EXAMPLE";
    Shape {
        name: "Cognito",
        profile: Profile::Cognito,
        scope_of_app: false,
        issuer: POOL,
        app: ("client_id", "djc98u3jiedmi283eu928"),
        header: header(None),
        claims: json!({
            "sub": "djc98u3jiedmi283eu928", "token_use": "access", "scope": SCOPE, "auth_time": NOW.0 - 10,
            "iss": POOL, "iat": NOW.0 - 10, "exp": NOW.0 + 3_600, "version": 2,
            "jti": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "client_id": "djc98u3jiedmi283eu928",
        }),
        without_scope: json!({"scope": "aws.cognito.signin.user.admin"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"token_use": "id", "aud": "djc98u3jiedmi283eu928", "client_id": null}),
                "token_type_wrong",
            ),
            (
                "no token_use",
                json!({}),
                json!({"token_use": null}),
                "token_type_wrong",
            ),
            (
                "token_use in another case",
                json!({}),
                json!({"token_use": "Access"}),
                "token_type_wrong",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
        ],
    }
}

/// A service account of Keycloak before 25: no `client_id`, the app is `azp`.
fn keycloak_24() -> Shape {
    const REALM: &str = "https://keycloak.example.com/realms/events";
    Shape {
        name: "Keycloak before 25",
        profile: Profile::Keycloak,
        scope_of_app: false,
        issuer: REALM,
        app: ("azp", "orders"),
        header: header(Some("JWT")),
        claims: json!({
            "exp": NOW.0 + 300, "iat": NOW.0 - 10, "jti": "b4a5a0f2-5c3d-4f2c-9f0b-0f4f4b9d3c55", "iss": REALM,
            "aud": [AUDIENCE, "account"], "sub": "f3bb6cd8-2a3a-4c3a-9b54-9a3b5c6a1c66", "typ": "Bearer", "azp": "orders",
            "acr": "1", "realm_access": {"roles": ["offline_access", "uma_authorization"]},
            "resource_access": {"account": {"roles": ["manage-account"]}}, "scope": format!("profile {SCOPE} email"),
            "clientHost": "192.0.2.1", "clientAddress": "192.0.2.1", "email_verified": false,
            "preferred_username": "service-account-orders",
        }),
        without_scope: json!({"scope": "profile email"}),
        faults: vec![
            (
                "ID token",
                json!({}),
                json!({"typ": "ID", "aud": AUDIENCE}),
                "token_type_wrong",
            ),
            (
                "refresh token",
                json!({}),
                json!({"typ": "Refresh"}),
                "token_type_wrong",
            ),
            (
                "no audience mapper",
                json!({}),
                json!({"aud": "account"}),
                "token_audience_mismatch",
            ),
            ("no jti", json!({}), json!({"jti": null}), "token_malformed"),
        ],
    }
}

fn keycloak_25() -> Shape {
    let mut shape = keycloak_24();
    shape.name = "Keycloak 25 and later";
    shape.app = ("client_id", "orders");
    shape.claims["client_id"] = json!("orders");
    shape.claims["sub"] = Value::Null;
    shape.faults.clear();
    shape
}

/// cloud.google.com/docs/authentication/token-types#id-aud: ID tokens of a service account.
pub fn google() -> Shape {
    Shape {
        name: "Google",
        profile: Profile::Google,
        scope_of_app: true,
        issuer: "https://accounts.google.com",
        app: ("azp", "107517467455664443766"),
        header: header(Some("JWT")),
        claims: json!({
            "aud": AUDIENCE, "azp": "107517467455664443766", "email": "orders@example.iam.gserviceaccount.com",
            "email_verified": true, "exp": NOW.0 + 3_600, "iat": NOW.0 - 10, "iss": "https://accounts.google.com",
            "sub": "107517467455664443766",
        }),
        without_scope: Value::Null,
        faults: vec![
            ("no typ", json!({"typ": null}), json!({}), "token_type_wrong"),
            (
                "other form of the issuer",
                json!({}),
                json!({"iss": "accounts.google.com"}),
                "token_issuer_untrusted",
            ),
            (
                "access token's typ",
                json!({"typ": "at+jwt"}),
                json!({}),
                "token_type_wrong",
            ),
        ],
    }
}

pub fn shapes() -> Vec<Shape> {
    vec![
        rfc9068(),
        hydra(),
        auth0_classic(),
        auth0_rfc9068(),
        okta(),
        entra_v2(),
        entra_v1(),
        cognito(),
        keycloak_24(),
        keycloak_25(),
        google(),
    ]
}
