// RudderStack's Node.js SDK with its defaults: sends events, and says what became of each batch.

import Analytics from '@rudderstack/rudder-sdk-node'

setTimeout(() => process.exit(3), 60_000).unref()

const { GATEWAY_URL, WRITE_KEY, EVENTS } = process.env
const outcome = { delivered: 0, errors: [] }
const failed = (error) => outcome.errors.push(error.response?.status ?? error.code ?? String(error))
const client = new Analytics(WRITE_KEY, { dataPlaneUrl: GATEWAY_URL, errorHandler: failed })
let outstanding = Number(EVENTS)
for (let n = 0; n < Number(EVENTS); n += 1) {
  client.track({ userId: 'user', event: `event ${n}` }, (error) => {
    outstanding -= 1
    if (!error) outcome.delivered += 1
  })
}
const deadline = Date.now() + 40_000
while (outstanding > 0 && Date.now() < deadline) {
  await client.flush().catch(failed)
  await new Promise((wake) => setTimeout(wake, 20))
}
console.log(JSON.stringify(outcome))
process.exit(0)
