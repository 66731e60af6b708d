// Scores of the outputs, and expectations that they missed.
import { histogram, stack } from "./charts.js";
import { h, section } from "./dom.js";
import { count, counted, number, percent } from "./format.js";
import { rowLink, rowLinks } from "./row_link.js";

/** @param {any} head
 * @param {import("./row_link.js").RowActs & {value: (key: string, value: string) => void, range: (key: string, low: number, high: number) => void}} act
 * @param {Promise<import("./columns.js").Rows>} rows */
export function scores(head, act, rows) {
  const lists = [
    (head.scores ?? []).map((one) => score(one, act, rows)),
    (head.expectations ?? []).map((one) => expectation(one, act, rows)),
  ];
  if (!lists.flat().length) return null;
  const title =
    lists[0].length && lists[1].length ? "Scores and expectations" : lists[0].length ? "Scores" : "Expectations";
  return section(
    "scores",
    title,
    ...lists.filter((list) => list.length).map((list) => h("div", { class: "cards" }, ...list)),
  );
}

function score(one, act, rows) {
  const interval =
    one.low === null || one.low === undefined ? null : `90 % interval ${number(one.low)} to ${number(one.high)}`;
  const about = [interval, one.rows ? counted(one.rows, "row") : null].filter(Boolean).join(" · ");
  const key = `score.${one.name}`;
  return h(
    "div",
    { class: "card" },
    h("h3", { text: one.name }),
    one.by && one.by !== one.name ? h("p", { class: "about", text: `by ${one.by}` }) : null,
    h("p", { class: "tile-value", text: number(one.mean) }),
    about ? h("p", { class: "about", text: about }) : null,
    one.histogram?.counts?.length
      ? histogram(one.histogram, { label: one.name, format: number, pick: (low, high) => act.range(key, low, high) })
      : null,
    worst(one.worst ?? [], act, rows),
  );
}

function worst(list, act, rows) {
  if (!list.length) return null;
  const part = h("div", {}, h("h4", { text: "Lowest" }));
  const lines = list.map(({ row, score, reason }) => ({ row, figure: number(score), remark: reason }));
  rows.then((all) => part.append(rowLinks(lines, all, act)));
  return part;
}

function expectation(one, act, rows) {
  const met = one.checked - one.missed;
  const card = h(
    "div",
    { class: "card" },
    h("h3", { text: one.name }),
    h("p", {
      class: "about",
      text: `${percent(met, one.checked)} met · ${count(one.missed)} of ${count(one.checked)} missed`,
    }),
    stack(
      [
        ["met", met, "part-ok"],
        ["missed", one.missed, "part-failed"],
      ],
      one.name,
    ),
  );
  if (!one.missed) return card;
  const filter = h("button", { type: "button", class: "quiet", text: "Show these in the table" });
  filter.addEventListener("click", () => act.value("missed", one.name));
  const example = h("p", { class: "about row-example" });
  card.append(example, filter);
  if (one.example !== null) {
    rows.then((all) => example.append("for example row ", ...rowLink(one.example, all.value("id", one.example), act)));
  }
  return card;
}
