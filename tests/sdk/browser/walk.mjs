// Walks the console in a browser. The world is a JSON file named on the command line; each flow's outcome is one line
// of JSON on standard output. It never writes a token, a key, a cookie or a password.

import { readFileSync } from 'node:fs'
import { open, signIn, startBrowser } from './lib.mjs'
import { wholeWay } from './flows/enforce.mjs'
import { looksOf } from './flows/looks.mjs'
import { tokensOf } from './flows/keys.mjs'
import { newcomersWay } from './flows/newcomer.mjs'
import { wayOf } from './flows/roles.mjs'

const world = JSON.parse(readFileSync(process.argv[2], 'utf8'))
const browser = await startBrowser(world)

// Flows at once. Two cores do the work of two pages and the server.
const AT_ONCE = 3

const flows = []
const flow = (name, run) => flows.push({ name, run })
// What would end the tokens of the others waits for them.
const last = []

async function cookiesOf(person) {
  const page = await open(browser, world)
  await signIn(page, person, world.at)
  const cookies = await page.context().cookies()
  await page.context().close()
  return cookies
}

flow('the way of a newcomer', () => newcomersWay(browser, world))
flow('the whole way with script', () => wholeWay(browser, world, true))
flow('the whole way without script', () => wholeWay(browser, world, false))

for (const role of Object.keys(world.people)) {
  flow(`the way of ${role}`, () => wayOf(browser, world, role))
}

last.push({ name: 'signing keys and leaked tokens with script', run: () => tokensOf(browser, world, true) })
last.push({ name: 'signing keys and leaked tokens without script', run: () => tokensOf(browser, world, false) })

const owner = await cookiesOf(world.owner)
const outside = world.pages.filter(([name]) => name.startsWith('out-'))
const inside = world.pages.filter(([name]) => !name.startsWith('out-'))
flow('looks of pages for everybody', () => looksOf(browser, world, [], outside))
// A handful at a time, so that one failure does not hide many.
for (let at = 0; at < inside.length; at += 6) {
  const some = inside.slice(at, at + 6)
  flow(`looks of ${some.map(([name]) => name).join(', ')}`, () => looksOf(browser, world, owner, some))
}

async function worker(flows) {
  for (let next = flows.shift(); next; next = flows.shift()) {
    const began = Date.now()
    let problem = null
    let said = null
    try {
      said = (await next.run()) ?? null
    } catch (error) {
      // Playwright's log of a failed step repeats what was typed; its first line does not.
      problem = String(error?.message ?? error).split('\n')[0].slice(0, 600)
      if (!(error?.constructor?.name === 'Failed')) problem += ` at ${String(error?.stack).split('\n').find((line) => line.includes('flows/'))?.trim() ?? '?'}`
    }
    process.stdout.write(`${JSON.stringify({ flow: next.name, problem, said, ms: Date.now() - began })}\n`)
  }
}

await Promise.all(Array.from({ length: AT_ONCE }, () => worker(flows)))
await worker(last)
await browser.close()
process.stdout.write(`${JSON.stringify({ end: true })}\n`)
