// Scores of the outputs, and expectations that they missed.
import { histogram, stack } from "./charts.js";
import { h, section } from "./dom.js";
import { count, number, percent } from "./format.js";

/** @param {any} head @param {{open: (row: number) => void, range: (key: string, low: number, high: number) => void}} act
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
  const about = [interval, one.rows ? `${count(one.rows)} rows` : null].filter(Boolean).join(" · ");
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
    worst(one.worst ?? [], act, rows, key),
  );
}

function worst(list, act, rows, key) {
  if (!list.length) return null;
  const items = h("ul", { class: "plain-list" });
  rows.then((all) => {
    for (const one of list.slice(0, 5)) {
      const row = typeof one === "number" ? one : (one.row ?? all.rowOf(one.id));
      if (row === null || row < 0) continue;
      const button = h("button", { type: "button", class: "link", text: all.value("id", row) });
      button.addEventListener("click", () => act.open(row));
      const value = one.score ?? one.value ?? all.value(key, row);
      items.append(
        h(
          "li",
          {},
          button,
          h("span", {
            class: "about",
            text: `  ${value === null ? "" : number(Number(value))}${one.reason ? ` · ${one.reason}` : ""}`,
          }),
        ),
      );
    }
  });
  return h("div", {}, h("h4", { text: "Lowest" }), items);
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
  const row = typeof one.example === "number" ? one.example : one.example?.row;
  if (one.missed && row !== undefined && row !== null) {
    rows.then((all) => {
      const button = h("button", { type: "button", class: "link", text: all.value("id", row) });
      button.addEventListener("click", () => act.open(row));
      card.append(h("p", { class: "about" }, "for example row ", button));
    });
  }
  return card;
}
