// A newcomer's way, from an empty hand to an enforced source and back, following what the pages say.

import { click, close, done, event, heading, keyPair, open, same, signIn, token, unique, value } from '../lib.mjs'

async function createApp(page, name, publicKey, keyName) {
  await click(page, 'link', 'OAuth applications')
  await click(page, 'link', 'Create OAuth app')
  await heading(page, 'Create OAuth app')
  await page.getByLabel('Application name').fill(name)
  await page.getByLabel('Public key', { exact: true }).fill(publicKey)
  await page.getByLabel('Public key name').fill(keyName)
  await page.getByLabel('1 week').check()
  await click(page, 'button', 'Create OAuth app')
  await heading(page, name)
  await done(page, 'OAuth app created.')
  return { appId: await value(page, 'Application ID'), keyId: await value(page, 'Key ID') }
}

async function createSource(page, name) {
  await click(page, 'link', 'Sources')
  await click(page, 'link', 'Add source')
  await page.getByLabel('Source name').fill(name)
  await page.getByLabel('Node.js').check()
  await click(page, 'button', 'Add source')
  await done(page, 'Source created.')
}

async function settled(page, world, writeKey, accessToken, wanted, what) {
  same(await event(world, writeKey, accessToken), wanted, what)
}

/** Every step of the way, with or without script. */
export async function wholeWay(browser, world, script) {
  const page = await open(browser, world, { script })
  const [appName, sourceName] = [unique('Shop backend'), unique('Checkout')]
  const first = keyPair()
  await signIn(page, world.owner, world.at)
  const app = await createApp(page, appName, first.publicKey, 'first machine')
  const withFirst = { ...app, privateKey: first.privateKey }

  await createSource(page, sourceName)
  await click(page, 'link', 'Connect OAuth app')
  await page.getByLabel(appName).check()
  await click(page, 'button', 'Connect')
  await done(page, 'OAuth app connected.')

  await click(page, 'link', 'Start observing')
  await heading(page, 'Start observing')
  await click(page, 'button', 'Start observing')
  await done(page, 'Observing')
  await click(page, 'link', 'Overview')
  // The first link of that name is the workspace's.
  await click(page, 'link', 'Sources')
  await click(page, 'link', sourceName)
  const writeKey = await value(page, 'Write key')
  await settled(page, world, writeKey, undefined, 'allowed', 'without a token while observed')

  await click(page, 'link', 'OAuth app and enforcement')
  await click(page, 'link', 'Enable OAuth')
  await heading(page, 'Enable OAuth')
  await click(page, 'button', 'Enable OAuth')
  await done(page, 'OAuth enabled')
  await settled(page, world, writeKey, undefined, 'token_missing', 'without a token')
  const one = await token(world, withFirst)
  await settled(page, world, writeKey, one.value, 'allowed', 'with a token')

  await click(page, 'link', appName)
  same((await page.locator('dt', { hasText: 'Active tokens' }).locator('+ dd').textContent()).trim(), '1', 'active tokens')
  await click(page, 'link', 'Revoke token')
  await page.getByLabel('Access token').fill('eyJ nonsense')
  await click(page, 'button', 'Revoke token')
  await page.getByText('This is not an access token of this OAuth app').waitFor()
  await page.getByLabel('Access token').fill(one.value)
  await click(page, 'button', 'Revoke token')
  await done(page, 'Token revoked')
  await settled(page, world, writeKey, one.value, 'token_revoked', 'with the revoked token')

  await rotate(page, world, withFirst, writeKey)

  await click(page, 'link', 'Overview')
  await click(page, 'link', 'Sources')
  await click(page, 'link', sourceName)
  await click(page, 'link', 'OAuth app')
  await click(page, 'link', 'Disconnect')
  await heading(page, 'Disconnect OAuth app')
  await page.getByText(/stops accepting the app's tokens \(\d+ active tokens?\)/).waitFor()
  await click(page, 'button', 'Disconnect OAuth app')
  await done(page, 'OAuth app disconnected.')

  await click(page, 'link', 'OAuth applications')
  await click(page, 'link', appName)
  await click(page, 'link', 'Delete OAuth app')
  await page.getByLabel('Type the name of the OAuth app').fill('another name')
  await click(page, 'button', 'Delete OAuth app')
  await page.getByText('Enter the name of the OAuth app exactly.').waitFor()
  await page.getByLabel('Type the name of the OAuth app').fill(appName)
  await click(page, 'button', 'Delete OAuth app')
  await done(page, 'OAuth app and its keys deleted.')
  await close(page)
}

/** Adds the second key, moves over to it, and deletes the first: what it proved ends, the rest goes on. */
async function rotate(page, world, withFirst, writeKey) {
  const second = keyPair()
  const old = await token(world, withFirst)
  await click(page, 'link', 'Settings')
  await click(page, 'link', 'Add public key')
  await page.getByLabel('Public key', { exact: true }).fill(second.publicKey)
  await page.getByLabel('Public key name').fill('second machine')
  await click(page, 'button', 'Add public key')
  await done(page, 'Public key added.')
  const row = page.getByRole('row', { name: 'second machine' })
  const keyId = (await row.locator('code').textContent()).trim()
  const fresh = await token(world, { ...withFirst, keyId, privateKey: second.privateKey })
  await settled(page, world, writeKey, fresh.value, 'allowed', 'with a token of the second key')
  await page.getByRole('link', { name: 'Delete key first machine' }).click()
  await heading(page, 'Delete public key')
  await page.getByText(/Ends \d+ active tokens? issued with this key, on 1 source/).waitFor()
  await click(page, 'button', 'Delete public key')
  await done(page, 'Public key deleted')
  await settled(page, world, writeKey, old.value, 'token_revoked', 'with a token of the deleted key')
  await settled(page, world, writeKey, fresh.value, 'allowed', 'with a token of the key that stayed')
}
