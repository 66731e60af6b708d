// Texts and values of a row: long ones folded, JSON laid out.
import { beginning, h, put } from "./dom.js";
import { count } from "./format.js";

const FOLD_CHARS = 3000;
const FOLD_LINES = 40;
const COLOURED_CHARS = 100_000;
const PREVIEW_CHARS = 300;
const MOST_LAID_OUT = 1_000_000;
const DEEPEST = 200;

// Code and tables need letters of one width.
const IS_LAID_OUT = /^(?: {4}|\t|\||[[{]\s*["{[])|```| {3}/m;

/** A text, as it is, with its line breaks. @param {string} text @returns {HTMLElement} */
export function textBlock(text) {
  const json = isDocument(text) ? laidOut(text) : null;
  return json === null ? folded(text, false) : folded(json, true);
}

/** Any value: a text, or JSON. Fields of an object are named above their values. @param {any} value */
export function valueBlock(value) {
  if (value === null || value === undefined) return h("p", { class: "nothing", text: "none" });
  if (typeof value === "string") return textBlock(value);
  if (typeof value !== "object" || Array.isArray(value)) return folded(JSON.stringify(value, null, 2), true);
  const entries = Object.entries(value);
  if (!entries.length || entries.length > 60) return folded(JSON.stringify(value, null, 2), true);
  return h(
    "dl",
    { class: "fields" },
    ...entries.flatMap(([key, inner]) => [h("dt", { text: key }), h("dd", {}, fieldValue(inner))]),
  );
}

function fieldValue(value) {
  if (typeof value === "string" && value.length < 120 && !value.includes("\n"))
    return h("span", { text: value, dir: "auto" });
  if (value === null || typeof value !== "object")
    return typeof value === "string" ? textBlock(value) : h("code", { text: JSON.stringify(value) });
  return folded(JSON.stringify(value, null, 2), true);
}

/** The beginning of a text on one line; of an object its fields, without the signs of JSON. @param {string} text */
export function preview(text) {
  const line = beginning(text, PREVIEW_CHARS).replace(/\s+/g, " ");
  if (!line.startsWith('{"')) return line;
  return line
    .replace(/"([^"\\]{1,60})":/g, "$1: ")
    .replace(/\\[nrt]/g, " ")
    .replace(/[{}"]/g, "")
    .replace(/,(?=\S)/g, ", ");
}

function isDocument(text) {
  if (!/^\s*[[{]/.test(text) || text.length > MOST_LAID_OUT) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const SIGN = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{},:]|[^\s"[\]{},:]+/g;

/** JSON with a line for each member, and its numbers and keys as they are: parsed, large numbers would lose digits.
 * Null where it is nested too deeply to be read. @param {string} json @returns {string|null} */
function laidOut(json) {
  let [out, depth, before] = ["", 0, ""];
  const newLine = () => `\n${"  ".repeat(depth)}`;
  for (const [sign] of json.matchAll(SIGN)) {
    if ("]}".includes(sign)) {
      depth -= 1;
      out += "[{".includes(before) ? sign : newLine() + sign;
    } else {
      if (before && "[{,".includes(before)) out += newLine();
      out += sign === ":" ? ": " : sign.startsWith('"') ? JSON.stringify(JSON.parse(sign)) : sign;
      if ("[{".includes(sign)) depth += 1;
      if (depth > DEEPEST) return null;
    }
    before = sign;
  }
  return out;
}

function folded(text, isJson) {
  const pre = h("pre", {
    class: isJson || IS_LAID_OUT.test(text.slice(0, 5000)) ? "value" : "value prose",
    dir: isJson ? "ltr" : "auto",
    tabindex: 0,
    role: "region",
    "aria-label": isJson ? "JSON" : "Text",
  });
  const end = foldAt(text);
  show(pre, text.slice(0, end), isJson);
  if (end === text.length) return pre;
  const button = h("button", {
    type: "button",
    class: "quiet",
    "aria-expanded": "false",
    text: `Show all ${count(text.length)} characters`,
  });
  button.addEventListener("click", () => {
    const isOpen = button.getAttribute("aria-expanded") === "true";
    show(pre, isOpen ? text.slice(0, end) : text, isJson);
    put(button, isOpen ? `Show all ${count(text.length)} characters` : "Show less");
    button.setAttribute("aria-expanded", String(!isOpen));
  });
  return h("div", {}, pre, button);
}

function foldAt(text) {
  let at = -1;
  for (let line = 0; line < FOLD_LINES; line += 1) {
    const next = text.indexOf("\n", at + 1);
    if (next < 0 || next > FOLD_CHARS) break;
    at = next;
    if (line === FOLD_LINES - 1) return at;
  }
  return text.length > FOLD_CHARS * 1.2 ? beginning(text, FOLD_CHARS).length : text.length;
}

const TOKEN = /("(?:[^"\\]|\\.)*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

function show(pre, text, isJson) {
  if (!isJson || text.length > COLOURED_CHARS) {
    put(pre, text);
    return;
  }
  pre.textContent = "";
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    const kind = match[2] ? "json-key" : match[1] ? "json-text" : "json-word";
    pre.append(text.slice(from, match.index), h("span", { class: kind, text: match[1] ?? match[0] }));
    if (match[2]) pre.append(match[2]);
    from = match.index + match[0].length;
  }
  pre.append(text.slice(from));
}
