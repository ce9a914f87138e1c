// Three clients of RxDB, which edit while connections are cut: `node rxdb_program.mjs PROXY SERVER SEED`.

import { createRxDatabase } from 'rxdb/plugins/core'
import { getRxStorageMemory } from 'rxdb/plugins/storage-memory'
import { SlttAdapter } from '../../examples/rxdb/replication.mjs'
import { CLIENTS, EDITS, pause, randomOf, report } from './clients.mjs'

const [proxy, server, seed] = process.argv.slice(2)
const random = randomOf(Number(seed))
const text = { type: 'string' }
const schema = {
  version: 0,
  primaryKey: 'id',
  type: 'object',
  properties: { id: { type: 'string', maxLength: 100 }, cid: text, title: text, f0: { type: 'number' }, f1: { type: 'number' }, f2: { type: 'number' } },
}
const heard = new Set()

class Client {
  static async start(number) {
    const client = Object.assign(new Client(), { number })
    client.database = await createRxDatabase({ name: `client${number}`, storage: getRxStorageMemory(), multiInstance: false })
    client.adapter = new SlttAdapter({ url: proxy, project: 'ruth', entityType: 'passage' })
    const conflictHandler = client.adapter.conflictHandler
    client.collection = (await client.database.addCollections({ passages: { schema, conflictHandler } })).passages
    client.connect()
    return client
  }

  connect() {
    this.replication = this.adapter.replicate(this.collection, { retryTime: 10 })
    this.replication.pull.stream$.subscribe((value) => heard.add(value))
  }

  async edit() {
    const { collection, number } = this
    for (let n = 1; n <= EDITS; n++) {
      await collection.insert({ id: `own-${number}-${n}`, title: `${n}` })
      const shared = await collection.findOne('shared').exec()
      const fields = { [`f${number}`]: n, title: `${number}:${n}` }
      if (shared) await shared.incrementalPatch(fields)
      else await collection.insert({ id: 'shared', ...fields })
      if (n % 3 === 0) await (await collection.findOne(`own-${number}-${n - 1}`).exec()).remove()
      if (n === 5) await this.replication.cancel() // offline
      if (n === 8) this.connect()
      await pause(random() * 30)
    }
    await this.replication.awaitInSync()
  }

  async documents() {
    const found = await this.collection.find().exec()
    return found.map((document) => document.toJSON())
  }
}

const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, number) => Client.start(number)))
await Promise.all(clients.map((client) => client.edit()))
const found = await report(clients, server)

// A pull depends on its checkpoint alone: an adapter that was just made has the same response.
const used = clients[0].adapter
used.log.url = server
const pulls = []
for (const checkpoint of [undefined, { seq: 1 }, { seq: 17 }, { seq: found.changes.length }]) {
  for (const size of [5, 1000]) {
    const fresh = new SlttAdapter({ url: server, project: 'ruth', entityType: 'passage' })
    pulls.push([await fresh.pull(checkpoint, size), await used.pull(checkpoint, size)])
  }
}
console.log(JSON.stringify({ ...found, heard: [...heard], pulls }))
process.exit()
