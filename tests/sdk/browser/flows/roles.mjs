// Each role's own way through everything that the console does: what the role may do it does to the end, and what it
// may not do shows it no form and says whom to ask.

import {
  axe, call, click, close, done, event, expect, Failed, heading, keyPair, manage, open, same, signIn, sound, token, unique, value,
} from '../lib.mjs'

const NOTHING = { creates: false, edits: false, views: [], admins: [] }
const CAN = {
  workspace_owner: { creates: true, edits: true, views: ['nodejs', 'source_function'], admins: ['nodejs', 'source_function'] },
  workspace_member: NOTHING,
  source_admin: { ...NOTHING, edits: true, views: ['nodejs'], admins: ['nodejs'] },
  source_read_only: { ...NOTHING, views: ['nodejs'] },
  function_admin: { ...NOTHING, edits: true, views: ['source_function'], admins: ['source_function'] },
  function_read_only: { ...NOTHING, views: ['source_function'] },
}

// Every app has the first one; what rotates goes over to the second.
const [FIRST, SECOND] = [keyPair(), keyPair()]

export async function wayOf(browser, world, role) {
  const can = CAN[role]
  const page = await open(browser, world)
  const made = await prepare(world, role)
  await signIn(page, world.people[role])
  const nav = page.getByRole('navigation', { name: 'Workspace' })
  await linksOf(page, nav, role)
  if (role === 'workspace_member') await toldWhomToAsk(page, nav, world)
  else await appOf(page, nav, world, can, made)
  await spareAppOf(page, world, can, made)
  for (const kind of ['nodejs', 'source_function']) {
    // An owner's way with such a source is the whole way of another flow.
    if (can.creates && kind === 'nodejs') continue
    if (can.admins.includes(kind)) await administered(page, nav, world, can, made, kind)
    else if (can.views.includes(kind)) await viewed(page, nav, world, made, kind)
    else await unseen(page, world, made.sources[kind])
  }
  if (can.creates) await ownersOnly(browser, page, nav, world, role)
  else await forbidden(page, world, ['/apps/new', '/sources/new', '/members', '/members/invite', '/audit', '/signing-keys', '/signing-keys/rotate', '/signing-keys/end', '/leaked-tokens'])
  await page.goto(world.at)
  await ownOf(browser, page, nav, world, role)
  await close(page)
}

/** What the role finds: an app with a key, another one to delete, and a source of each kind. */
async function prepare(world, role) {
  const app = async (name) => {
    const body = {
      name, scopes: ['tracking_api:write', 'functions:write'], token_lifetime: '1d', public_key: { name: 'first', pem: FIRST.publicKey },
    }
    const made = await manage(world, 'POST', '/apps', body)
    return { id: made.id, name, key: made.keys[0].id }
  }
  const sources = {}
  for (const kind of ['nodejs', 'source_function']) {
    const name = unique(`${role} ${kind}`)
    sources[kind] = { name, id: (await manage(world, 'POST', '/sources', { name, kind })).id }
  }
  return { app: await app(unique(`${role} app`)), spare: await app(unique(`${role} spare`)), sources }
}

/**
 * Pages that the role may not open: no form but sign-out, and an owner to ask. They are fetched and
 * read by the browser, in this session.
 */
async function forbidden(page, world, paths) {
  const answers = await page.evaluate((asked) => Promise.all(asked.map(async (path) => {
    const answer = await fetch(path)
    const said = new DOMParser().parseFromString(await answer.text(), 'text/html')
    const all = (what) => [...said.querySelectorAll(what)].map((each) => each.textContent)
    return { path, status: answer.status, title: all('h1').join(), forms: all('main form').length, ask: all('main a[href^="mailto:"]') }
  })), paths.map((path) => world.at + path))
  for (const { path, status, title, forms, ask } of answers) {
    same(status, 403, `status of ${path}`)
    same(title, 'You don\'t have permission', `what ${path} says`)
    same(forms, 0, `forms on ${path}`)
    expect(ask.includes(world.owner.email), `${path} does not say whom to ask`)
  }
}

/** A page that the role may read: it shows no form, and says who may change what it shows. */
async function onlyShown(page, who) {
  same(await page.locator('main form').count(), 0, `forms on ${page.url()}`)
  await page.getByText(`To change them you need to be ${who}`).first().waitFor()
}

/** Every link of the navigation opens a page. */
async function linksOf(page, nav, role) {
  const names = (await nav.getByRole('link').allTextContents()).map((name) => name.trim())
  same(names.includes('Members'), role === 'workspace_owner', `${role} is shown the members`)
  same(names.includes('OAuth applications'), role !== 'workspace_member', `${role} is shown the OAuth apps`)
  for (const name of names) {
    await nav.getByRole('link', { name, exact: true }).click()
    await sound(page)
    same(await page.getByRole('heading', { name: 'You don\'t have permission' }).count(), 0, `${role} may open ${name}`)
  }
}

async function toldWhomToAsk(page, nav, world) {
  await nav.getByRole('link', { name: 'Overview' }).click()
  await page.getByRole('link', { name: world.owner.email }).waitFor()
  await page.goto(`${world.at}/apps`)
  await heading(page, 'You don\'t have permission')
  await page.getByRole('link', { name: world.owner.email }).waitFor()
  await axe(page)
}

async function toApp(page, nav, name) {
  await nav.getByRole('link', { name: 'OAuth applications' }).click()
  await page.getByLabel('Search by name').fill(name)
  await click(page, 'button', 'Search')
  await click(page, 'link', name)
  await heading(page, name)
}

const tab = (page, of, name) => page.getByRole('navigation', { name: of, exact: true }).getByRole('link', { name, exact: true }).click()

/** Looks at an app; roles that may edit change its settings, rotate to a second key and revoke a token. */
async function appOf(page, nav, world, can, { app }) {
  await toApp(page, nav, app.name)
  same(await value(page, 'Application ID'), app.id, 'the application id')
  await tab(page, 'OAuth app', 'Get a token')
  await page.getByText(app.key).first().waitFor()
  await tab(page, 'OAuth app', 'Settings')
  if (!can.edits) {
    await onlyShown(page, 'a Workspace Owner, a Source Admin or a Function Admin')
    return forbidden(page, world, [`/apps/${app.id}/revoke`, `/apps/${app.id}/keys/new`, `/apps/${app.id}/keys/${app.key}/delete`])
  }
  const old = await token(world, { appId: app.id, keyId: app.key, privateKey: FIRST.privateKey })
  app.name = unique('Renamed')
  await page.getByLabel('Application name').fill(app.name)
  await page.getByLabel('2 days').check()
  await click(page, 'button', 'Save changes')
  await done(page, 'Changes saved')
  await click(page, 'link', 'Add public key')
  await page.getByLabel('Public key', { exact: true }).fill(SECOND.publicKey)
  await page.getByLabel('Public key name').fill('second')
  await click(page, 'button', 'Add public key')
  await done(page, 'Public key added.')
  app.second = (await page.getByRole('row', { name: 'second' }).locator('code').textContent()).trim()
  const held = await tokenOf(world, app)
  await tab(page, 'OAuth app', 'Overview')
  await click(page, 'link', 'Revoke token')
  await page.getByLabel('Access token').fill(held)
  await click(page, 'button', 'Revoke token')
  await done(page, 'Token revoked')
  await tab(page, 'OAuth app', 'Settings')
  await page.getByRole('link', { name: 'Delete key first' }).click()
  await page.getByText(/Ends \d+ active tokens? issued with this key, on 0 sources/).waitFor()
  await click(page, 'button', 'Delete public key')
  await done(page, 'Public key deleted')
  expect(old.value, 'the first key got a token while it was there')
}

/** A token of the app's second key. */
async function tokenOf(world, app, scope) {
  const got = await token(world, { appId: app.id, keyId: app.second, privateKey: SECOND.privateKey, scope })
  if (!got.value) throw new Failed(`no token: ${got.error}`)
  return got.value
}

async function spareAppOf(page, world, can, { spare }) {
  if (!can.edits) return forbidden(page, world, [`/apps/${spare.id}/delete`])
  await page.goto(`${world.at}/apps/${spare.id}`)
  await click(page, 'link', 'Delete OAuth app')
  await page.getByLabel('Type the name of the OAuth app').fill(spare.name)
  await click(page, 'button', 'Delete OAuth app')
  return done(page, 'OAuth app and its keys deleted.')
}

async function toSource(page, nav, name) {
  await nav.getByRole('link', { name: 'Sources' }).click()
  await page.getByLabel('Search by name').fill(name)
  await page.getByRole('button', { name: /^(Search|Filter)$/ }).click()
  await click(page, 'link', name)
  await heading(page, name)
}

/** Connects, observes and enforces, with an event after each step, and goes all the way back. */
async function administered(page, nav, world, can, { app, sources }, kind) {
  const { name, id } = sources[kind]
  await toSource(page, nav, name)
  const key = await value(page, 'Write key')
  const scope = kind === 'nodejs' ? 'tracking_api:write' : 'functions:write'
  const accessToken = await tokenOf(world, app, scope)
  const send = (held) => (kind === 'nodejs' ? event(world, key, held) : call(world, key, held))
  const step = async (link, button, what) => {
    await click(page, 'link', link)
    await click(page, 'button', button)
    await done(page, what)
  }
  await tab(page, 'Source', 'OAuth app')
  await click(page, 'link', 'Connect OAuth app')
  await page.getByLabel('Search by name').fill(app.name)
  await click(page, 'button', 'Search')
  await page.getByLabel(app.name, { exact: true }).check()
  await click(page, 'button', 'Connect')
  await done(page, 'OAuth app connected.')
  await step('Start observing', 'Start observing', 'Observing')
  same(await send(), 'allowed', `${name} without a token while observed`)
  await step('Enable OAuth', 'Enable OAuth', 'OAuth enabled')
  same(await send(), 'token_missing', `${name} without a token`)
  same(await send(accessToken), 'allowed', `${name} with a token`)
  await step('Turn off enforcement', 'Turn off enforcement', 'Enforcement is off')
  same(await send(), 'allowed', `${name} after enforcement was turned off`)
  await step('Disconnect', 'Disconnect OAuth app', 'OAuth app disconnected.')
  await tab(page, 'Source', 'Settings')
  if (!can.creates) {
    await onlyShown(page, 'a Workspace Owner')
    return forbidden(page, world, [`/sources/${id}/delete`])
  }
  await page.getByLabel('Source name').fill(`${name} renamed`)
  await click(page, 'button', 'Save changes')
  await done(page, 'Changes saved.')
  return step('Delete source', 'Delete source', 'Source deleted.')
}

async function viewed(page, nav, world, { sources }, kind) {
  const { name, id } = sources[kind]
  await toSource(page, nav, name)
  await tab(page, 'Source', 'OAuth app')
  await onlyShown(page, 'a Workspace Owner, or a Source Admin')
  await tab(page, 'Source', 'Settings')
  await onlyShown(page, 'a Workspace Owner')
  await forbidden(page, world, ['connect', 'disconnect', 'observe', 'on', 'off'].map((step) => `/sources/${id}/oauth/${step}`))
  await forbidden(page, world, [`/sources/${id}/delete`])
}

async function unseen(page, world, { name, id }) {
  await page.goto(`${world.at}/sources?q=${encodeURIComponent(name)}`)
  same(await page.getByRole('link', { name, exact: true }).count(), 0, `${name} in the list`)
  await forbidden(page, world, ['', '/oauth', '/oauth/connect'].map((step) => `/sources/${id}${step}`))
}

/** What owners alone do besides the whole way: invite, give and take roles, remove, and read the trail. */
async function ownersOnly(browser, page, nav, world, role) {
  await invites(browser, page, nav, world)
  await nav.getByRole('link', { name: 'Audit trail' }).click()
  await page.getByLabel('User').fill(world.people[role].email)
  await page.getByLabel('Event', { exact: true }).selectOption('source.deleted')
  await click(page, 'button', 'Filter')
  const shown = await page.getByRole('row').count() - 1
  same(shown, 1, 'sources that they deleted, in the trail')
  for (const [form, head] of [['CSV', 1], ['JSON', 0]]) {
    const link = page.getByRole('link', { name: `Export filtered ${form}` })
    const answer = await page.request.get(await link.getAttribute('href'))
    same((await answer.text()).trim().split('\n').length, shown + head, `lines of the export as ${form}`)
  }
}

async function invites(browser, page, nav, world) {
  const email = `${unique('invited').replace(' ', '-')}@roles.example`
  await nav.getByRole('link', { name: 'Members' }).click()
  await click(page, 'link', 'Invite a member')
  await page.getByLabel('E-mail address').fill(email)
  await page.getByLabel('Source Admin', { exact: true }).check()
  await page.getByLabel('Source Admin for').selectOption({ label: 'selected sources' })
  const picker = page.getByRole('group', { name: /^Sources/ }).first()
  await picker.getByLabel('Find sources by name').fill('oBsErVeD')
  // The Enter key finds too, and saves nothing.
  await picker.getByLabel('Find sources by name').press('Enter')
  await page.getByRole('group', { name: 'Sources (0 selected)' }).first().getByLabel('Observed').check()
  await click(page, 'button', 'Invite')
  await heading(page, 'Invitation created')
  const link = (await page.getByLabel('Invitation link', { exact: true }).textContent()).trim()
  const visitor = await open(browser, world)
  await visitor.goto(link)
  await visitor.getByLabel('Password').fill('another sentence that nobody guesses')
  await click(visitor, 'button', 'Join')
  await visitor.getByText('You have joined the workspace.').waitFor()
  await close(visitor)
  await click(page, 'link', 'Back to members')
  await click(page, 'link', email)
  await page.getByRole('group', { name: 'Sources (1 selected)' }).getByLabel('Observed').waitFor()
  await page.getByLabel('Source Admin for').selectOption({ label: 'all sources' })
  await page.getByLabel('Function Read-only', { exact: true }).check()
  await click(page, 'button', 'Save roles')
  await done(page, 'Roles saved')
  await click(page, 'link', email)
  await click(page, 'link', 'Remove member')
  await click(page, 'button', 'Remove member')
  await done(page, 'Member removed')
}

/** What everybody does with their own: API tokens, the password, and sessions. */
async function ownOf(browser, page, nav, world, role) {
  const toAccount = () => nav.getByRole('link', { name: 'Tokens and sessions' }).click()
  await toAccount()
  await click(page, 'link', 'Create API token')
  await page.getByLabel('Token name').fill('a script')
  await page.getByLabel('7 days').check()
  await click(page, 'button', 'Create API token')
  await heading(page, 'API token created')
  const secret = (await page.getByLabel('API token', { exact: true }).textContent()).trim()
  await manage(world, 'GET', '', undefined, secret)
  await click(page, 'link', 'Done')
  await page.getByRole('link', { name: 'Revoke token a script' }).click()
  await click(page, 'button', 'Revoke API token')
  await done(page, 'API token revoked')
  const refused = await fetch(world.api, { headers: { Authorization: `Bearer ${secret}` } })
  same(refused.status, 401, 'the deleted API token')

  const person = world.people[role]
  const elsewhere = await open(browser, world)
  await signIn(elsewhere, person)
  await toAccount()
  const others = page.getByRole('row').filter({ has: page.getByRole('button', { name: /^Sign out/ }) }).filter({ hasNotText: 'This browser' })
  // Whoever was invited has signed in before.
  for (let left = await others.count(); left > 0; left -= 1) {
    await others.first().getByRole('button', { name: /^Sign out/ }).click()
    await done(page, 'Session signed out.')
  }
  await elsewhere.goto(world.at)
  expect(elsewhere.url().includes('/console/sign-in'), 'the ended session opens nothing')
  await toAccount()
  await click(page, 'link', 'Change password')
  const password = 'yet another sentence that nobody guesses'
  await page.getByLabel('Current password').fill(person.password)
  await page.getByLabel('New password').fill(password)
  await click(page, 'button', 'Change password')
  await done(page, 'Password changed')
  await close(elsewhere)
  await click(page, 'button', 'Sign out everywhere')
  await page.getByText('You are signed out everywhere').waitFor()
  await page.goto(world.at)
  expect(page.url().includes('/console/sign-in'), 'signed out')
}
