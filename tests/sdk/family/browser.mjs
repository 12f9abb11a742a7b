// Segment's browser SDK in Chromium, on a page of another origin than the gateway. What the page was told about its
// requests is one line of JSON.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

const { chromium } = createRequire(new URL('../browser/package.json', import.meta.url))('playwright-core')

setTimeout(() => process.exit(3), 60_000).unref()
const { GATEWAY_URL, WRITE_KEY, EVENTS, CHROMIUM } = process.env
const bundles = fileURLToPath(new URL('./node_modules/@segment/analytics-next/dist/umd/', import.meta.url))

// The page, its script, and the settings that the SDK fetches from the CDN.
const site = createServer((request, response) => {
  const path = new URL(request.url, 'http://site').pathname
  const bundle = /^\/js\/([\w.-]+\.js)$/.exec(path)
  if (bundle) {
    response.setHeader('Content-Type', 'text/javascript')
    response.end(readFileSync(bundles + bundle[1]))
  } else if (path.endsWith('/settings')) {
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify({
      integrations: { 'Segment.io': { apiKey: WRITE_KEY, apiHost: `${new URL(GATEWAY_URL).host}/v1`, protocol: 'http' } },
    }))
  } else {
    response.setHeader('Content-Type', 'text/html')
    response.end('<!doctype html><title>shop</title><script src="/js/index.js"></script>')
  }
})
await new Promise((listening) => site.listen(0, '127.0.0.1', listening))
const origin = `http://localhost:${site.address().port}`

const browser = await chromium.launch({
  executablePath: CHROMIUM,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--no-proxy-server',
    '--disable-dev-shm-usage'],
})
try {
  const page = await browser.newPage()
  const outcome = { answered: [], failed: [], readable: null }
  const isEvent = (request) => request.url().startsWith(GATEWAY_URL) && request.method() === 'POST'
  page.on('requestfinished', async (request) => {
    if (isEvent(request)) outcome.answered.push((await request.response()).status())
  })
  page.on('requestfailed', (request) => isEvent(request) && outcome.failed.push(request.failure().errorText))
  await page.goto(origin)
  await page.waitForFunction('window.AnalyticsNext')
  await page.evaluate(async ({ writeKey, events, cdnURL }) => {
    const [analytics] = await window.AnalyticsNext.AnalyticsBrowser.load({ writeKey, cdnURL })
    for (let n = 0; n < events; n += 1) await analytics.track(`event ${n}`)
  }, { writeKey: WRITE_KEY, events: Number(EVENTS), cdnURL: origin })
  // What a script of the page can read of a denial.
  outcome.readable = await page.evaluate(async (url) => {
    try {
      const response = await fetch(`${url}/v1/t`, {
        method: 'POST', headers: { Authorization: 'Basic x', 'Content-Type': 'application/json' }, body: '{}',
      })
      return { status: response.status, id: response.headers.get('X-Request-Id'), reason: (await response.json()).reason }
    } catch (error) {
      return String(error)
    }
  }, GATEWAY_URL)
  const deadline = Date.now() + 20_000
  while (outcome.answered.length + outcome.failed.length < Number(EVENTS) && Date.now() < deadline) {
    await page.waitForTimeout(50)
  }
  console.log(JSON.stringify(outcome))
} finally {
  await browser.close()
  site.close()
}
