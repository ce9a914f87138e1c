// PouchDB reads a database of pouchdb-server, both in memory. `node pouchdb.cjs NUMBER` starts the server as another
// process, fills it, and prints the seconds of the replication.

const { fork } = require('node:child_process')
const express = require('express')
const PouchDB = require('pouchdb-core')

for (const plugin of ['adapter-memory', 'adapter-http', 'replication', 'mapreduce']) PouchDB.plugin(require(`pouchdb-${plugin}`))

function serve() {
  const app = express()
  const options = { inMemoryConfig: true, logPath: '/dev/null', mode: 'minimumForPouchDB' }
  app.use('/', require('express-pouchdb')(PouchDB.defaults({ adapter: 'memory' }), options))
  const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port))
}

async function measure(number) {
  const server = fork(__filename, ['serve'], { stdio: 'ignore' })
  const port = await new Promise((resolve) => server.once('message', resolve))
  const remote = new PouchDB(`http://127.0.0.1:${port}/bench`, { adapter: 'http' })
  for (let from = 0; from < number; from += 1000) {
    const length = Math.min(1000, number - from)
    await remote.bulkDocs(Array.from({ length }, (_, n) => ({ _id: `${from + n}`, gloss: 'x'.repeat(280) })))
  }
  const local = new PouchDB('local', { adapter: 'memory' })
  const begin = performance.now()
  await local.replicate.from(remote, { batch_size: 1000 })
  const seconds = (performance.now() - begin) / 1000
  const { doc_count } = await local.info()
  server.kill()
  if (doc_count !== number) throw new Error('documents are missing')
  console.log(JSON.stringify({ seconds }))
  process.exit()
}

if (process.argv[2] === 'serve') serve()
else measure(Number(process.argv[2]))
