// The rows as columns: each has one value per row, and says how to show, to sort and to filter it.
import { formatOf, sameDigits } from "./format.js";

/**
 * @typedef {{key: string, title: string, kind: "code"|"set"|"number"|"text", unit?: string, values?: any[], sets?: number[][],
 *   codes?: Int32Array|Uint8Array|Uint16Array, numbers?: Float64Array, format?: (n: number) => string, texts?: string[]}} Column
 * A `code` column has few values: `codes` are indexes into `values`, -1 for none. In a `set` column they are indexes into
 * `sets`, whose members are indexes into `values`. NaN is a missing number.
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
  tools: "Tools called",
  missed: "Missed",
  answers: "Answers",
};
const UNITS = { cost: "money", time: "ms", started: "time", prompt_tokens: "tokens", completion_tokens: "tokens" };

export class Rows {
  /** @param {any} pack the pack `rows` @param {Record<string, string>} [titles] of columns of the output */
  constructor(pack, titles = {}) {
    this.count = pack.count;
    /** @type {Map<string, Column>} */
    this.columns = new Map();
    for (const [key, data] of Object.entries(pack.columns)) {
      const one = column(key, titles[key] ?? titleOf(key), data);
      if (key !== "tools" || one.values.length) this.columns.set(key, one);
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
    if (one.kind === "set") return namesOf(one, row);
    if (one.kind === "code") return one.codes[row] < 0 ? null : one.values[one.codes[row]];
    return Number.isNaN(one.numbers[row]) ? null : one.numbers[row];
  }

  /** The value as it is shown. @param {string} key @param {number} row @returns {string} */
  shown(key, row) {
    const one = this.columns.get(key);
    const value = this.value(key, row);
    if (value === null || value === undefined) return "";
    if (one.kind === "set") return value.join(", ");
    return one.kind === "number" ? one.format(value) : asText(value);
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

/** The names that a `set` column has for a row, null where it has no set. @param {Column} one @param {number} row */
function namesOf(one, row) {
  return one.codes[row] < 0 ? null : one.sets[one.codes[row]].map((at) => one.values[at]);
}

function titleOf(key) {
  return TITLES[key] ?? key.replace(/^(output|score)\./, "");
}

function column(key, title, data) {
  if (!Array.isArray(data)) {
    const codes = Int32Array.from(data.codes, (code) => code ?? -1);
    if (data.sets) return { key, title, kind: "set", values: data.values, sets: data.sets, codes };
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
  const ranks = one.kind === "number" ? one.numbers : one.kind === "text" ? null : ranksOf(one);
  if (ranks) return byNumbers(order, ranks, descending);
  const texts = one.texts;
  const sign = descending ? -1 : 1;
  return order.sort((a, b) => (texts[a] < texts[b] ? -sign : texts[a] > texts[b] ? sign : a - b));
}

function ranksOf(one) {
  const values = one.kind === "set" ? one.sets.map((set) => set.map((at) => one.values[at]).join(", ")) : one.values;
  const places = values.map((_, at) => at);
  places.sort((a, b) => (values[a] < values[b] ? -1 : values[a] > values[b] ? 1 : a - b));
  const rankOf = new Float64Array(places.length);
  places.forEach((at, rank) => (rankOf[at] = values[at] === "" && one.kind === "set" ? NaN : rank));
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
