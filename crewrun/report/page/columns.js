// The rows as columns: each has one value per row, and says how to show, to sort and to filter it.
import { formatOf, sameDigits } from "./format.js";

/**
 * @typedef {{key: string, title: string, kind: "code"|"number"|"text", unit?: string, values?: any[],
 *   codes?: Int32Array|Uint8Array|Uint16Array, numbers?: Float64Array, format?: (n: number) => string, texts?: string[]}} Column
 * A `code` column has few values: `codes` are indexes into `values`, -1 for none. NaN is a missing number.
 */

const TITLES = {
  id: "Row",
  status: "Status",
  category: "Error",
  task: "Task",
  cost: "Cost",
  time: "Time",
  prompt_tokens: "Tokens in",
  completion_tokens: "Tokens out",
  calls: "Calls",
  started: "Started",
  change: "Change",
  line: "Line",
};
const UNITS = { cost: "money", time: "ms", started: "time", prompt_tokens: "tokens", completion_tokens: "tokens" };

export class Rows {
  /** @param {any} pack the pack `rows` @param {Record<string, string>} [titles] of columns of the output */
  constructor(pack, titles = {}) {
    this.count = pack.count;
    /** @type {Map<string, Column>} */
    this.columns = new Map();
    /** @type {{values: string[], sets: number[][], codes: number[]}|null} */
    this.tools = pack.columns.tools ?? null;
    for (const [key, data] of Object.entries(pack.columns)) {
      if (key !== "tools") this.columns.set(key, column(key, titles[key] ?? titleOf(key), data));
    }
  }

  /** @param {string} key */
  has(key) {
    return this.columns.has(key);
  }

  /** @param {string} key @returns {Column} */
  get(key) {
    return this.columns.get(key);
  }

  /** The value of a column in a row, null for none. @param {string} key @param {number} row @returns {any} */
  value(key, row) {
    const one = this.columns.get(key);
    if (!one) return null;
    if (one.kind === "text") return one.texts[row];
    if (one.kind === "code") return one.codes[row] < 0 ? null : one.values[one.codes[row]];
    return Number.isNaN(one.numbers[row]) ? null : one.numbers[row];
  }

  /** The value as it is shown. @param {string} key @param {number} row @returns {string} */
  shown(key, row) {
    const one = this.columns.get(key);
    const value = this.value(key, row);
    if (value === null || value === undefined) return "";
    return one.kind === "number" ? one.format(value) : asText(value);
  }

  /** Names of the tools that a row called. @param {number} row */
  toolsOf(row) {
    if (!this.tools) return [];
    return (this.tools.sets[this.tools.codes[row]] ?? []).map((at) => this.tools.values[at]);
  }

  /** @param {string} id */
  rowOf(id) {
    return this.columns.get("id").texts.indexOf(id);
  }
}

/** A value as one line of text. @param {any} value */
export function asText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function titleOf(key) {
  return TITLES[key] ?? key.replace(/^(output|score)\./, "");
}

function column(key, title, data) {
  if (!Array.isArray(data)) {
    const codes = Int32Array.from(data.codes, (code) => code ?? -1);
    return { key, title, kind: "code", values: data.values, codes };
  }
  if (key === "id" || data.some((value) => typeof value === "string")) {
    return { key, title, kind: "text", texts: data.map((value) => (value === null ? "" : asText(value))) };
  }
  const numbers = Float64Array.from(data, (value) => (value === null ? NaN : Number(value)));
  const unit = UNITS[key] ?? (key === "calls" || key === "line" ? "tokens" : "number");
  return {
    key,
    title,
    kind: "number",
    unit,
    numbers,
    format: sameDigits(unit, numbers.subarray(0, 2000)) ?? formatOf(unit),
  };
}

/** All rows in the order of a column; rows without a value come last. The order of equals is that of the rows.
 * @param {Rows} rows @param {string|null} key @param {boolean} descending @returns {Uint32Array} */
export function orderBy(rows, key, descending) {
  const order = Uint32Array.from({ length: rows.count }, (_, row) => row);
  const one = key ? rows.get(key) : null;
  if (!one) return order;
  const ranks = one.kind === "number" ? one.numbers : one.kind === "code" ? ranksOf(one) : null;
  if (ranks) return byNumbers(order, ranks, descending);
  const texts = one.texts;
  const sign = descending ? -1 : 1;
  return order.sort((a, b) => (texts[a] < texts[b] ? -sign : texts[a] > texts[b] ? sign : a - b));
}

function ranksOf(one) {
  const places = one.values.map((_, at) => at);
  places.sort((a, b) => (one.values[a] < one.values[b] ? -1 : one.values[a] > one.values[b] ? 1 : a - b));
  const rankOf = new Float64Array(places.length);
  places.forEach((at, rank) => (rankOf[at] = rank));
  return Float64Array.from(one.codes, (code) => (code < 0 ? NaN : rankOf[code]));
}

function byNumbers(order, ranks, descending) {
  const present = order.filter((row) => !Number.isNaN(ranks[row]));
  const absent = order.filter((row) => Number.isNaN(ranks[row]));
  if (descending) present.sort((a, b) => ranks[b] - ranks[a] || a - b);
  else present.sort((a, b) => ranks[a] - ranks[b] || a - b);
  order.set(present);
  order.set(absent, present.length);
  return order;
}
