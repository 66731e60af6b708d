// How time, cost and the fields of outputs are distributed, with links to the rows at the ends.
import { bars, histogram } from "./charts.js";
import { h, section } from "./dom.js";
import { counted, count, duration, money, number, percent } from "./format.js";
import { rowLinks } from "./row_link.js";

const MOST_LINKS = 10;

/**
 * @param {any} head @param {import("./row_link.js").RowActs & {range: (key: string, low: number, high: number) => void}} act
 * @param {Promise<import("./columns.js").Rows>} rows
 */
export function distributions(head, act, rows) {
  const data = head.histograms ?? {};
  const chart = (title, key, values, format) =>
    values?.counts?.length
      ? card(title, histogram(values, { label: title, format, pick: (low, high) => act.range(key, low, high) }))
      : null;
  const perRow = [
    [chart("Time per row", "time", data.row_time, duration), endRows("Slowest", head.slowest, rows, "time", act)],
    [chart("Cost per row", "cost", data.row_cost, money), endRows("Most expensive", head.dearest, rows, "cost", act)],
  ].filter(([drawing]) => drawing);
  const tasks = Object.entries(data.tasks ?? {});
  if (!perRow.length && !tasks.length) return null;
  return section(
    "distribution",
    "Time and cost",
    h(
      "div",
      { class: "cards" },
      ...perRow.map(([drawing, links]) => (drawing.append(...[links].filter(Boolean)), drawing)),
    ),
    tasks.length > 1
      ? h(
          "details",
          { open: tasks.length <= 3 },
          h("summary", { text: `By task (${tasks.length})` }),
          h("div", { class: "cards small" }, ...tasks.flatMap(taskCards)),
        )
      : null,
  );
}

function taskCards([name, { time, cost }]) {
  return [
    time?.counts?.length
      ? card(`${name}: time`, histogram(time, { label: `Time of ${name}`, format: duration }))
      : null,
    cost?.counts?.length ? card(`${name}: cost`, histogram(cost, { label: `Cost of ${name}`, format: money })) : null,
  ].filter(Boolean);
}

function card(title, ...children) {
  return h("div", { class: "card" }, h("h3", { text: title }), ...children);
}

/** The rows at an end of a distribution. @param {string} title @param {number[]} numbers */
function endRows(title, numbers, rows, key, act) {
  if (!numbers?.length) return null;
  const part = h("div", {}, h("h4", { text: title }));
  rows.then((all) => {
    const list = numbers.slice(0, MOST_LINKS).map((row) => ({ row, figure: all.shown(key, row) }));
    part.append(rowLinks(list, all, act));
  });
  return part;
}

/** The fields of structured outputs. @param {any} head @param {{value: (key: string, value: string) => void, range: (key: string, low: number, high: number) => void}} act */
export function outputFields(head, act) {
  const fields = (head.columns ?? []).filter((one) => one.values?.length || one.histogram || one.kind !== "text");
  const texts = (head.columns ?? []).filter((one) => !fields.includes(one));
  if (!fields.length && !texts.length) return null;
  const rest = texts.map((one) => `${one.title ?? one.key} (${filled(one)})`);
  return section(
    "outputs",
    "Outputs",
    h("div", { class: "cards" }, ...fields.map((one) => fieldCard(one, act))),
    rest.length ? h("p", { class: "about", text: `Texts: ${rest.join(", ")}` }) : null,
  );
}

function filled(one) {
  return one.empty_share ? `${percent(one.empty_share, 1)} empty` : "never empty";
}

function fieldCard(one, act) {
  const title = one.title ?? one.key;
  const about = [
    one.kind === "number"
      ? `${number(one.min)} to ${number(one.max)}, mean ${number(one.mean)}`
      : counted(one.values?.length ?? 0, "value"),
    filled(one),
  ];
  let drawing = null;
  if (one.kind === "number" && one.histogram) {
    drawing = histogram(one.histogram, {
      label: title,
      format: number,
      pick: (low, high) => act.range(one.key, low, high),
    });
  } else if (one.values?.length) {
    drawing = valueBars(one, act);
  }
  return card(title, h("p", { class: "about", text: about.join(" · ") }), drawing);
}

function valueBars(one, act) {
  const values = one.values.map(([value, n]) => [typeof value === "string" ? value : JSON.stringify(value), n]);
  const whole = values.reduce((sum, [, n]) => sum + n, 0);
  const show = (n) => `${count(n)} · ${percent(n, whole)}`;
  const how = { show, pick: (value) => act.value(one.key, value) };
  if (values.length <= 8) return bars(values, how);
  return h(
    "div",
    {},
    bars(values.slice(0, 6), how),
    h("details", {}, h("summary", { text: `${values.length - 6} more` }), bars(values.slice(6), how)),
  );
}
