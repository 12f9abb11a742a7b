// Each role's own way through the console: every link that it is shown leads to a page, and what it may not do is not
// there.

import { axe, click, close, heading, open, same, signIn, sound } from '../lib.mjs'

const EDITS_APPS = ['workspace_owner', 'source_admin', 'function_admin']
const SEES_SOURCES = ['workspace_owner', 'source_admin', 'source_read_only']
const SEES_FUNCTIONS = ['workspace_owner', 'function_admin', 'function_read_only']
const ADMINS = ['workspace_owner', 'source_admin', 'function_admin']

export async function wayOf(browser, world, role) {
  const page = await open(browser, world)
  await signIn(page, world.people[role])
  const nav = page.getByRole('navigation', { name: 'Workspace' })
  const names = (await nav.getByRole('link').allTextContents()).map((name) => name.trim())
  same(names.includes('Members'), role === 'workspace_owner', `${role} is shown the members`)
  same(names.includes('OAuth applications'), role !== 'workspace_member', `${role} is shown the OAuth apps`)
  for (const name of names) {
    await nav.getByRole('link', { name, exact: true }).click()
    await sound(page)
    same(await page.getByRole('heading', { name: 'You may not do this' }).count(), 0, `${role} may open ${name}`)
  }
  if (role === 'workspace_member') {
    await nav.getByRole('link', { name: 'Overview' }).click()
    await page.getByRole('link', { name: world.people.workspace_owner.email }).waitFor()
    await page.goto(`${world.at}/apps`)
    await heading(page, 'You may not do this')
    await axe(page)
    return close(page)
  }
  await appOf(page, nav, role)
  await sourcesOf(page, nav, role)
  await close(page)
}

async function appOf(page, nav, role) {
  await nav.getByRole('link', { name: 'OAuth applications' }).click()
  same(await page.getByRole('link', { name: 'Create OAuth app' }).count() > 0, role === 'workspace_owner', `${role} may create`)
  await click(page, 'link', 'Quickstart app')
  const edits = EDITS_APPS.includes(role)
  same(await page.getByRole('link', { name: 'Revoke a token' }).count(), edits ? 1 : 0, `${role} may revoke`)
  await click(page, 'link', 'Settings')
  same(await page.getByRole('button', { name: 'Save changes' }).count(), edits ? 1 : 0, `${role} may save`)
  // A role that only reads is shown no form but the one that signs it out.
  if (!edits) same(await page.locator('form').count(), 1, `forms that ${role} is shown`)
}

async function sourcesOf(page, nav, role) {
  for (const [name, sees] of [['Observed', SEES_SOURCES], ['Webhook', SEES_FUNCTIONS]]) {
    await nav.getByRole('link', { name: 'Sources' }).click()
    const link = page.getByRole('link', { name, exact: true })
    same(await link.count(), sees.includes(role) ? 1 : 0, `${role} sees ${name}`)
    if (!sees.includes(role)) continue
    await link.click()
    await click(page, 'link', 'OAuth app')
    same(await page.getByRole('link', { name: 'Disconnect' }).count(), ADMINS.includes(role) ? 1 : 0, `${role} may disconnect ${name}`)
    if (ADMINS.includes(role)) {
      await click(page, 'link', 'Disconnect')
      await heading(page, 'Disconnect OAuth app')
      await click(page, 'link', 'Cancel')
    }
  }
}
