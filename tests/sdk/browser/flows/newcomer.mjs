// A newcomer in an empty workspace, who follows what the pages themselves say, from sign-in to an enforced source:
// nothing of the navigation is used.

import { close, done, event, expect, heading, keyPair, open, same, signIn, token, unique, value } from '../lib.mjs'

export async function newcomersWay(browser, world) {
  const answer = await fetch(world.api.replace(/\/[^/]*$/, ''), {
    method: 'POST',
    headers: { Authorization: `Bearer ${world.api_token}`, 'Content-Type': 'application/json' },
    body: JSON.stringify({ name: unique('Empty') }),
  })
  same(answer.status, 201, 'a new workspace')
  const at = `/console/w/${(await answer.json()).id}`
  const page = await open(browser, world)
  const main = page.getByRole('main')
  let clicks = 0
  const follow = async (role, name) => {
    clicks += 1
    await main.getByRole(role, { name, exact: true }).first().click()
  }
  await page.goto(at)
  await signIn(page, world.owner, at)
  await main.getByRole('heading', { name: 'Getting started' }).waitFor()
  await follow('link', 'Create OAuth app')
  await heading(page, 'Create OAuth app')
  const pair = keyPair()
  await main.getByLabel('Application name').fill('My backend')
  await main.getByLabel('Public key', { exact: true }).fill(pair.publicKey)
  await main.getByLabel('Public key name').fill('laptop')
  await follow('button', 'Create OAuth app')
  await done(page, 'Next: connect it to a source.')
  const app = { appId: await value(page, 'Application id'), keyId: await value(page, 'Key id'), privateKey: pair.privateKey }
  await follow('link', 'Choose a source')
  await follow('link', 'Add source')
  await main.getByLabel('Source name').fill('My site')
  await follow('button', 'Add source')
  await done(page, 'Next: connect an OAuth app to it.')
  await follow('link', 'Connect OAuth app')
  clicks += 1
  await main.getByLabel('My backend', { exact: true }).check()
  await follow('button', 'Connect')
  await done(page, 'Next: observe what enforcement would do.')
  await follow('link', 'Observe')
  await follow('button', 'Start observing')
  await done(page, 'Observing')
  await follow('link', 'write key of this source')
  const writeKey = await value(page, 'Write key')
  const held = await token(world, app)
  same(await event(world, writeKey, held.value), 'allowed', 'with a token while observed')
  await follow('link', 'OAuth app')
  await follow('link', 'Enable OAuth')
  await follow('button', 'Enable OAuth')
  await done(page, 'OAuth is enforced')
  same(await event(world, writeKey), 'token_missing', 'without a token')
  same(await event(world, writeKey, held.value), 'allowed', 'with a token')
  await page.goto(at)
  same(await main.getByRole('heading', { name: 'Getting started' }).count(), 0, 'what remains to be done')
  // Twenty clicks and five fields are well below three minutes.
  expect(clicks <= 20, `${clicks} clicks`)
  await close(page)
}
