// A real OpenID provider on a port of its own. It prints its issuer as one line, and ends with its standard input.
// Whoever signs in is whom they say: the login `subject|address`, or `subject|address|unverified`.
import { generateKeyPairSync } from 'node:crypto'
import { createServer } from 'node:http'
import { Provider } from 'oidc-provider'

const { client_id, client_secret, redirect_uri, in_id_token } = JSON.parse(process.env.PROVIDER)
const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const key = { ...privateKey.export({ format: 'jwk' }), kid: 'provider-key', use: 'sig', alg: 'RS256' }

const server = createServer((request, response) => provider.callback()(request, response))
await new Promise((listening) => server.listen(0, '127.0.0.1', listening))
const issuer = `http://127.0.0.1:${server.address().port}`
const provider = new Provider(issuer, {
  clients: [{ client_id, client_secret, redirect_uris: [redirect_uri], response_types: ['code'] }],
  claims: { email: ['email', 'email_verified'] },
  conformIdTokenClaims: !in_id_token,
  cookies: { keys: ['a key of this test'] },
  jwks: { keys: [key] },
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => {
      const [, email, unverified] = id.split('|')
      return { sub: id, email, email_verified: unverified === undefined }
    },
  }),
})
console.log(issuer)
process.stdin.on('end', () => process.exit(0)).resume()
