// RxDB's replication without a network: a pull handler that reads an array. `node rxdb.mjs NUMBER` prints the seconds.

import { createRxDatabase } from 'rxdb/plugins/core'
import { replicateRxCollection } from 'rxdb/plugins/replication'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'

const number = Number(process.argv[2])
const documents = Array.from({ length: number }, (_, n) => ({ id: `${n}`, gloss: 'x'.repeat(280), _deleted: false }))
const database = await createRxDatabase({ name: 'bench', storage: getRxStorageMemory(), multiInstance: false })
const properties = { id: { type: 'string', maxLength: 20 }, gloss: { type: 'string' } }
const schema = { version: 0, primaryKey: 'id', type: 'object', properties }
const { bench } = await database.addCollections({ bench: { schema } })
const begin = performance.now()
const replication = replicateRxCollection({
  collection: bench,
  replicationIdentifier: 'bench',
  live: false,
  pull: {
    batchSize: 1000,
    async handler(checkpoint, size) {
      const from = checkpoint?.from ?? 0
      return { documents: documents.slice(from, from + size), checkpoint: { from: Math.min(from + size, number) } }
    },
  },
})
await replication.awaitInitialReplication()
const seconds = (performance.now() - begin) / 1000
if ((await bench.count().exec()) !== number) throw new Error('documents are missing')
console.log(JSON.stringify({ seconds }))
process.exit()
