// A project's log for programs in JavaScript: requests, pages, the fold of changes to entities, news. No dependency.

export class Log {
  /** `options`: the URL of the server, the project, the type of the entities, the headers of each request. */
  constructor({ url, project, entityType, headers = {} }) {
    Object.assign(this, { url, project, entityType, headers })
    this.fold = new Fold()
  }

  /** Send a request and return its JSON. An error response throws an error with `status`, `type` and `detail`. */
  async request(path, { headers, seconds = 30, signal, ...options } = {}) {
    const limit = AbortSignal.timeout(seconds * 1000)
    const response = await fetch(this.url + path, {
      ...options,
      headers: { ...this.headers, ...headers },
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    })
    const found = await response.json()
    if (!response.ok) throw Object.assign(new Error(found.detail), found)
    return found
  }

  /** Append a batch of up to 98 changes `{entityId, operation, data, cid}`; return the response. */
  append(changes, headers) {
    const batch = changes.map((change) => ({ projectId: this.project, entityType: this.entityType, ...change }))
    const body = JSON.stringify(batch)
    return this.request('/api/changes', { method: 'POST', headers: { 'Content-Type': 'application/json', ...headers }, body })
  }

  /** Read the log to its end; return its fold. One read runs at a time, and each begins after the call. */
  read() {
    this.reading = (this.reading ?? Promise.resolve()).catch(() => {}).then(() => this.#read())
    return this.reading
  }

  async #read() {
    const { fold, project } = this
    for (let more = true; more; ) {
      const query = new URLSearchParams({ cursor: fold.seq, limit: 1000, entityType: this.entityType })
      if (fold.chain) query.set('chain', fold.chain) // a log with another history is an error: 409 chain-mismatch
      const page = await this.request(`/api/projects/${encodeURIComponent(project)}/changes?${query}`)
      for (const change of page.changes) fold.add(change)
      fold.seq = page.through
      fold.chain = page.chain ?? fold.chain
      more = page.cursor !== undefined
    }
    return fold
  }

  /** Call `moved` whenever the log may have more changes, until the signal is aborted. What throws is called again. */
  async watch(moved, signal) {
    for (let seq = 0; !signal.aborted; ) {
      const at = encodeURIComponent(`${this.project}:${seq}`)
      const asked = performance.now()
      const found = await this.request(`/api/heads?at=${at}&wait=30`, { seconds: 60, signal }).catch(() => null)
      if (signal.aborted) return
      const head = found?.heads[this.project]
      const done = !found || head || found.diverged.length ? await moved().catch(() => false) : true
      if (head && done !== false) seq = head.seq
      else if (performance.now() - asked < 1000) await pause(found && !head ? 1000 : 100) // no response, or no waiting
    }
  }
}

const OPERATIONS = ['create', 'update', 'delete']

/** The entities of a log. The order of the log alone decides: a field has its last value, and a delete its end. */
export class Fold {
  constructor() {
    Object.assign(this, { seq: 0, chain: undefined, entities: new Map(), cids: new Set() })
  }

  add({ seq, entityId, operation, data, cid }) {
    if (this.cids.has(cid) || !OPERATIONS.includes(operation)) return // a tombstone, or of a newer program
    this.cids.add(cid ?? `${seq}`)
    const known = this.entities.get(entityId)
    const entity = known ?? { created: 0, deleted: 0, fields: {} }
    if (operation === 'delete') entity.deleted = seq
    else if (operation === 'create') entity.created = seq
    for (const [name, value] of Object.entries(operation === 'delete' ? {} : data)) entity.fields[name] = [seq, value]
    Object.assign(entity, { seq, cid: cid ?? `${seq}` }) // so that two states never have the same
    this.entities.delete(entityId) // the map is sorted by the last change of each entity
    this.entities.set(entityId, entity)
  }

  /** Return an entity as a document `{id, cid, _deleted, ...fields}`, or `undefined`. `cid` is of its last change. */
  document(id) {
    const entity = this.entities.get(id)
    if (!entity) return undefined
    const gone = entity.deleted > entity.created
    const shown = Object.entries(entity.fields).filter(([, [seq, value]]) => !gone && seq > entity.deleted && value !== null)
    return { ...Object.fromEntries(shown.map(([name, [, value]]) => [name, value])), id, cid: entity.cid, _deleted: gone }
  }
}

/** Return the change that makes one document of another: only the fields that differ; `null` removes a field. */
export function changeOf(before, after) {
  const revived = !before || before._deleted
  const { id, cid } = after
  if (after._deleted) return { entityId: id, operation: 'delete', data: {}, cid }
  return { entityId: id, operation: revived ? 'create' : 'update', data: difference(revived ? {} : before, after), cid }
}

/** Return the fields of `after` that differ from `before`, and `null` for those that it does not have. */
export function difference(before, after) {
  const names = Object.keys({ ...before, ...after }).filter((name) => name !== 'id' && name !== 'cid' && name[0] !== '_')
  const differ = names.filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]))
  return Object.fromEntries(differ.map((name) => [name, after[name] ?? null]))
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))
