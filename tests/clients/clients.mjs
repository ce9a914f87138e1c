// What the programs of the clients share: how much they edit, seeds, the report at the end.

import { Log, pause } from '../../examples/support/log.mjs'

export { pause }
export const CLIENTS = 3
export const EDITS = 12

/** Return a generator of numbers from 0 to 1 (mulberry32). */
export function randomOf(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** Wait until the clients have what the log has, or for 20 seconds. Return the changes, and the documents of all. */
export async function report(clients, server) {
  const log = new Log({ url: server, project: 'ruth', entityType: 'passage' })
  const fold = await log.read()
  const expected = plain([...fold.entities.keys()].map((id) => fold.document(id)).filter(({ _deleted }) => !_deleted))
  let documents
  for (let tries = 0; tries < 200; tries++) {
    documents = await Promise.all(clients.map(async (client) => plain(await client.documents())))
    if (documents.every((one) => JSON.stringify(one) === JSON.stringify(expected))) break
    await pause(100)
  }
  const { changes } = await log.request('/api/projects/ruth/changes?limit=1000')
  return { changes, expected, documents }
}

/** Return documents as sorted pairs of their fields, without what only the programs know. */
function plain(documents) {
  const fields = ({ id, cid, title, f0, f1, f2 }) => ({ id, cid, title, f0, f1, f2 })
  return documents.map(fields).sort((a, b) => (a.id < b.id ? -1 : 1))
}
