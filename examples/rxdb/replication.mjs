// Replicates a collection of RxDB with the entities of one type in a project's log, through RxDB's own protocol.
//
// A document is the fold of an entity's changes. Its field `cid` is that of the entity's last change, so two states of
// a document are equal if their `cid` is. A push appends one change for each document, with the fields that differ, only
// if the log still ends where the conflicts were looked for. Then the log's document is the pushed one.

import { replicateRxCollection } from 'rxdb/plugins/replication'
import { Subject } from 'rxjs'
import { Log, changeOf, difference } from '../support/log.mjs'

const BATCH = 98 // the most changes that the server appends at once

export class SlttAdapter {
  /** `options`: the URL of the server, the project, the type of the entities, the headers of each request. */
  constructor(options) {
    this.log = new Log(options)
  }

  /** The `conflictHandler` of the collection: an edit keeps its fields, and takes the others from the log. */
  get conflictHandler() {
    return {
      isEqual: (a, b) => a.cid === b.cid,
      resolve: ({ newDocumentState: mine, assumedMasterState: base, realMasterState: theirs }) => {
        const sent = this.log.fold.cids.has(mine.cid) // the response was lost, and somebody else was next
        if (sent || theirs._deleted) return theirs
        if (mine._deleted) return mine
        const fields = difference(base ?? {}, mine)
        const merged = { ...theirs, ...fields, cid: mine.cid }
        for (const name of Object.keys(fields)) if (fields[name] === null) delete merged[name]
        return Object.keys(difference(theirs, merged)).length ? merged : theirs
      },
    }
  }

  /** Give each local edit of a collection a `cid` of its own. `replicate` does so; call it before earlier edits. */
  stamp(collection) {
    if (this.stamped === collection) return
    this.stamped = collection
    const stamp = (document) => void (document.cid = crypto.randomUUID())
    collection.preInsert(stamp, false)
    collection.preSave(stamp, false)
    collection.preRemove(stamp, false)
  }

  /** Return the documents that changed after a checkpoint `{seq}`, in the order of their last change. */
  async pull(checkpoint, batchSize) {
    const fold = await this.log.read()
    const after = checkpoint?.seq ?? 0
    const found = []
    for (const [id, entity] of fold.entities) {
      if (entity.seq > after && found.push([id, entity]) === batchSize) break
    }
    const documents = found.map(([id]) => fold.document(id))
    return { documents, checkpoint: { seq: found.length ? found.at(-1)[1].seq : after } }
  }

  /** Append the edits. If the log has another state of a document than its edit began with, return these states. */
  async push(rows) {
    for (;;) {
      const fold = await this.log.read()
      const head = fold.seq
      const conflicts = []
      const changes = []
      for (const { newDocumentState: mine, assumedMasterState: base } of rows) {
        const theirs = fold.document(mine.id)
        if (theirs?.cid === mine.cid) continue // it was appended, but the response was lost
        if (theirs?.cid !== base?.cid) conflicts.push(theirs)
        else changes.push(changeOf(base, mine))
      }
      try {
        if (changes.length) await this.log.append(changes, { 'If-Head': String(head) })
        return conflicts
      } catch (error) {
        if (error.type !== 'urn:sltt:problem:head-moved') throw error // RxDB calls again after `retryTime`
      }
    }
  }

  /** Start the replication of a collection whose primary key is `id`. `error$` of the result has all errors. */
  replicate(collection, { retryTime = 5000 } = {}) {
    this.stamp(collection)
    const stream$ = new Subject()
    const stop = new AbortController()
    const replication = replicateRxCollection({
      collection,
      replicationIdentifier: `${this.log.url}/${this.log.project}/${this.log.entityType}`,
      retryTime,
      pull: { handler: (checkpoint, size) => this.pull(checkpoint, size), batchSize: 1000, stream$ },
      push: { handler: (rows) => this.push(rows), batchSize: BATCH },
    })
    this.log.watch(async () => stream$.next('RESYNC'), stop.signal)
    replication.canceled$.subscribe((canceled) => canceled && stop.abort())
    return replication
  }
}
