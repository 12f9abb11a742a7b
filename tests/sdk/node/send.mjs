// Drives the released Node.js SDK, unmodified, for a test that speaks to it over stdin and stdout.
//
// Settings come from the environment:
//   TRACKING_URL      base of the tracking API, e.g. http://127.0.0.1:8080        (required)
//   WRITE_KEY         write key of the source                                     (required)
//   CLIENT_ID         OAuth app id; without it the SDK sends the write key alone
//   KEY_ID, PRIVATE_KEY_FILE, AUTH_SERVER, SCOPE    the rest of the OAuth settings
//   EVENTS            events of a `send` that names no count                      (250)
//   FLUSH_AT          events in a batch                                           (the SDK's 15)
//   MAX_RETRIES       tries before a batch fails                                  (the SDK's 10)
//   DEADLINE_S        how long a `send` waits for its outcomes                    (30)
//
// One JSON command a line on stdin, one JSON answer a line on stdout:
//   {"op":"send","count":250,"prefix":"a","pad":0,"deadline_s":30}   all but `op` may be left out
//   {"op":"quit"}                                                    so does the end of stdin
//
// An answer holds counts, status codes and message ids. It never holds a token, a key or a write key, and neither
// does stderr: what the SDK reports is reduced to a status or an error code here before it is written.

import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { Analytics } from '@segment/analytics-node'

const env = process.env

function required(name) {
  if (!env[name]) {
    process.stderr.write(`send.mjs: ${name} is not set\n`)
    process.exit(2)
  }
  return env[name]
}

function number(name, fallback) {
  return env[name] ? Number(env[name]) : fallback
}

// ---- what is remembered of each event and each response

const outcomes = new Map() // message id -> undefined while pending, null when delivered, else why it failed
let statuses = { tracking: {}, token: {} }
let wake = () => {}

function settle(messageId, outcome) {
  if (!outcomes.has(messageId) || outcomes.get(messageId) !== undefined) return
  outcomes.set(messageId, outcome)
  wake()
}

/** "[401] Unauthorized" becomes "401", a refused connection "ECONNREFUSED"; nothing longer gets through. */
function shortReason(reason) {
  const message = String(reason?.message ?? reason)
  const status = /^\[(\d{3})\]/.exec(message)
  if (status) return status[1]
  if (message === 'Flush timeout') return 'flush_timeout'
  const code = reason?.cause?.code ?? reason?.code ?? reason?.name ?? 'unknown'
  return /^[A-Za-z0-9_]{1,40}$/.test(code) ? code : 'unknown'
}

// ---- the SDK

const trackingUrl = required('TRACKING_URL')
const settings = {
  writeKey: required('WRITE_KEY'),
  host: trackingUrl,
  // The documented way to look at responses; the default client is this call without the count.
  httpClient: async (url, init) => {
    const response = await fetch(url, init)
    const counts = String(url).endsWith('/token') ? statuses.token : statuses.tracking
    counts[response.status] = (counts[response.status] ?? 0) + 1
    return response
  },
}
if (env.FLUSH_AT) settings.flushAt = number('FLUSH_AT')
if (env.MAX_RETRIES) settings.maxRetries = number('MAX_RETRIES')
if (env.CLIENT_ID) {
  settings.oauthSettings = {
    clientId: env.CLIENT_ID,
    clientKey: readFileSync(required('PRIVATE_KEY_FILE'), 'utf8'),
    keyId: required('KEY_ID'),
    authServer: required('AUTH_SERVER'),
  }
  if (env.SCOPE) settings.oauthSettings.scope = env.SCOPE
}

const analytics = new Analytics(settings)
analytics.on('track', (ctx) => settle(ctx.event.messageId, null))
analytics.on('error', (error) => settle(error.ctx?.event?.messageId, shortReason(error.reason)))

// ---- commands

function settledBefore(deadline, ids) {
  return new Promise((resolve) => {
    const done = () => ids.every((id) => outcomes.get(id) !== undefined)
    const timer = setTimeout(resolve, Math.max(0, deadline - Date.now()))
    wake = () => {
      if (!done()) return
      clearTimeout(timer)
      resolve()
    }
    wake()
  })
}

async function send({ count, prefix = 'e', pad = 0, deadline_s }) {
  const events = count ?? number('EVENTS', 250)
  const limitMs = 1000 * (deadline_s ?? number('DEADLINE_S', 30))
  const deadline = Date.now() + limitMs
  statuses = { tracking: {}, token: {} }

  const ids = Array.from({ length: events }, (_, i) => `${prefix}-${String(i).padStart(6, '0')}`)
  for (const messageId of ids) {
    outcomes.set(messageId, undefined)
    // Random, since a run of one letter compresses as no real event does.
    const properties = pad ? { note: randomBytes(Math.ceil(pad / 2)).toString('hex').slice(0, pad) } : {}
    analytics.track({ userId: 'user-1', event: 'Driver Event', messageId, properties })
  }
  // At its time limit the SDK gives up the batches that it still holds, which fail as `flush_timeout`.
  analytics.flush({ timeout: limitMs })
  await settledBefore(deadline + 500, ids)

  const failed = ids.filter((id) => typeof outcomes.get(id) === 'string')
  const pending = ids.filter((id) => outcomes.get(id) === undefined)
  return {
    sent: events,
    delivered: events - failed.length - pending.length,
    failed: failed.length,
    pending: pending.length,
    errors: [...new Set(failed.map((id) => outcomes.get(id)))].sort(),
    tracking_statuses: statuses.tracking,
    token_statuses: statuses.token,
    message_ids: ids,
    failed_ids: failed,
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  if (!line.trim()) continue
  const command = JSON.parse(line)
  if (command.op === 'quit') break
  if (command.op !== 'send') {
    process.stderr.write('send.mjs: unknown op\n')
    process.exit(2)
  }
  process.stdout.write(JSON.stringify(await send(command)) + '\n')
}
// The SDK's token timer would keep a drained process alive for half a token's lifetime.
process.exit(0)
