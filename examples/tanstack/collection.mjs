// A collection of TanStack DB that holds the entities of one type in a project's log.
//
// A transaction is one batch under one idempotency key, sent again until there is a response. Its optimistic state is
// dropped when the log was read with it, so nothing flickers.

import { Log, changeOf, pause } from '../support/log.mjs'

/** Return the options for `createCollection`. `options`: as those of `Log`, and `retryTime` in milliseconds. */
export function slttCollectionOptions({ retryTime = 5000, ...options }) {
  const log = new Log(options)
  let publish
  let queue = Promise.resolve()

  /** Send a transaction after those before it, then show the log with it. A refusal undoes the transaction. */
  function send({ transaction }) {
    queue = queue.catch(() => {}).then(() => append(transaction))
    return queue
  }

  async function append(transaction) {
    const changes = transaction.mutations.map(({ type, key, original, modified, mutationId }) =>
      changeOf(type === 'insert' ? undefined : original, { ...modified, id: key, cid: mutationId, _deleted: type === 'delete' }))
    const refused = (error) => error.status >= 400 && error.status < 500 && ![408, 409, 429].includes(error.status)
    await again(() => log.append(changes, { 'Idempotency-Key': transaction.id }), refused)
    await again(publish, refused)
  }

  /** Call again after an error that is not final. */
  async function again(call, final) {
    for (;;) {
      try { return await call() } catch (error) { if (final(error)) throw error }
      await pause(retryTime)
    }
  }

  function sync({ begin, write, commit, markReady }) {
    const stop = new AbortController()
    const shown = new Map()
    publish = async () => {
      const fold = await log.read()
      begin()
      for (const [key, { seq }] of fold.entities) {
        if (shown.get(key)?.seq === seq) continue
        const { _deleted, ...value } = fold.document(key)
        const before = shown.get(key)?.alive ?? false
        if (!_deleted) write({ type: before ? 'update' : 'insert', value })
        else if (before) write({ type: 'delete', key })
        shown.set(key, { seq, alive: !_deleted })
      }
      commit()
      markReady()
    }
    again(publish, () => stop.signal.aborted).then(() => log.watch(publish, stop.signal), () => {})
    return () => stop.abort()
  }

  return { getKey: ({ id }) => id, sync: { sync, rowUpdateMode: 'full' }, onInsert: send, onUpdate: send, onDelete: send }
}
