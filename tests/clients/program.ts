// A program of a user: the client and its types come from /openapi.json. Every `@ts-expect-error` must be an error.
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

declare const process: { argv: string[]; exitCode?: number };

type NewChange = components["schemas"]["NewChange"];
type Change = components["schemas"]["Change"];
type Problem = components["schemas"]["Problem"];

interface Verse {
  number: number;
  text: string | null;
}
interface Passage {
  title: string;
  verses: Verse[];
  done?: boolean;
}

const passage: Passage = { title: "Famine in Bethlehem", verses: [{ number: 1, text: null }], done: false };
const unknownKeys: Record<string, unknown> = JSON.parse('{"a": {"b": [1, "two", null]}}');
const about = { projectId: "ruth", entityType: "passage", entityId: "ruth-1" };
const changes: NewChange[] = [
  { ...about, data: {} },
  { ...about, data: { title: "Famine", nested: { list: [1, "two", null, [true]] } } },
  { ...about, data: unknownKeys, operation: "update", cid: null, changeBy: "Noémie" },
  { ...about, data: { ...passage }, operation: null, seq: 17 },
];

// @ts-expect-error: data is an object
const noObject: NewChange = { ...about, data: 5 };
// @ts-expect-error: data is required
const noData: NewChange = { ...about };
// @ts-expect-error: there is no such field
const unknownField: NewChange = { ...about, data: {}, entity_type: "passage" };
// @ts-expect-error: a tombstone cannot be sent
const tombstone: NewChange = { ...about, data: {}, operation: "void" };

function passageOf(change: Change): Passage {
  const { title, verses, done } = change.data as Partial<Passage>;
  if (typeof title !== "string" || !Array.isArray(verses)) throw new TypeError(`change ${change.seq} is no passage`);
  return { title, verses, done };
}

function failed(problem: Problem | undefined): never {
  throw new Error(`${problem?.status} ${problem?.detail} ${problem?.errors?.[0]?.field ?? problem?.field}`);
}

const client = createClient<paths>({ baseUrl: process.argv[2] });

const posted = await client.POST("/api/changes", {
  params: { header: { "Idempotency-Key": "typescript:batch-1" } },
  body: changes,
});
if (!posted.data) failed(posted.error);
const seqs: number[] = posted.data.createdSeqs;
const assigned: number | undefined = posted.data.seqMap["17"];

const read = await client.GET("/api/projects/{projectId}/changes", {
  params: { path: { projectId: "ruth" }, query: { cursor: 0, limit: 10, entityType: ["passage", "video"] } },
});
if (!read.data) failed(read.error);
const stored = read.data.changes as Change[]; // without data=text, `data` is an object
const titles: unknown[] = stored.map((change) => change.data["title"]);
const verse: Verse | undefined = passageOf(stored[3]!).verses[0];

const mark = await client.POST("/api/projects/{projectId}/changes/{seq}/outdated", {
  params: { path: { projectId: "ruth", seq: 1 } },
  body: { outdatedBy: 2 },
});
if (!mark.data) failed(mark.error);

const one = await client.POST("/api/changes", { body: { ...about, entityId: "", data: {} } });
const refused: string | undefined = one.error?.errors?.[0]?.field;

console.log(
  JSON.stringify({ seqs, assigned, titles, verse, outdatedBy: mark.data.outdatedBy, through: read.data.through, refused }),
);
