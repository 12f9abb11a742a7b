// A Node.js SDK of the family with its defaults: sends events, and says how many were delivered and what failed.

setTimeout(() => process.exit(3), 60_000).unref()

const { GATEWAY_URL, WRITE_KEY, EVENTS, LIBRARY } = process.env
const outcome = { delivered: 0, errors: [] }
const failed = (error) => outcome.errors.push(error?.response?.status ?? error?.code ?? String(error?.reason ?? error))
const event = (n) => ({ userId: 'user', event: `event ${n}` })

// `track(event, done)`, and `flush()` where the SDK needs one.
function callbacks(client) {
  return { track: (n, done) => client.track(event(n), done), flush: async () => { await client.flush() } }
}

const libraries = {
  'analytics-node-6': async () => {
    const { default: Analytics } = await import('analytics-node')
    return callbacks(new Analytics(WRITE_KEY, { host: GATEWAY_URL, errorHandler: failed }))
  },
  'analytics-node-3': async () => {
    const { default: Analytics } = await import('analytics-node-3')
    return callbacks(new Analytics(WRITE_KEY, { host: GATEWAY_URL }))
  },
  'segment-node-2': () => segment('analytics-node-2'),
  'segment-node-1': () => segment('analytics-node-1'),
  'customerio-node': () => segment('@customerio/cdp-analytics-node'),
  'expo-rudder-node': async () => {
    const { default: { default: Analytics } } = await import('@expo/rudder-sdk-node')
    return callbacks(new Analytics(WRITE_KEY, `${GATEWAY_URL}/v1/batch`))
  },
}

async function segment(name) {
  const { Analytics } = await import(name)
  const client = new Analytics({ writeKey: WRITE_KEY, host: GATEWAY_URL })
  client.on('error', failed)
  return { track: (n, done) => client.track(event(n), done), flush: async () => { await client.closeAndFlush() } }
}

const client = await libraries[LIBRARY]()
let outstanding = Number(EVENTS)
for (let n = 0; n < Number(EVENTS); n += 1) {
  client.track(n, (error) => {
    outstanding -= 1
    if (error) failed(error)
    else outcome.delivered += 1
  })
}
const deadline = Date.now() + 40_000
while (outstanding > 0 && Date.now() < deadline) {
  await client.flush().catch(failed)
  await new Promise((wake) => setTimeout(wake, 20))
}
console.log(JSON.stringify(outcome))
process.exit(0)
