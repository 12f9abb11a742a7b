"""OAuth clients of Python with their defaults: each gets a token of the token endpoint. Then verifiers of Python: each
finds the keys of the server by its metadata and verifies the token. Prints one JSON object a line."""

import json
import os
import time
import uuid

# The test server speaks plain HTTP on loopback, which oauthlib allows only where it is asked to.
os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"

import jwt
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.jose import JsonWebKey, JsonWebToken
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from msal.oauth2cli.assertion import JwtAssertionCreator
from msal.oauth2cli.oauth2 import Client as MsalClient
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session as RequestsSession

SERVER = os.environ["AUTH_SERVER"]
CLIENT_ID = os.environ["CLIENT_ID"]
KEY_ID = os.environ["KEY_ID"]
SCOPE = os.environ["SCOPE"]
AUDIENCE = os.environ["AUDIENCE"]
with open(os.environ["PRIVATE_KEY_FILE"], encoding="ascii") as file:
    PEM = file.read()
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
METADATA = requests.get(f"{SERVER}/.well-known/oauth-authorization-server", timeout=10).json()
TOKEN_ENDPOINT = METADATA["token_endpoint"]


def post(assertion):
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": assertion,
        "scope": SCOPE,
    }
    answer = requests.post(TOKEN_ENDPOINT, data=form, timeout=10)
    if answer.status_code != 200:
        raise RuntimeError(answer.text)
    return answer.json()


def send(token):
    """One event of an enforced source, with the token. Answers the gateway's status."""
    event = {"event": "Hello", "userId": "u1", "writeKey": os.environ["WRITE_KEY"]}
    headers = {"Authorization": f"Bearer {token}"}
    return requests.post(f"{os.environ['GATEWAY_URL']}/v1/track", json=event, headers=headers, timeout=10).status_code


def authlib(headers=None):
    method = PrivateKeyJWT(TOKEN_ENDPOINT, headers=headers)
    session = OAuth2Session(CLIENT_ID, PEM, token_endpoint_auth_method=method, scope=SCOPE)
    return session.fetch_token(TOKEN_ENDPOINT, grant_type="client_credentials")


def requests_oauthlib():
    now = int(time.time())
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": SERVER, "exp": now + 300, "jti": uuid.uuid4().hex}
    assertion = jwt.encode(claims, PEM, algorithm="RS256")
    session = RequestsSession(client=BackendApplicationClient(CLIENT_ID, scope=[SCOPE]))
    return session.fetch_token(
        TOKEN_ENDPOINT,
        include_client_id=True,
        client_assertion_type=ASSERTION_TYPE,
        client_assertion=assertion,
    )


def pyjwt():
    """Nothing but what RFC 7523 section 3 requires."""
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": TOKEN_ENDPOINT, "exp": int(time.time()) + 120}
    return post(jwt.encode(claims, PEM, algorithm="RS256"))


def joserfc():
    now = int(time.time())
    claims = {"iss": CLIENT_ID, "sub": CLIENT_ID, "aud": [SERVER], "iat": now, "exp": now + 3600}
    key = joserfc_jwk.RSAKey.import_key(PEM)
    return post(joserfc_jwt.encode({"alg": "RS256", "kid": KEY_ID}, claims, key))


def msal(**thumbprint):
    signer = JwtAssertionCreator(PEM, algorithm="RS256", **thumbprint)
    assertion = signer.create_regenerative_assertion(TOKEN_ENDPOINT, CLIENT_ID)
    client = MsalClient(
        {"token_endpoint": TOKEN_ENDPOINT},
        CLIENT_ID,
        client_assertion=assertion,
        client_assertion_type=MsalClient.CLIENT_ASSERTION_TYPE_JWT,
        http_client=requests.Session(),
    )
    answer = client.obtain_token_for_client(scope=SCOPE)
    if "access_token" not in answer:
        raise RuntimeError(json.dumps(answer))
    return answer


CLIENTS = {
    "authlib": authlib,
    "authlib with kid": lambda: authlib({"kid": KEY_ID}),
    "requests-oauthlib": requests_oauthlib,
    "PyJWT": pyjwt,
    "joserfc": joserfc,
    "MSAL": msal,
    "MSAL with a certificate's thumbprint": lambda: msal(sha256_thumbprint="ab" * 32),
}


def verify_by_pyjwt(token):
    key = jwt.PyJWKClient(METADATA["jwks_uri"]).get_signing_key_from_jwt(token)
    return jwt.decode(token, key.key, algorithms=["RS256"], audience=AUDIENCE, issuer=SERVER)


def verify_by_authlib(token):
    openid = requests.get(f"{SERVER}/.well-known/openid-configuration", timeout=10).json()
    keys = JsonWebKey.import_key_set(requests.get(openid["jwks_uri"], timeout=10).json())
    rules = {"iss": {"essential": True, "value": SERVER}, "aud": {"essential": True, "value": AUDIENCE}}
    algorithms = openid["id_token_signing_alg_values_supported"]
    claims = JsonWebToken(algorithms).decode(token, keys, claims_options=rules)
    claims.validate()
    return claims


def verify_by_joserfc(token):
    keys = joserfc_jwk.KeySet.import_key_set(requests.get(METADATA["jwks_uri"], timeout=10).json())
    decoded = joserfc_jwt.decode(token, keys, algorithms=["RS256"])
    rules = joserfc_jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": SERVER}, aud={"essential": True, "value": AUDIENCE}
    )
    rules.validate(decoded.claims)
    return decoded.claims


VERIFIERS = {"PyJWT": verify_by_pyjwt, "authlib": verify_by_authlib, "joserfc": verify_by_joserfc}


def report(kind, name, run):
    line = {kind: name}
    try:
        line.update(run())
        line["ok"] = True
    except Exception as error:  # noqa: BLE001 - a failure of any kind is the library's result
        line.update(ok=False, error=f"{type(error).__name__}: {error}")
    print(json.dumps(line), flush=True)


TOKENS = []


def ask(client):
    answer = client()
    TOKENS.append(answer["access_token"])
    claims = jwt.decode(answer["access_token"], options={"verify_signature": False})
    scope = answer.get("scope")
    return {
        "token_type": answer["token_type"],
        "scope": scope if isinstance(scope, str) else " ".join(scope),
        "expires_in": answer["expires_in"],
        "aud": claims["aud"],
        "event": send(answer["access_token"]),
    }


for name, client in CLIENTS.items():
    report("client", name, lambda client=client: ask(client))
for name, verifier in VERIFIERS.items():
    report("verifier", name, lambda verifier=verifier: {"sub": verifier(TOKENS[0])["sub"]})
