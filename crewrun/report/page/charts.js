// Small charts as SVG: bars and lines, with what they show as text for those who do not see them.
import { h, plain, s } from "./dom.js";
import { count } from "./format.js";

const CHART_WIDTH = 480;
const CHART_HEIGHT = 96;

/**
 * Bars of equal width, one per bucket.
 * @param {{edges: number[], counts: number[]}} data one more edge than counts
 * @param {{label: string, format: (n: number) => string, pick?: (low: number, high: number) => void}} how
 */
export function histogram(data, how) {
  const { edges, counts } = data;
  if (edges[0] === edges[edges.length - 1])
    return h("p", {
      class: "about",
      text: `${how.format(edges[0])} in all ${count(counts.reduce((sum, n) => sum + n, 0))}`,
    });
  const drawing = s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": plain(`${how.label}: ${summary(data, how.format)}`),
    },
    s("line", { class: "axis", x1: 0, x2: CHART_WIDTH, y1: CHART_HEIGHT - 0.5, y2: CHART_HEIGHT - 0.5 }),
    ...counts.map((_, at) => bucket(data, at, how)),
  );
  return h("div", { class: "histogram" }, drawing, ticks(edges, how.format));
}

/** One bar, with an area of the full height that shows its words and can be clicked. */
function bucket({ edges, counts }, at, how) {
  const step = CHART_WIDTH / counts.length;
  const n = counts[at];
  const height = n ? Math.max(1.5, (n / Math.max(...counts)) * (CHART_HEIGHT - 4)) : 0;
  const bar = s("rect", {
    class: "bar",
    x: at * step + 0.5,
    y: CHART_HEIGHT - height,
    width: Math.max(1, step - 1),
    height,
  });
  const kind = how.pick && n ? "bar-area can-pick" : "bar-area";
  const words = `${how.format(edges[at])} to ${how.format(edges[at + 1])}: ${count(n)}`;
  const place = { class: kind, x: at * step, y: 0, width: step, height: CHART_HEIGHT };
  const area = s("rect", place, s("title", { text: words }));
  if (how.pick && n) area.addEventListener("click", () => how.pick(edges[at], edges[at + 1]));
  return s("g", {}, bar, area);
}

function ticks(edges, format) {
  const picks =
    edges.length > 6
      ? [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (edges.length - 1)))
      : [0, edges.length - 1];
  return h(
    "div",
    { class: "ticks", "aria-hidden": "true" },
    ...picks.map((at) => h("span", { text: format(edges[at]) })),
  );
}

function summary({ edges, counts }, format) {
  const all = counts.reduce((sum, n) => sum + n, 0);
  let seen = 0;
  const at = counts.findIndex((n) => (seen += n) >= all / 2);
  if (all === 0) return "nothing";
  return `${count(all)} values from ${format(edges[0])} to ${format(edges[edges.length - 1])}, half of them below ${format(edges[at + 1])}`;
}

/** Horizontal bars with their values as text, each a button where `pick` is there.
 * @param {[string, number][]} values @param {{whole: number, show: (n: number) => string, pick?: (value: string) => void}} how */
export function bars(values, how) {
  const most = Math.max(1, ...values.map(([, n]) => n));
  const items = values.map(([value, n]) => {
    const meter = h("span", { class: "meter", "aria-hidden": "true" }, h("span", {}));
    meter.firstChild.style.width = `${(100 * n) / most}%`;
    const inside = [
      h("span", { class: "bar-name", text: value, dir: "auto" }),
      meter,
      h("span", { class: "bar-value", text: how.show(n) }),
    ];
    if (!how.pick) return h("li", { class: "bar-row" }, ...inside);
    const button = h("button", { type: "button", class: "bar-row" }, ...inside);
    button.addEventListener("click", () => how.pick(value));
    return h("li", {}, button);
  });
  return h("ul", { class: "bars" }, ...items);
}

/** A whole in its parts, as one bar. @param {[string, number, string][]} parts name, amount, class @param {string} label */
export function stack(parts, label) {
  const whole = parts.reduce((sum, [, n]) => sum + n, 0) || 1;
  const pieces = parts
    .filter(([, n]) => n > 0)
    .map(([name, n, kind]) => {
      const piece = h("span", { class: kind, title: plain(`${name}: ${count(n)}`) });
      piece.style.flexGrow = String(Math.max(n / whole, 0.004));
      return piece;
    });
  return h(
    "div",
    {
      class: "stack",
      role: "img",
      "aria-label": plain(`${label}: ${parts.map(([name, n]) => `${count(n)} ${name}`).join(", ")}`),
    },
    ...pieces,
  );
}
