// Links to rows: the id, and the beginning of the input, since ids say nothing.
import { h, put } from "./dom.js";
import { preview } from "./values.js";

/** @typedef {{open: (row: number) => void, words: (row: number) => Promise<string|null>}} RowActs */

/** A link and the beginning of the row's input, which comes as soon as it is read.
 * @param {number} row @param {string} id @param {RowActs} act @returns {HTMLElement[]} */
export function rowLink(row, id, act) {
  const button = h("button", { type: "button", class: "link row-id", text: id });
  button.addEventListener("click", () => act.open(row));
  const words = h("span", { class: "row-words", dir: "auto" });
  act.words(row).then((text) => put(words, firstWords(text ?? "")));
  return [button, words];
}

/** Without the name of the first field, which all rows share. @param {string} text */
function firstWords(text) {
  const line = preview(text);
  return text.startsWith('{"') ? line.replace(/^[^:]{1,60}: /, "") : line;
}

/** Links one below the other, each with a figure and perhaps a remark.
 * @param {{row: number, figure: string, remark?: string}[]} list @param {import("./columns.js").Rows} all @param {RowActs} act */
export function rowLinks(list, all, act) {
  const items = list.map(({ row, figure, remark }) => {
    const [button, words] = rowLink(row, all.value("id", row), act);
    const more = remark ? h("span", { class: "row-remark", text: remark, dir: "auto" }) : null;
    return h("li", {}, button, h("span", { class: "n", text: figure }), words, more);
  });
  return h("ul", { class: "row-links" }, ...items);
}
