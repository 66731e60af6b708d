// What became of the rows from the run before (A) to this one (B): the JSON of `crewrun compare`.
import { stack } from "./charts.js";
import { beginning, h, section, smallTable } from "./dom.js";
import { asText } from "./columns.js";
import { count, counted, duration, money, number, percent } from "./format.js";
import { rowLink } from "./row_link.js";
import { inline } from "./words.js";

const CHANGES = [
  ["broken", "Broken", "ok in A, failed in B"],
  ["changed", "Changed", "ok in both, another output"],
  ["fixed", "Fixed", "failed in A, ok in B"],
  ["same", "Same", "the same result"],
  ["only_a", "Only in A", ""],
  ["only_b", "Only in B", ""],
];
const METRICS = {
  cost: "Cost",
  tokens: "Tokens",
  prompt_tokens: "Tokens in",
  completion_tokens: "Tokens out",
  time: "Time",
};

/** @param {any} head @param {import("./row_link.js").RowActs & {value: (key: string, value: string) => void}} act */
export function comparison(head, act) {
  const data = head.comparison;
  if (!data) return null;
  const sides = ["a", "b"].map((key) =>
    h(
      "span",
      { class: "side-name" },
      h("b", { text: `${key.toUpperCase()} ` }),
      h("span", { text: data[key]?.run ?? (key === "b" ? head.title : "the run before") }),
    ),
  );
  return section(
    "comparison",
    "Comparison",
    h("p", { class: "about" }, ...sides),
    changeCounts(data, act),
    metricsTable(data),
    fieldsTable(data),
    examples(data, act),
    ...(data.notes ?? []).map((note) => h("p", { class: "note", text: note })),
  );
}

function changeCounts({ rows }, act) {
  const joined = rows.joined ?? 0;
  const shown = CHANGES.filter(([key]) => rows[key] || key === "same");
  const items = shown.map(([key, title, words]) => {
    const share = ["only_a", "only_b"].includes(key) ? "" : percent(rows[key] ?? 0, joined);
    const button = h(
      "button",
      { type: "button", class: `change-count change-${key}`, disabled: key === "only_a" || !rows[key], title: words },
      h("span", { class: "tile-name", text: title }),
      h("span", { class: "tile-value", text: count(rows[key] ?? 0) }),
      h("span", { class: "tile-note", text: share }),
    );
    button.addEventListener("click", () => act.value("change", key));
    return h("li", {}, button);
  });
  const about = [
    `${counted(joined, "row")} in both runs`,
    rows.failed_in_both ? `${count(rows.failed_in_both)} failed in both` : null,
    rows.other_input ? `${count(rows.other_input)} with other inputs` : null,
  ];
  return h(
    "div",
    {},
    stack(
      shown.map(([key, title]) => [title.toLowerCase(), rows[key] ?? 0, `part-${key.replace(/_.*/, "")}`]),
      "Rows",
    ),
    h("ul", { class: "change-counts" }, ...items),
    h("p", { class: "about", text: about.filter(Boolean).join(" · ") }),
  );
}

/** @param {string} unit @param {number|null|undefined} n */
function amount(unit, n) {
  if (n === null || n === undefined) return "–";
  return unit === "USD" ? money(n * 1e6) : unit === "s" ? duration(n * 1000) : number(n);
}

function signed(text, n) {
  return n > 0 ? `+${text}` : text.replace(/^-/, "−");
}

/** How a mean changed, as `crewrun compare` says it: relative to A where that can be said, else as a difference. */
function changeOf({ unit, a, b, difference, relative }) {
  if (a === b && (!difference || difference.low === difference.high)) return { change: "same", range: "", remark: "" };
  const inUnit = (n) => signed(amount(unit, n), n);
  const interval = relative ?? difference;
  if (!interval) return { change: a === null || b === null ? "–" : inUnit(b - a), range: "–", remark: "" };
  const words = relative ? (n) => signed(`${(100 * n).toFixed(Math.abs(n) < 0.000995 ? 2 : 1)} %`, n) : inUnit;
  const isSure = interval.low > 0 || interval.high < 0;
  return {
    change: words(interval.mean),
    range: `${words(interval.low)} to ${words(interval.high)}`,
    remark: isSure ? "" : "may be chance",
    isSure,
  };
}

function metricsTable({ metrics, interval }) {
  const rows = Object.entries(metrics ?? {})
    .filter(([, one]) => one.rows)
    .map(([name, one]) => {
      const { change, range, remark, isSure } = changeOf(one);
      return [
        METRICS[name] ?? name,
        amount(one.unit, one.a),
        amount(one.unit, one.b),
        h(isSure ? "b" : "span", { text: change }),
        range,
        h("span", { class: "about", text: remark }),
        count(one.rows),
      ];
    });
  if (!rows.length) return null;
  const level = Math.round(100 * (interval ?? 0.9));
  return h(
    "div",
    {},
    h("h3", { text: "Per row, in the rows of both runs" }),
    smallTable(
      ["Mean of", ">A", ">B", ">Change", `>${level} % interval`, "", ">Rows"],
      rows,
      "Cost, tokens and time per row",
    ),
  );
}

function fieldsTable({ fields }) {
  if (!fields?.length) return null;
  const hasNumbers = fields.some((one) => one.numeric);
  const hasChanges = fields.some((one) => one.changes?.length);
  const heads = ["Field", ">Equal", ">Rows", hasNumbers && ">Mean of B − A", hasChanges && "Commonest changes"].filter(
    Boolean,
  );
  const rows = fields.map((one) => {
    const numeric = one.numeric
      ? `${signed(number(one.numeric.mean), one.numeric.mean)} (5 % to 95 %: ${number(one.numeric.p05)} to ${number(one.numeric.p95)})`
      : "";
    return [
      one.name,
      percent(one.equal, one.rows),
      count(one.rows),
      ...(hasNumbers ? [numeric] : []),
      ...(hasChanges ? [changesOf(one)] : []),
    ];
  });
  return h("div", {}, h("h3", { text: "Fields of the outputs" }), smallTable(heads, rows, "Fields of the outputs"));
}

function changesOf(one) {
  const lines = (one.changes ?? [])
    .slice(0, 10)
    .map((change) =>
      h(
        "li",
        {},
        h("del", { text: asText(change.a) }),
        " → ",
        h("ins", { text: asText(change.b) }),
        h("span", { class: "about", text: `  ${count(change.rows)}` }),
      ),
    );
  if (lines.length <= 3) return h("ul", { class: "plain-list" }, ...lines);
  return h(
    "div",
    {},
    h("ul", { class: "plain-list" }, ...lines.slice(0, 3)),
    h(
      "details",
      {},
      h("summary", { text: `${lines.length - 3} more` }),
      h("ul", { class: "plain-list" }, ...lines.slice(3)),
    ),
  );
}

function examples({ examples: list }, act) {
  if (!list?.length) return null;
  return h(
    "div",
    {},
    h("h3", { text: "Examples, drawn at random" }),
    h("ol", { class: "failures" }, ...list.map((one) => example(one, act))),
  );
}

function example(one, act) {
  const isHere = one.row !== undefined && one.row !== null;
  return h(
    "li",
    {},
    h(
      "div",
      { class: "failure-head" },
      h("span", { class: `kind change-word change-${one.change}`, text: one.change }),
      ...(isHere ? rowLink(one.row, one.id, act) : [h("b", { text: one.id })]),
    ),
    h("dl", { class: "fields" }, ...differencesOf(one)),
    one.more_differences
      ? h("p", { class: "about", text: `${counted(one.more_differences, "more field")} differ${one.more_differences === 1 ? "s" : ""}` })
      : null,
  );
}

/** Where two outputs differ; how both ended, where one of them is an error. */
function differencesOf(one) {
  const entry = (name, ...children) => h("div", {}, h("dt", { text: name }), h("dd", { dir: "auto" }, ...children));
  if (one.differences?.length) {
    return one.differences.map((difference) => entry(difference.field || "output", differenceOf(difference)));
  }
  return ["a", "b"].map((side) => entry(side.toUpperCase(), h("span", { text: beginning(ending(one[side]), 600) })));
}

const SIGNS = { "=": "same", "-": "old", "+": "new" };

function differenceOf(difference) {
  if (difference.diff?.length) return inline(difference.diff.map(([sign, text]) => [SIGNS[sign] ?? "same", text]));
  const text = (side) => (side in difference ? beginning(asText(difference[side]), 600) : "missing");
  return h("span", { class: "diff", dir: "auto" }, h("del", { text: text("a") }), " → ", h("ins", { text: text("b") }));
}

function ending(side) {
  if (!side) return "";
  return side.error ? `${side.error.category}: ${side.error.message}` : asText(side.output ?? "");
}
