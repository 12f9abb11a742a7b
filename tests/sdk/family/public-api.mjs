// The SDK of Segment's Public API: its first call, and how it reads an error.

import { createRequire } from 'node:module'

setTimeout(() => process.exit(3), 60_000).unref()

const { WorkspacesApi } = createRequire(import.meta.url)('@segment/public-api-sdk-typescript')
const { GATEWAY_URL, TOKEN } = process.env
const api = new WorkspacesApi(GATEWAY_URL)
api.accessToken = TOKEN
try {
  const { response, body } = await api.getWorkspace()
  console.log(JSON.stringify({ status: response.statusCode, name: body.data.workspace.name }))
} catch (error) {
  const { statusCode, body } = error
  console.log(JSON.stringify({ status: statusCode, errors: body?.errors, thrown: statusCode ? undefined : String(error) }))
}
