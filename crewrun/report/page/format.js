// Numbers as people read them: with units, and never more precise than they are. null is unknown and shown as a dash.

const DASH = "–";
const WHOLE = new Intl.NumberFormat("en-US");

/** @param {number|null|undefined} n */
export function count(n) {
  return n === null || n === undefined ? DASH : WHOLE.format(n);
}

/** "1 row", "2 rows". @param {number} n @param {string} noun @param {string} [plural] */
export function counted(n, noun, plural = noun + "s") {
  return `${count(n)} ${n === 1 ? noun : plural}`;
}

/** Large numbers short: 12.3k, 4.56M. @param {number|null|undefined} n */
export function short(n) {
  if (n === null || n === undefined) return DASH;
  for (const [unit, name] of [
    [1e9, "G"],
    [1e6, "M"],
    [1e3, "k"],
  ]) {
    if (Math.abs(n) >= 10 * unit || (unit > 1e3 && Math.abs(n) >= unit)) return trim(n / unit) + name;
  }
  return Math.abs(n) >= 100 || Number.isInteger(n) ? WHOLE.format(Math.round(n)) : trim(n);
}

function trim(n) {
  return String(Number(n.toPrecision(3)));
}

/** Micro-dollars as dollars, with at least two digits that mean something. @param {number|null|undefined} micro */
export function money(micro) {
  if (micro === null || micro === undefined || Number.isNaN(micro)) return DASH;
  const dollars = micro / 1e6;
  if (dollars === 0) return "$0";
  if (Math.abs(dollars) >= 1)
    return (
      (dollars < 0 ? "-$" : "$") +
      Math.abs(dollars).toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })
    );
  const digits = Math.min(6, Math.max(2, 1 - Math.floor(Math.log10(Math.abs(dollars)))));
  return (dollars < 0 ? "-$" : "$") + Math.abs(dollars).toFixed(digits);
}

/** As `money`, with as many digits for all of `micros` that they differ, as the ends of bars do.
 * @param {number[]} micros @returns {(micro: number) => string} */
export function moneyScale(micros) {
  const different = new Set(micros).size;
  const shown = (digits) => (micro) => (micro === 0 ? "$0" : `$${(micro / 1e6).toFixed(digits)}`);
  let digits = 2;
  while (digits < 8 && new Set(micros.map(shown(digits))).size < different) digits += 1;
  return shown(digits);
}

/** Milliseconds: 840 ms, 3.2 s, 4 min 5 s, 2 h 10 min. @param {number|null|undefined} ms */
export function duration(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return DASH;
  if (ms < 0) return `-${duration(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const at = parts.findIndex(([unit]) => seconds >= unit);
  const rest = seconds % parts[at][0];
  const next = parts[at + 1] ? Math.floor(rest / parts[at + 1][0]) : 0;
  return `${Math.floor(seconds / parts[at][0])} ${parts[at][1]}${next ? ` ${next} ${parts[at + 1][1]}` : ""}`;
}

/** A share of a whole. @param {number} part @param {number} whole */
export function percent(part, whole) {
  if (!whole || part === null || part === undefined) return DASH;
  const share = (100 * part) / whole;
  if (share === 0 || share === 100) return `${share} %`;
  if (share < 0.1) return "< 0.1 %";
  if (share > 99.9) return "> 99.9 %";
  return `${share < 10 || share > 99 ? share.toFixed(1) : Math.round(share)} %`;
}

/** A plain number, rounded. @param {number|null|undefined} n */
export function number(n) {
  if (n === null || n === undefined || Number.isNaN(n)) return DASH;
  if (Number.isInteger(n)) return WHOLE.format(n);
  return Math.abs(n) >= 1e6 || Math.abs(n) < 1e-3 ? n.toExponential(2) : String(Number(n.toPrecision(4)));
}

/** A point in time in the reader's zone: 2026-12-01 03:14:05. @param {number|string|null|undefined} ms */
export function time(ms) {
  if (ms === null || ms === undefined) return DASH;
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return String(ms);
  const two = (n) => String(n).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** What a column's numbers are. @param {string} unit */
export function formatOf(unit) {
  return { money, ms: duration, time, tokens: count, number }[unit] ?? number;
}

/** A format with the same number of decimals for a whole column, so that its numbers align; null where that has no use.
 * @param {string} unit @param {Float64Array} sample */
export function sameDigits(unit, sample) {
  const values = [...sample]
    .filter((n) => !Number.isNaN(n) && n !== 0)
    .map(Math.abs)
    .sort((a, b) => a - b);
  if (!values.length || !["money", "number"].includes(unit)) return null;
  const usual = values[Math.floor(values.length / 2)] / (unit === "money" ? 1e6 : 1);
  if (unit === "number" && (values.every(Number.isInteger) || usual >= 1e7 || usual < 1e-3)) return null;
  const digits = Math.min(7, Math.max(2, 1 - Math.floor(Math.log10(usual))));
  const format = new Intl.NumberFormat("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return unit === "money" ? (n) => `$${format.format(n / 1e6)}` : (n) => format.format(n);
}
