// OAuth clients of Node.js with their defaults: each gets a token of the token endpoint. Then verifiers of Node.js: each
// finds the keys of the server by its metadata and verifies the token. Prints one JSON object a line.
import { createPrivateKey, randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

import { auth } from 'express-oauth2-jwt-bearer'
import * as jose from 'jose'
import jwt from 'jsonwebtoken'
import jwksRsa from 'jwks-rsa'
import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

const { AUTH_SERVER, CLIENT_ID, KEY_ID, PRIVATE_KEY_FILE, SCOPE, AUDIENCE, RESOURCE } = process.env
const { GATEWAY_URL, WRITE_KEY } = process.env
const issuer = new URL(AUTH_SERVER)
const pem = readFileSync(PRIVATE_KEY_FILE, 'utf8')
const key = await crypto.subtle.importKey(
  'pkcs8',
  createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' }),
  { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  false,
  ['sign'],
)
// The test server speaks plain HTTP on loopback, which both libraries allow only where they are asked to.
const insecure = { [oauth.allowInsecureRequests]: true }

async function discover(algorithm) {
  const response = await oauth.discoveryRequest(issuer, { algorithm, ...insecure })
  return oauth.processDiscoveryResponse(issuer, response)
}

async function oauth4webapi(server, privateKey, parameters = {}) {
  const client = { client_id: CLIENT_ID }
  const response = await oauth.clientCredentialsGrantRequest(
    server,
    client,
    oauth.PrivateKeyJwt(privateKey),
    new URLSearchParams({ scope: SCOPE, ...parameters }),
    insecure,
  )
  return oauth.processClientCredentialsResponse(server, client, response)
}

async function openidClient(algorithm) {
  const config = await openid.discovery(issuer, CLIENT_ID, undefined, openid.PrivateKeyJwt(key), {
    algorithm,
    execute: [openid.allowInsecureRequests],
  })
  return openid.clientCredentialsGrant(config, { scope: SCOPE })
}

// By hand, as many write it: an assertion of jose and fetch.
async function joseAndFetch() {
  const assertion = await new jose.SignJWT({})
    .setProtectedHeader({ alg: 'RS256', kid: KEY_ID })
    .setIssuer(CLIENT_ID)
    .setSubject(CLIENT_ID)
    .setAudience(`${AUTH_SERVER}/token`)
    .setIssuedAt()
    .setExpirationTime('1h')
    .setJti(randomUUID())
    .sign(key)
  return post(assertion)
}

async function jsonwebtoken() {
  const options = { algorithm: 'RS256', keyid: KEY_ID, issuer: CLIENT_ID, subject: CLIENT_ID, expiresIn: '5m' }
  return post(jwt.sign({}, pem, { ...options, audience: [AUTH_SERVER], jwtid: randomUUID() }))
}

async function post(assertion) {
  const response = await fetch(`${AUTH_SERVER}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: assertion,
      scope: SCOPE,
    }),
  })
  const body = await response.json()
  if (response.status !== 200) throw new Error(JSON.stringify(body))
  return body
}

// One event of an enforced source, with the token. Answers the gateway's status.
async function send(token) {
  const response = await fetch(`${GATEWAY_URL}/v1/track`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({ event: 'Hello', userId: 'u1', writeKey: WRITE_KEY }),
  })
  return response.status
}

async function bearerMiddleware(token) {
  const check = auth({ issuerBaseURL: AUTH_SERVER, audience: AUDIENCE, tokenSigningAlg: 'RS256', strict: true })
  const server = createServer((request, response) => {
    // What the middleware needs of Express.
    Object.assign(request, { query: {}, protocol: 'http', originalUrl: request.url })
    request.is = () => false
    request.get = (name) => request.headers[name.toLowerCase()]
    check(request, response, (error) => {
      response.statusCode = error ? (error.status ?? 500) : 200
      response.end(error ? String(error) : JSON.stringify(request.auth.payload))
    })
  })
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
  try {
    const url = `http://127.0.0.1:${server.address().port}/`
    const response = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
    const text = await response.text()
    if (response.status !== 200) throw new Error(text)
    return JSON.parse(text)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

const oauthServer = await discover('oauth2')
const openidServer = await discover('oidc')
const keyWithId = { key, kid: KEY_ID }
const clients = {
  'oauth4webapi': () => oauth4webapi(oauthServer, key),
  'oauth4webapi with kid': () => oauth4webapi(oauthServer, keyWithId),
  'oauth4webapi by OpenID discovery': () => oauth4webapi(openidServer, keyWithId),
  'oauth4webapi with resource': () => oauth4webapi(oauthServer, key, { resource: RESOURCE }),
  'openid-client': () => openidClient('oauth2'),
  'openid-client by OpenID discovery': () => openidClient('oidc'),
  'jose': joseAndFetch,
  'jsonwebtoken': jsonwebtoken,
}
let token
for (const [library, ask] of Object.entries(clients)) {
  await report({ client: library }, async () => {
    const answer = await ask()
    token ??= answer.access_token
    const { token_type, scope, expires_in, access_token } = answer
    return { token_type, scope, expires_in, aud: jose.decodeJwt(access_token).aud, event: await send(access_token) }
  })
}

const options = { issuer: AUTH_SERVER, audience: AUDIENCE }
const verifiers = {
  'jose': async () => {
    const keys = jose.createRemoteJWKSet(new URL(oauthServer.jwks_uri))
    return (await jose.jwtVerify(token, keys, { ...options, typ: 'at+jwt', algorithms: ['RS256'] })).payload
  },
  'oauth4webapi': async () => {
    const request = new Request('http://127.0.0.1/', { headers: { authorization: `Bearer ${token}` } })
    return oauth.validateJwtAccessToken(oauthServer, request, AUDIENCE, insecure)
  },
  'jwks-rsa and jsonwebtoken': async () => {
    const { kid } = jose.decodeProtectedHeader(token)
    const signingKey = await jwksRsa({ jwksUri: oauthServer.jwks_uri }).getSigningKey(kid)
    return jwt.verify(token, signingKey.getPublicKey(), { ...options, algorithms: ['RS256'] })
  },
  'express-oauth2-jwt-bearer': () => bearerMiddleware(token),
}
for (const [library, verify] of Object.entries(verifiers)) {
  await report({ verifier: library }, async () => ({ sub: (await verify()).sub }))
}

async function report(what, run) {
  try {
    console.log(JSON.stringify({ ...what, ok: true, ...(await run()) }))
  } catch (error) {
    console.log(JSON.stringify({ ...what, ok: false, error: `${error} ${JSON.stringify(error.cause ?? null)}` }))
  }
}
