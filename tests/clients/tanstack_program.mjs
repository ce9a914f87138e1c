// Three clients of TanStack DB, which edit while connections are cut: `node tanstack_program.mjs PROXY SERVER SEED`.

import { createCollection } from '@tanstack/db'
import { slttCollectionOptions } from '../../examples/tanstack/collection.mjs'
import { CLIENTS, EDITS, pause, randomOf, report } from './clients.mjs'

const [proxy, server, seed] = process.argv.slice(2)
const random = randomOf(Number(seed))

class Client {
  static async start(number) {
    const options = slttCollectionOptions({ url: proxy, project: 'ruth', entityType: 'passage', retryTime: 10 })
    const collection = createCollection({ id: `client${number}`, ...options })
    await collection.preload()
    return Object.assign(new Client(), { number, collection })
  }

  async edit() {
    const { collection, number } = this
    const sent = []
    const missing = this.missing = []
    for (let n = 1; n <= EDITS; n++) {
      const id = `own-${number}-${n}`
      const inserted = collection.insert({ id, title: `${n}` })
      sent.push(inserted)
      inserted.isPersisted.promise.then(() => n % 3 === 2 || collection.has(id) || missing.push(id))
      const fields = { [`f${number}`]: n, title: `${number}:${n}` }
      if (collection.has('shared')) sent.push(collection.update('shared', (draft) => void Object.assign(draft, fields)))
      else sent.push(collection.insert({ id: 'shared', ...fields }))
      if (n % 3 === 0) sent.push(collection.delete(`own-${number}-${n - 1}`))
      await pause(random() * 30)
    }
    await Promise.all(sent.map((transaction) => transaction.isPersisted.promise))
  }

  async documents() {
    return this.collection.toArray
  }
}

const clients = await Promise.all(Array.from({ length: CLIENTS }, (_, number) => Client.start(number)))
await Promise.all(clients.map((client) => client.edit()))
const missing = clients.flatMap((client) => client.missing)
console.log(JSON.stringify({ ...(await report(clients, server)), missing }))
process.exit()
