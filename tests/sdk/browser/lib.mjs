// What the flows share: a browser, people who are signed in, a client of the product, and the checks of every page.

import { createHash, createPrivateKey, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

// Nothing here takes this long unless it hangs.
const DEADLINE_MS = 20_000

export class Failed extends Error {}

export function expect(holds, what) {
  if (!holds) throw new Failed(what)
}

export function same(found, wanted, what) {
  expect(found === wanted, `${what}: found ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`)
}

export async function startBrowser(world) {
  return chromium.launch({
    executablePath: world.chromium,
    args: [
      '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-proxy-server', '--disable-dev-shm-usage',
    ],
  })
}

/** Opens a context of its own; what its pages do wrong is kept in `wrongs`. */
export async function open(browser, world, { script = true, width = 1280, scheme = 'light', cookies = [] } = {}) {
  const context = await browser.newContext({
    baseURL: world.console,
    javaScriptEnabled: script,
    viewport: { width, height: width < 500 ? 740 : 900 },
    colorScheme: scheme,
    reducedMotion: 'reduce',
  })
  context.setDefaultTimeout(DEADLINE_MS)
  if (cookies.length) await context.addCookies(cookies)
  const page = await context.newPage()
  page.wrongs = []
  // A blocked script or style, and an error of our script, are reported here. A refusal's status is not our fault.
  page.on('console', (message) => {
    if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) page.wrongs.push(message.text())
  })
  page.on('pageerror', (error) => page.wrongs.push(String(error)))
  page.on('request', (request) => {
    const url = new URL(request.url())
    if (url.protocol.startsWith('http') && url.origin !== new URL(world.console).origin) page.wrongs.push(`asks another server: ${url.origin}`)
  })
  return page
}

export async function close(page) {
  const { wrongs } = page
  await page.context().close()
  same(wrongs.length, 0, `errors of the browser (${wrongs.join('; ')})`)
}

/** Signs a person in through the page. */
export async function signIn(page, { email, password }, next = '') {
  await page.goto(`/console/sign-in${next && `?next=${encodeURIComponent(next)}`}`)
  await page.getByLabel('E-mail address').fill(email)
  await page.getByLabel('Password').fill(password)
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('button', { name: 'Sign out' }).first().waitFor()
}

/** Every page has one h1, a title of its own, and says nothing in a script or style of its own. */
export async function sound(page) {
  same(await page.locator('h1').count(), 1, `headings of the first rank on ${page.url()}`)
  expect((await page.title()).endsWith('· portcullis'), `title of ${page.url()}`)
  same(await page.locator('main#main').count(), 1, `main landmarks on ${page.url()}`)
}

/** What axe finds on the page as it is. */
export async function axe(page) {
  const found = await page.evaluate(`${axeSource};axe.run({ resultTypes: ['violations'] }).then((result) =>
    result.violations.map((each) => each.id + ': ' + each.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' ')))`)
  same(found.length, 0, `axe on ${new URL(page.url()).pathname} (${found.join('; ')})`)
}

export async function noSidewaysScroll(page) {
  const [inner, outer] = await page.evaluate('[document.documentElement.scrollWidth, innerWidth]')
  expect(inner <= outer, `${new URL(page.url()).pathname} is ${inner} wide on a screen of ${outer}`)
}

export async function heading(page, text) {
  await page.getByRole('heading', { level: 1, name: text, exact: true }).waitFor()
  await sound(page)
}

export async function click(page, role, name) {
  await page.getByRole(role, { name, exact: true }).first().click()
}

export async function done(page, text) {
  await page.getByRole('status').filter({ hasText: text }).first().waitFor()
}

export function keyPair() {
  const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
  return {
    privateKey: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    publicKey: pair.publicKey.export({ type: 'spki', format: 'pem' }),
  }
}

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')

/** Fetches a token as a client does. Answers the token, or the status and error of the refusal. */
export async function token(world, { appId, keyId, privateKey, scope = 'tracking_api:write' }) {
  const now = Math.floor(Date.now() / 1000)
  const claims = { iss: appId, sub: appId, aud: world.auth_server, iat: now - 5, exp: now + 55, jti: randomUUID() }
  const signed = `${base64url({ alg: 'RS256', typ: 'JWT', kid: keyId })}.${base64url(claims)}`
  const signature = sign('sha256', Buffer.from(signed), createPrivateKey(privateKey)).toString('base64url')
  const answer = await fetch(world.token_url, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials',
      client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
      client_assertion: `${signed}.${signature}`,
      scope,
    }),
  })
  const body = await answer.json()
  return answer.ok ? { value: body.access_token } : { status: answer.status, error: body.error }
}

/** Sends one event through the gateway. Answers the status, and the reason of a denial. */
export async function event(world, writeKey, accessToken) {
  return sent(`${world.gateway}/v1/track`, { event: 'Hello', userId: 'u1', writeKey }, accessToken)
}

/** Calls a source function through the gateway. */
export async function call(world, key, accessToken) {
  return sent(`${world.functions}/?b=${encodeURIComponent(key)}`, { order: 1 }, accessToken)
}

async function sent(url, value, accessToken) {
  const headers = { 'Content-Type': 'application/json' }
  if (accessToken) headers.Authorization = `Bearer ${accessToken}`
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(value) })
  const text = await answer.text()
  return answer.ok ? 'allowed' : JSON.parse(text).reason
}

/** Changes something through the management API as the owner: what a flow finds there before it begins. */
export async function manage(world, method, path, body, apiToken = world.api_token) {
  const headers = { Authorization: `Bearer ${apiToken}`, 'Content-Type': 'application/json' }
  const answer = await fetch(`${world.api}${path}`, { method, headers, body: body && JSON.stringify(body) })
  const text = await answer.text()
  expect(answer.ok, `${method} ${path} was answered with ${answer.status}`)
  return text && JSON.parse(text)
}

/** What a list of facts says of `label`. */
export async function value(page, label) {
  return (await page.locator('dt', { hasText: label }).locator('+ dd code').first().textContent()).trim()
}

/** A name that no other flow uses. */
export function unique(prefix) {
  return `${prefix} ${createHash('sha256').update(randomUUID()).digest('hex').slice(0, 8)}`
}
