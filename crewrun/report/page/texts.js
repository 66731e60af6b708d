// The texts of all rows, read in idle moments, and the search over them.
import { idle, unpack } from "./packs.js";

/** Rows per pack of texts. */
const CHUNK = 4096;
// How long the page may work on texts before it lets the reader's next event in.
const STEP_MS = 16;
const FIELDS = ["input", "output", "error", "missed"];

/** One text per row, joined, so that a search is one pass of the browser's own `indexOf` over one string. */
class Joined {
  /** @param {(string|null)[]} texts @param {number} first the row of the first text */
  constructor(texts, first) {
    this.first = first;
    this.starts = new Uint32Array(texts.length + 1);
    const lower = texts.map((text) => (text ?? "").toLowerCase());
    lower.forEach((text, i) => (this.starts[i + 1] = this.starts[i] + text.length + 1));
    this.text = lower.join("\n");
  }

  /** Mark the rows whose text has `word`, which has no line break: no match reaches into the next row.
   * @param {string} word @param {Uint8Array} marks */
  mark(word, marks) {
    let row = 0;
    for (let at = this.text.indexOf(word); at >= 0; at = this.text.indexOf(word, this.starts[row + 1])) {
      row = this.rowAt(at, row);
      marks[this.first + row] = 1;
    }
  }

  rowAt(at, from) {
    let low = from;
    let high = this.starts.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.starts[middle] <= at) low = middle;
      else high = middle;
    }
    return low;
  }
}

export class Texts {
  /** @param {import("./columns.js").Rows} rows */
  constructor(rows) {
    this.rows = rows;
    /** @type {any[]} */
    this.chunks = [];
    /** @type {Record<string, Joined[]>} */
    this.joined = { input: [], output: [], error: [], missed: [], id: [] };
    /** @type {{row: number, done: () => void}[]} */
    this.waiting = [];
    this.readCount = 0;
    this.cut = new Set();
  }

  /** Read everything; `step` is called as more can be searched. @param {(read: number) => void} step */
  async read(step) {
    const ids = this.rows.get("id").texts;
    const chunks = Math.ceil(this.rows.count / CHUNK);
    let pause = performance.now();
    for (let k = 0; k < chunks; k += 1) {
      const chunk = await unpack(`texts-${k}`);
      this.joined.id.push(new Joined(ids.slice(k * CHUNK, (k + 1) * CHUNK), k * CHUNK));
      if (chunk) this.add(k, chunk);
      this.readCount = Math.min(this.rows.count, (k + 1) * CHUNK);
      this.tellWaiting();
      if (performance.now() - pause < STEP_MS && this.readCount < this.rows.count) continue;
      step(this.readCount);
      await idle();
      pause = performance.now();
    }
  }

  tellWaiting() {
    for (const { row, done } of this.waiting) if (row < this.readCount) done();
    this.waiting = this.waiting.filter(({ row }) => row >= this.readCount);
  }

  /** As `of`, once it has been read. @param {"input"|"output"|"error"|"missed"} field @param {number} row */
  async whenRead(field, row) {
    if (row >= this.readCount) await new Promise((done) => this.waiting.push({ row, done: () => done(undefined) }));
    return this.of(field, row);
  }

  add(k, chunk) {
    this.chunks[k] = chunk;
    for (const field of FIELDS) {
      if (chunk[field]) this.joined[field].push(new Joined(chunk[field], k * CHUNK));
    }
    for (const row of chunk.cut ?? []) this.cut.add(row);
  }

  /** A row's text, null while it is not there. @param {"input"|"output"|"error"|"missed"} field @param {number} row */
  of(field, row) {
    return this.chunks[Math.floor(row / CHUNK)]?.[field]?.[row % CHUNK] ?? null;
  }

  /** The rows that have all words of `query`, each in any of the fields; null when there are no words.
   * @param {string} query words; several in quotes are one @param {string} field or "all"
   * @returns {Uint8Array|null} 1 for each row that matches */
  search(query, field) {
    const words = wordsOf(query);
    if (!words.length) return null;
    const fields = field === "all" ? ["id", ...FIELDS] : [field];
    /** @type {Uint8Array|null} */
    let all = null;
    for (const word of words) {
      const marks = new Uint8Array(this.rows.count);
      for (const name of fields) for (const joined of this.joined[name]) joined.mark(word, marks);
      if (all) for (let row = 0; row < marks.length; row += 1) marks[row] &= all[row];
      all = marks;
    }
    return all;
  }
}

/** @param {string} query @returns {string[]} */
function wordsOf(query) {
  const words = [...query.toLowerCase().matchAll(/"([^"]+)"?|(\S+)/g)].map((match) => match[1] ?? match[2]);
  return words.filter((word) => word !== '"').slice(0, 8);
}
