// Signing keys and leaked tokens: what an owner does when a key or a token leaked.

import { click, close, done, event, expect, heading, keyPair, manage, open, same, signIn, token, unique } from '../lib.mjs'

/** A token that a source of its own accepts. */
async function sending(world) {
  const pair = keyPair()
  const app = await manage(world, 'POST', '/apps', {
    name: unique('Ended'), scopes: ['tracking_api:write'], token_lifetime: '1d', public_key: { name: 'first', pem: pair.publicKey },
  })
  const source = await manage(world, 'POST', '/sources', { name: unique('Ended'), kind: 'nodejs' })
  await manage(world, 'PUT', `/sources/${source.id}/app`, { app_id: app.id })
  await manage(world, 'PUT', `/sources/${source.id}/enforcement`, { mode: 'on' })
  const fetched = () => token(world, { appId: app.id, keyId: app.keys[0].id, privateKey: pair.privateKey })
  return { fetched, send: (held) => event(world, source.write_key, held.value) }
}

export async function tokensOf(browser, world, script) {
  const client = await sending(world)
  const page = await open(browser, world, { script })
  await signIn(page, world.owner, world.at)
  await click(page, 'link', 'Leaked tokens')
  await heading(page, 'Leaked tokens')
  const notices = await page.getByRole('row').count()
  await page.getByRole('button', { name: /^Dismiss/ }).first().click()
  await done(page, 'Notice dismissed.')
  same(await page.getByRole('row').count(), notices - 1, 'notices left')
  await click(page, 'link', 'Overview')
  await click(page, 'link', 'Signing keys')
  await heading(page, 'Signing keys')

  const held = await client.fetched()
  same(await client.send(held), 'allowed', 'with a token')
  await click(page, 'link', 'Rotate now')
  await page.getByText('No active tokens are affected').waitFor()
  await click(page, 'button', 'Rotate now')
  await done(page, 'The next signing key is published')
  same(await client.send(held), 'allowed', 'after a rotation')
  await page.getByRole('row', { name: 'Signing' }).last().getByRole('link', { name: /^Revoke/ }).click()
  await heading(page, 'Revoke signing key')
  const told = await page.getByText(/\d+ active tokens? stops? working/).textContent()
  expect(Number(/(\d+) active token/.exec(told)[1]) >= 1, `no token counted: ${told}`)
  await click(page, 'button', 'Revoke signing key')
  await done(page, 'Signing key revoked.')
  same(await client.send(held), 'token_key_unknown', 'after its key was ended')
  const fresh = await client.fetched()
  same(await client.send(fresh), 'allowed', 'with a token of the next key')
  await click(page, 'link', 'Revoke all signing keys')
  await page.getByLabel('Type “revoke all” to confirm').fill('revoke all')
  await click(page, 'button', 'Revoke all signing keys')
  await done(page, 'All signing keys revoked.')
  same(await client.send(fresh), 'token_key_unknown', 'after all keys were ended')
  await close(page)
}
