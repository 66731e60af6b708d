// What the table is asked to show: search, filters and order; and the same in the address, so that a link opens it.
import { asText, orderBy } from "./columns.js";

/**
 * @typedef {{q: string, field: string, sort: string|null, descending: boolean,
 *   filters: Map<string, {value: string}|{low: number|null, high: number|null}>}} State
 */

/** Stands for rows without a value in a filter. */
export const NONE = "\u2205";
/** Stands for rows with at least one name in a set. */
export const ANY = "\u2203";

/** @returns {State} */
export function noQuery() {
  return { q: "", field: "all", sort: null, descending: false, filters: new Map() };
}

export class Query {
  /** @param {import("./columns.js").Rows} rows @param {import("./texts.js").Texts} texts */
  constructor(rows, texts) {
    this.rows = rows;
    this.texts = texts;
    this.state = noQuery();
    this.order = { key: "", rows: new Uint32Array(0) };
    this.found = { key: "", marks: /** @type {Uint8Array|null} */ (null) };
  }

  /** The rows to show, in their order. @returns {Uint32Array} */
  run() {
    const { q, field, sort, descending, filters } = this.state;
    const orderKey = `${sort} ${descending}`;
    if (this.order.key !== orderKey) this.order = { key: orderKey, rows: orderBy(this.rows, sort, descending) };
    const foundKey = JSON.stringify([q, field, this.texts.readCount]);
    if (this.found.key !== foundKey) this.found = { key: foundKey, marks: this.texts.search(q, field) };
    const tests = [...filters].map(([key, filter]) => testOf(this.rows, key, filter)).filter(Boolean);
    const { marks } = this.found;
    if (!marks && !tests.length) return this.order.rows;
    return this.order.rows.filter((row) => (!marks || marks[row] === 1) && tests.every((test) => test(row)));
  }
}

function testOf(rows, key, filter) {
  const column = rows.get(key);
  if (!column) return null;
  if (column.kind === "set") return setTest(column, filter.value);
  if (column.kind === "number") {
    const low = filter.low ?? -Infinity;
    const high = filter.high ?? Infinity;
    return (row) => column.numbers[row] >= low && column.numbers[row] <= high;
  }
  if (column.kind === "text") return (row) => column.texts[row] === filter.value;
  const value = filter.value === NONE ? null : filter.value;
  const code = column.values.findIndex((one) => (one === null ? null : asText(one)) === value);
  if (value === null) return (row) => column.codes[row] < 0 || column.codes[row] === code;
  return code < 0 ? () => false : (row) => column.codes[row] === code;
}

function setTest(column, name) {
  const at = column.values.indexOf(name);
  const isIn = (set) => (name === NONE ? set.length === 0 : name === ANY ? set.length > 0 : set.includes(at));
  const sets = column.sets.map(isIn);
  return (row) => sets[column.codes[row]] ?? name === NONE;
}

/** How many rows have each value of a column, the commonest first.
 * @param {import("./columns.js").Rows} rows @param {string} key @returns {[string, number][]} */
export function valueCounts(rows, key) {
  const counts = new Map();
  const count = (value) => counts.set(value, (counts.get(value) ?? 0) + 1);
  const column = rows.get(key);
  for (let row = 0; row < rows.count; row += 1) {
    if (column.kind === "set") (rows.value(key, row) ?? []).forEach(count);
    else count(column.codes[row] < 0 ? null : column.values[column.codes[row]]);
  }
  return [...counts].map(([value, n]) => [value === null ? NONE : asText(value), n]).sort((a, b) => b[1] - a[1]);
}

/** Where one can search. @param {import("./columns.js").Rows} rows */
export function searchFields(rows) {
  return ["id", "input", "output", "error", ...(rows.has("missed") ? ["missed"] : [])];
}

/** @param {State} state @param {string|null} id of the open row @returns {string} a fragment, without its "#" */
export function toFragment(state, id) {
  const parts = new URLSearchParams();
  if (id !== null) parts.set("row", id);
  if (state.q) parts.set("q", state.q);
  if (state.field !== "all") parts.set("in", state.field);
  if (state.sort) parts.set("sort", (state.descending ? "-" : "") + state.sort);
  for (const [key, filter] of state.filters) {
    parts.set(`f.${key}`, "value" in filter ? filter.value : `${filter.low ?? ""}..${filter.high ?? ""}`);
  }
  return parts.toString();
}

/** @param {string} fragment @param {import("./columns.js").Rows} rows @returns {{state: State, id: string|null}} */
export function fromFragment(fragment, rows) {
  const parts = new URLSearchParams(fragment);
  const state = noQuery();
  state.q = parts.get("q") ?? "";
  state.field = searchFields(rows).includes(parts.get("in")) ? parts.get("in") : "all";
  const sort = parts.get("sort") ?? "";
  const key = sort.replace(/^-/, "");
  if (rows.has(key)) Object.assign(state, { sort: key, descending: sort.startsWith("-") });
  for (const [name, value] of parts) {
    if (name.startsWith("f.")) addFilter(state, rows, name.slice(2), value);
  }
  return { state, id: parts.get("row") };
}

function addFilter(state, rows, key, value) {
  const column = rows.get(key);
  if (column?.kind === "number") {
    const [low, high] = value
      .split("..")
      .map((bound) => (bound === "" || Number.isNaN(Number(bound)) ? null : Number(bound)));
    state.filters.set(key, { low: low ?? null, high: high ?? null });
  } else if (column) {
    state.filters.set(key, { value });
  }
}
