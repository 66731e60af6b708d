// Small charts as SVG: bars and lines, with what they show as text for those who do not see them.
import { h, plain, s } from "./dom.js";
import { count, counted, money, moneyScale } from "./format.js";

const CHART_WIDTH = 480;
const CHART_HEIGHT = 96;
// As many characters as fit below a chart, with room between the labels.
const TICK_CHARS = 34;
const FEW_BARS = 16;

/**
 * Bars of equal width, one per bucket. Where they can be picked, the arrow keys go from bar to bar.
 * @param {{edges: number[], counts: number[]}} data one more edge than counts
 * @param {{label: string, format: (n: number) => string, pick?: (low: number, high: number) => void}} how
 */
export function histogram(data, how) {
  const { edges, counts } = data;
  if (edges[0] === edges[edges.length - 1])
    return h("p", {
      class: "about",
      text: everyOne(how.format(edges[0]), counts.reduce((sum, n) => sum + n, 0)),
    });
  const drawing = s(
    "svg",
    {
      class: "chart",
      viewBox: `0 0 ${CHART_WIDTH} ${CHART_HEIGHT}`,
      preserveAspectRatio: "none",
      role: how.pick ? "group" : "img",
      "aria-label": plain(`${how.label}: ${summary(data, how.format)}`),
    },
    s("line", { class: "axis", x1: 0, x2: CHART_WIDTH, y1: CHART_HEIGHT - 0.5, y2: CHART_HEIGHT - 0.5 }),
    ...counts.map((_, at) => bucket(data, at, how)),
  );
  if (how.pick) moveByKeys(drawing);
  return h("div", { class: "histogram" }, drawing, ticks(edges, how.format));
}

function everyOne(value, n) {
  return n === 1 ? `${value} in the only one` : `${value} in all ${count(n)}`;
}

/** One stop for the Tab key, however many bars there are. */
function moveByKeys(drawing) {
  const areas = [...drawing.querySelectorAll(".can-pick")];
  areas[0]?.setAttribute("tabindex", "0");
  drawing.addEventListener("keydown", (event) => {
    const at = areas.indexOf(event.target);
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: areas.length - 1 }[event.key];
    if (event.key === "Enter" || event.key === " ") event.target.dispatchEvent(new MouseEvent("click"));
    else if (next === undefined) return;
    event.preventDefault();
    if (!areas[next]) return;
    areas.forEach((area, place) => area.setAttribute("tabindex", place === next ? "0" : "-1"));
    areas[next].focus();
  });
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
  const words = `${how.format(edges[at])} to ${how.format(edges[at + 1])}: ${count(n)}`;
  const canPick = how.pick && n;
  const asButton = canPick ? { role: "button", tabindex: "-1", "aria-label": plain(words) } : {};
  const place = { x: at * step, y: 0, width: step, height: CHART_HEIGHT };
  const kind = canPick ? "bar-area can-pick" : "bar-area";
  const area = s("rect", { class: kind, ...place, ...asButton }, s("title", { text: words }));
  if (canPick) area.addEventListener("click", () => how.pick(edges[at], edges[at + 1]));
  return s("g", {}, bar, area);
}

function ticks(edges, format) {
  const bins = edges.length - 1;
  // Labels stand at equal distances: among few bars, only where these are edges.
  const wanted = [5, 4, 3, 2].filter((n) => n === 2 || (bins >= n - 1 && (bins >= FEW_BARS || bins % (n - 1) === 0)));
  const choices = wanted.map((n) => labels(edges, n, format));
  const fits = choices.find((texts) => texts.join("").length <= TICK_CHARS && new Set(texts).size === texts.length);
  const texts = fits ?? choices[choices.length - 1];
  return h("div", { class: "ticks", "aria-hidden": "true" }, ...texts.map((text) => h("span", { text })));
}

/** The labels of `n` edges at equal distances. */
function labels(edges, n, format) {
  const picks = Array.from({ length: n }, (_, at) => edges[Math.round((at * (edges.length - 1)) / (n - 1))]);
  return picks.map(format === money ? moneyScale(picks) : format);
}

function summary({ edges, counts }, format) {
  const all = counts.reduce((sum, n) => sum + n, 0);
  let seen = 0;
  const at = counts.findIndex((n) => (seen += n) >= all / 2);
  if (all === 0) return "nothing";
  return `${counted(all, "value")} from ${format(edges[0])} to ${format(edges[edges.length - 1])}, half of them below ${format(edges[at + 1])}`;
}

/** Horizontal bars with their values as text, each a button where `pick` is there.
 * @param {[string, number][]} values @param {{show: (n: number) => string, pick?: (value: string) => void}} how */
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
