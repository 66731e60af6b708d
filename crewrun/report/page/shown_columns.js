// Which columns the table shows: the usual ones at first, then those that the reader chooses.
import { h } from "./dom.js";

/** @typedef {{key: string, title: string, px: number, share: number, number: boolean, kind?: string, text?: "input"|"output"}} Shown
 * A column is at least `px` wide; what is left of the table's width is divided by `share`. */

const MOST_OUTPUTS = 8; // as many as are read beside the texts
const WIDTHS = {
  id: 122,
  status: 76,
  change: 76,
  time: 82,
  cost: 82,
  calls: 48,
  line: 64,
  started: 140,
  category: 110,
  task: 110,
  tools: 110,
  answers: 110,
};
const FIRST = ["id", "status", "change", "missed", "input", "output"];
const LAST = ["time", "cost", "completion_tokens", "calls", "prompt_tokens", "category", "task", "tools", "answers", "line", "started"];
const USUAL = new Set([...FIRST, "time", "cost", "completion_tokens", "calls"]);

/** All columns that there are, in their order. @param {import("./columns.js").Rows} rows @returns {Shown[]} */
export function allColumns(rows) {
  const outputs = [...rows.columns.keys()].filter((key) => !FIRST.includes(key) && !LAST.includes(key));
  return [...FIRST, ...outputs, ...LAST]
    .filter((key) => rows.has(key) || ["input", "output"].includes(key))
    .map((key) => shownColumn(rows, key, outputs.length));
}

function shownColumn(rows, key, outputs) {
  if (key === "input" || key === "output") {
    return {
      key,
      title: key === "input" ? "Input" : "Output or error",
      px: outputs > 4 ? 140 : 190,
      share: 3,
      number: false,
      text: key,
    };
  }
  const { kind, title } = rows.get(key);
  const share = key === "id" ? 0.7 : WIDTHS[key] ? 0 : 0.5;
  return { key, title, px: WIDTHS[key] ?? 84, share, number: kind === "number", kind };
}

/** @param {Shown[]} columns @returns {Shown[]} */
export function usualColumns(columns) {
  const outputs = columns.filter((one) => !USUAL.has(one.key) && !LAST.includes(one.key)).slice(0, MOST_OUTPUTS);
  return columns.filter((one) => USUAL.has(one.key) || outputs.includes(one));
}

/** Boxes to choose columns with. @param {Shown[]} columns @param {Shown[]} shown @param {(shown: Shown[]) => void} change */
export function columnChoice(columns, shown, change) {
  const boxes = columns.map((column) =>
    h("input", { type: "checkbox", checked: shown.includes(column), disabled: column.key === "id" }),
  );
  const fields = columns.map((column, at) =>
    h("label", { class: "choice" }, boxes[at], h("span", { text: column.title })),
  );
  const box = h(
    "details",
    { class: "column-choice" },
    h("summary", { text: "Columns" }),
    h("div", { class: "choices" }, ...fields),
  );
  box.addEventListener("change", () => change(columns.filter((_, at) => boxes[at].checked)));
  return box;
}
