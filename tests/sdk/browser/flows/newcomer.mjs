// A newcomer in an empty workspace, who follows what the pages themselves say, from sign-in to an enforced source:
// nothing of the navigation is used.
//
// How long that takes a person is estimated with the keystroke-level model (Card, Moran and Newell, 1980) and the mean
// speed of silent reading (Brysbaert, 2019). A page's text counts from its top down to what is done on it, each sentence
// when it is first met, samples of code apart; of it people read a bit more than a quarter (Weinreich et al., 2008).

import { close, done, event, expect, heading, keyPair, open, same, signIn, token, unique, value } from '../lib.mjs'

const WORD_S = 60 / 238
const READ = 0.28
// To decide, to point, to press and let go.
const CLICK_S = 1.35 + 1.1 + 0.2
// From the mouse to the keys and back, and one key of a good typist.
const HANDS_S = 0.8
const KEY_S = 0.2
// To open a terminal, paste the page's lines for a key pair there, and copy what they print.
const TERMINAL_S = 20
const BOUND_S = 180

/** Seconds that a person needs who sees each page for the first time. */
class Person {
  constructor(page) {
    this.main = page.getByRole('main')
    this.clicks = 0
    this.words = 0
    this.acting = TERMINAL_S
    this.known = new Set()
  }

  /** Reads the page down to `target`. */
  async readTo(target) {
    const text = await target.evaluate((end) => {
      const main = document.querySelector('main')
      const range = document.createRange()
      range.setStart(main, 0)
      range.setEndAfter(end)
      const read = document.createElement('div')
      read.append(range.cloneContents())
      for (const skipped of read.querySelectorAll('pre, code, option, .sr, [hidden]')) skipped.remove()
      // Laid out, so that its lines are those of the page.
      main.append(read)
      const text = read.innerText
      read.remove()
      return text
    })
    const lines = text.split('\n').map((line) => line.trim())
    for (const line of lines.filter((line) => line && !this.known.has(line))) {
      this.known.add(line)
      this.words += line.split(/\s+/).length
    }
  }

  async follow(role, name) {
    const target = this.main.getByRole(role, { name, exact: true }).first()
    await this.readTo(target)
    this.acting += CLICK_S
    this.clicks += 1
    await target.click()
  }

  async type(label, text) {
    this.typed(text)
    await this.main.getByLabel(label, { exact: true }).fill(text)
  }

  /** Chooses a field, and writes into it; what is pasted is not written. */
  typed(text, pasted = false) {
    this.acting += CLICK_S + HANDS_S + (pasted ? 2 : text.length) * KEY_S
  }

  /** All of it, for who reads this share of the words. */
  seconds(share) {
    return Math.round(this.acting + share * this.words * WORD_S)
  }
}

/** Makes a workspace as the owner, in a session: no API token makes one. */
async function newWorkspace(world) {
  const workspaces = world.api.replace(/\/[^/]*$/, '')
  const post = (url, body, headers = {}) =>
    fetch(url, {
      method: 'POST',
      headers: { ...headers, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
  const { email, password } = world.owner
  const signedIn = await post(workspaces.replace(/\/[^/]*$/, '/session'), { email, password })
  same(signedIn.status, 201, 'a session')
  const cookie = signedIn.headers.getSetCookie().map((set) => set.split(';')[0]).join('; ')
  const { csrf_token: token } = await signedIn.json()
  return await post(workspaces, { name: unique('Empty') }, { Cookie: cookie, 'X-CSRF-Token': token })
}

export async function newcomersWay(browser, world) {
  const answer = await newWorkspace(world)
  same(answer.status, 201, 'a new workspace')
  const at = `/console/w/${(await answer.json()).id}`
  const page = await open(browser, world)
  const person = new Person(page)
  const { main } = person
  await page.goto(at)
  await person.readTo(main.getByRole('button', { name: 'Sign in', exact: true }))
  person.typed(world.owner.email)
  person.typed(world.owner.password)
  person.acting += CLICK_S
  await signIn(page, world.owner, at)

  await main.getByRole('heading', { name: 'Getting started' }).waitFor()
  await person.follow('link', 'Create OAuth app')
  await heading(page, 'Create OAuth app')
  const pair = keyPair()
  await person.type('Application name', 'My backend')
  person.typed(pair.publicKey, true)
  await main.getByLabel('Public key', { exact: true }).fill(pair.publicKey)
  await person.type('Public key name', 'laptop')
  await person.follow('button', 'Create OAuth app')
  await done(page, 'Next: connect it to a source.')
  const app = { appId: await value(page, 'Application ID'), keyId: await value(page, 'Key ID'), privateKey: pair.privateKey }
  await person.follow('link', 'Add source')
  await person.type('Source name', 'My site')
  await person.follow('button', 'Add source')
  await done(page, 'Next: connect an OAuth app to it.')
  await person.follow('link', 'Connect OAuth app')
  const choice = main.getByLabel('My backend', { exact: true })
  person.clicks += 1
  person.acting += CLICK_S
  await choice.check()
  await person.follow('button', 'Connect')
  await done(page, 'Next: start observing.')
  await person.follow('link', 'Start observing')
  await person.follow('button', 'Start observing')
  await done(page, 'Observing')
  await person.follow('link', 'Enable OAuth')
  await person.follow('button', 'Enable OAuth')
  await done(page, 'OAuth enabled')
  await person.readTo(main.getByText('OAuth enabled').first())

  // What the person has reached holds.
  await page.goto(new URL(page.url()).pathname.replace(/\/oauth$/, ''))
  const writeKey = await value(page, 'Write key')
  same(await event(world, writeKey), 'token_missing', 'without a token')
  same(await event(world, writeKey, (await token(world, app)).value), 'allowed', 'with a token')
  await page.goto(at)
  same(await main.getByRole('heading', { name: 'Getting started' }).count(), 0, 'what remains to be done')
  await close(page)
  const said = `${person.seconds(READ)} s by the model, ${person.seconds(1)} s with every word read: ${person.clicks} clicks, ${person.words} words`
  expect(person.seconds(READ) < BOUND_S, said)
  return said
}
