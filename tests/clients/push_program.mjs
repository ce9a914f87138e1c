// The rare orders of a push of the adapter for RxDB, each made to happen: `node push_program.mjs SERVER`.

import { SlttAdapter } from '../../examples/rxdb/replication.mjs'

const url = process.argv[2]
const found = {}

/** Run a case on a project of its own, which has a document that `mine` and `theirs` know. */
async function run(name, action) {
  const make = () => new SlttAdapter({ url, project: name, entityType: 'passage' })
  const [mine, theirs] = [make(), make()]
  const base = { id: 'r1', cid: 'base', title: 'a', verses: 1, _deleted: false }
  await mine.push([{ newDocumentState: base }])
  found[name] = await action({ mine, theirs, base, row: (change) => ({ assumedMasterState: base, newDocumentState: { ...base, ...change } }) })
  const { changes } = await mine.log.request(`/api/projects/${name}/changes`)
  found[name].log = changes.map(({ cid, operation, data }) => [cid, operation, data])
}

const input = (row, theirs) => ({ ...row, realMasterState: theirs })

// Between the look for conflicts and the append, somebody else appends.
await run('overtaken', async ({ mine, theirs, row }) => {
  const append = mine.log.append
  mine.log.append = async function (...batch) {
    mine.log.append = append
    await theirs.push([row({ cid: 'theirs', title: 'b' })])
    return append.apply(this, batch)
  }
  const pushed = row({ cid: 'mine', title: 'c' })
  const conflicts = await mine.push([pushed])
  return { conflicts, resolved: mine.conflictHandler.resolve(input(pushed, conflicts[0])) }
})

// The response is lost, and somebody else is next: the edit is in the log, and has been overwritten.
await run('lost', async ({ mine, theirs, row }) => {
  const append = mine.log.append
  mine.log.append = async function (...batch) {
    mine.log.append = append
    await append.apply(this, batch)
    throw new Error('the response was lost')
  }
  const pushed = row({ cid: 'mine', title: 'b' })
  const error = await mine.push([pushed]).catch(({ message }) => message)
  const { documents } = await theirs.pull(undefined, 10)
  await theirs.push([{ assumedMasterState: documents[0], newDocumentState: { ...documents[0], cid: 'theirs', title: 'c' } }])
  const conflicts = await mine.push([pushed])
  return { error, conflicts, resolved: mine.conflictHandler.resolve(input(pushed, conflicts[0])) }
})

// Nobody is next.
await run('again', async ({ mine, row }) => {
  const pushed = row({ cid: 'mine', title: 'b' })
  return { conflicts: [...(await mine.push([pushed])), ...(await mine.push([pushed]))] }
})

// A field is removed, the document deleted, and made anew.
await run('deleted', async ({ mine, base, row }) => {
  const states = [base, { id: 'r1', cid: 'c1', title: 'a', _deleted: false }, { id: 'r1', cid: 'c2', _deleted: true }, { ...base, cid: 'c3', verses: 2 }]
  const documents = []
  const conflicts = []
  for (let i = 1; i < states.length; i++) {
    conflicts.push(...(await mine.push([{ assumedMasterState: states[i - 1], newDocumentState: states[i] }])))
    documents.push(...(await mine.pull(undefined, 10)).documents)
  }
  const gone = row({ cid: 'mine', title: 'c' })
  return { conflicts, same: JSON.stringify(documents.map(sorted)) === JSON.stringify(states.slice(1).map(sorted)), resolved: mine.conflictHandler.resolve(input(gone, states[2])) }
})

// Changes without a `cid`, one of an operation that is not known, and a tombstone.
await run('foreign', async ({ mine, theirs, base }) => {
  const states = []
  for (const change of [{ operation: 'update', data: { title: 'b' } }, { operation: 'update', data: { title: 'c' } }]) {
    await theirs.log.append([{ entityId: 'r1', ...change }])
    states.push((await mine.pull(undefined, 10)).documents[0])
  }
  const { fold } = mine.log
  for (const operation of ['void', 'merge']) fold.add({ seq: 9, entityId: 'r1', operation, data: { title: 'd' } })
  const equal = mine.conflictHandler.isEqual(...states)
  return { states, equal, unchanged: fold.document('r1') }
})

function sorted(document) {
  return Object.entries(document).sort()
}

console.log(JSON.stringify(found))
