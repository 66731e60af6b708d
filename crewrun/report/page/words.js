// What changed between two texts, word by word.
import { h } from "./dom.js";

const MOST_WORDS = 3000;
const MOST_EDITS = 600;
const LEAST_COMMON = 0.3; // with less in common, two texts are easier to read one beside the other

/** @typedef {["same"|"old"|"new", string]} Piece */

/** The words of both texts in order: those of both, only of the old and only of the new one; null when too much changed.
 * @param {string} before @param {string} after @returns {Piece[]|null} */
export function wordDiff(before, after) {
  const a = before.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
  const b = after.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? [];
  if (a.length > MOST_WORDS || b.length > MOST_WORDS) return null;
  const trace = shortestEdit(a, b);
  const pieces = trace && joined(walkBack(trace, a, b));
  return pieces && commonShare(pieces) >= LEAST_COMMON ? pieces : null;
}

/** How much of both texts is in both. @param {Piece[]} pieces */
function commonShare(pieces) {
  const size = (kind) => pieces.reduce((sum, [other, text]) => sum + (other === kind ? text.trim().length : 0), 0);
  const same = 2 * size("same");
  return same / (same + size("old") + size("new") || 1);
}

/** Myers' algorithm (An O(ND) Difference Algorithm, 1986): the furthest points for each number of edits. */
function shortestEdit(a, b) {
  const furthest = new Map([[1, 0]]);
  const trace = [];
  for (let edits = 0; edits <= Math.min(a.length + b.length, MOST_EDITS); edits += 1) {
    trace.push(new Map(furthest));
    for (let k = -edits; k <= edits; k += 2) {
      const down = k === -edits || (k !== edits && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
      let x = down ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0) + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      furthest.set(k, x);
      if (x >= a.length && x - k >= b.length) return trace;
    }
  }
  return null;
}

function walkBack(trace, a, b) {
  const pieces = [];
  let x = a.length;
  let y = b.length;
  for (let edits = trace.length - 1; edits >= 0; edits -= 1) {
    const furthest = trace[edits];
    const k = x - y;
    const down = k === -edits || (k !== edits && (furthest.get(k - 1) ?? -1) < (furthest.get(k + 1) ?? -1));
    const fromX = down ? (furthest.get(k + 1) ?? 0) : (furthest.get(k - 1) ?? 0);
    const fromY = fromX - (down ? k + 1 : k - 1);
    while (x > fromX && y > fromY && x > 0 && y > 0) pieces.push(["same", a[((y -= 1), (x -= 1))]]);
    if (edits > 0) pieces.push(down ? ["new", b[(y -= 1)]] : ["old", a[(x -= 1)]]);
  }
  return pieces.reverse();
}

function joined(pieces) {
  /** @type {Piece[]} */
  const out = [];
  for (const [kind, text] of pieces) {
    if (out.length && out[out.length - 1][0] === kind) out[out.length - 1][1] += text;
    else out.push([kind, text]);
  }
  return out;
}

/** One side of a comparison: its own words marked. @param {Piece[]} pieces @param {"old"|"new"} side */
export function side(pieces, side) {
  const marked = pieces.filter(([kind]) => kind === "same" || kind === side);
  const tag = side === "old" ? "del" : "ins";
  return h(
    "pre",
    { class: "value", dir: "auto", tabindex: 0, role: "region", "aria-label": side === "old" ? "A" : "B" },
    ...marked.map(([kind, text]) => h(kind === "same" ? "span" : tag, { text })),
  );
}

/** Both in one text. @param {Piece[]} pieces */
export function inline(pieces) {
  const tags = { same: "span", old: "del", new: "ins" };
  return h("span", { class: "diff", dir: "auto" }, ...pieces.map(([kind, text]) => h(tags[kind], { text })));
}
