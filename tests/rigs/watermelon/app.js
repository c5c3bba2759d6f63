// A WatermelonDB app under Node, for tests: two collections, its synchronize() and nothing
// else. Reads one command a line from stdin, as JSON, and answers each with one line.
//
//   {"do": "create", "table": "tasks", "row": {"id": "a", "title": "x"}}
//   {"do": "update", "table": "tasks", "row": {"id": "a", "title": "y"}}
//   {"do": "delete", "table": "tasks", "row": {"id": "a"}}
//   {"do": "sync"}
//   {"do": "sync", "stop": "before-push"}    says so, and goes on with the next line
//   {"do": "sync", "stop": "answer-lost"}    the hub took the push, and the app never hears
//   {"do": "rows", "table": "tasks"}
//
// Runs in memory (the LokiJS adapter); HOMING_URL and HOMING_TOKEN say where to. What
// WatermelonDB complains of in the hub's answers comes with each answer.

const { Database, Model, appSchema, tableSchema } = require('@nozbe/watermelondb')
const LokiJSAdapter = require('@nozbe/watermelondb/adapters/lokijs').default
const { synchronize } = require('@nozbe/watermelondb/sync')
const { logger } = require('@nozbe/watermelondb/utils/common')
const readline = require('node:readline')

class Project extends Model {
  static table = 'projects'
}
class Task extends Model {
  static table = 'tasks'
}

const schema = appSchema({
  version: 1,
  tables: [
    tableSchema({ name: 'projects', columns: [{ name: 'name', type: 'string', isOptional: true }] }),
    tableSchema({
      name: 'tasks',
      columns: [
        { name: 'project_id', type: 'string', isOptional: true },
        { name: 'title', type: 'string', isOptional: true },
        { name: 'note', type: 'string', isOptional: true },
        { name: 'is_done', type: 'boolean', isOptional: true },
        { name: 'effort', type: 'number', isOptional: true },
      ],
    }),
  ],
})

const complaints = []
logger.silence()
logger.error = (...words) => complaints.push(words.join(' '))
logger.warn = (...words) => complaints.push(words.join(' '))

const adapter = new LokiJSAdapter({ schema, useWebWorker: false, useIncrementalIndexedDB: true })
const database = new Database({ adapter, modelClasses: [Project, Task] })

async function ask(call, body) {
  const answer = await fetch(`${process.env.HOMING_URL}/watermelon/${call}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${process.env.HOMING_TOKEN}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  if (!answer.ok) {
    throw new Error(`${call} ${answer.status}: ${await answer.text()}`)
  }
  return answer.json()
}

async function sync(order) {
  let strategy = 'incremental'
  await synchronize({
    database,
    pullChanges: async (asked) => {
      const answer = await ask('pull', asked)
      strategy = answer.experimentalStrategy || strategy
      return answer
    },
    pushChanges: async (sent) => {
      if (order.stop === 'before-push') {
        console.log(JSON.stringify({ waits: 'before-push' }))
        await next()
      }
      await ask('push', sent)
      if (order.stop === 'answer-lost') {
        throw new Error('the answer was lost')
      }
    },
  })
  return { strategy }
}

async function write({ do: verb, table, row }) {
  const collection = database.get(table)
  const set = (model) => Object.entries(row).forEach(([name, value]) => name !== 'id' && model._setRaw(name, value))
  await database.write(async () => {
    if (verb === 'create') {
      await collection.create((model) => {
        model._raw.id = row.id
        set(model)
      })
    } else {
      const model = await collection.find(row.id)
      await (verb === 'update' ? model.update(set) : model.markAsDeleted())
    }
  })
  return {}
}

async function rows({ table }) {
  const all = (await database.get(table).query().fetch()).map((model) => ({ ...model._raw }))
  return { rows: all.sort((one, other) => (one.id < other.id ? -1 : 1)) }
}

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const next = async () => (await lines.next()).value

async function main() {
  for (let line = await next(); line !== undefined; line = await next()) {
    const order = JSON.parse(line)
    let answer
    try {
      const work = { sync, rows }[order.do] || write
      answer = await work(order)
    } catch (error) {
      answer = { error: String(error.message || error) }
    }
    console.log(JSON.stringify({ ...answer, complaints: complaints.splice(0) }))
  }
}

main().then(() => process.exit(0))
