// The bar above the table: search, filters, how many rows match.
import { beginning, h, plain, put } from "./dom.js";
import { count } from "./format.js";
import { ANY, NONE, noQuery, searchFields, valueCounts } from "./query.js";

const MOST_VALUES = 200;
const TYPING_MS = 80;

export class Filters {
  /** @param {import("./query.js").Query} query @param {() => void} changed called after every change
   * @param {() => void} leave called when the reader goes from the search to the rows */
  constructor(query, changed, leave) {
    this.query = query;
    this.leave = leave;
    this.changed = changed;
    this.inputs = new Map();
    this.search = this.searchField();
    this.where = h(
      "select",
      { "aria-label": "Where to search" },
      h("option", { value: "all", text: "everywhere" }),
      ...searchFields(query.rows).map((value) =>
        h("option", { value, text: value === "missed" ? "in expectations" : `in ${value}` }),
      ),
    );
    this.where.addEventListener("change", () => this.set({ field: this.where.value }));
    this.matches = h("p", { class: "matches", id: "matches", role: "status", "aria-live": "polite" });
    this.clear = h("button", { type: "button", class: "quiet", hidden: true, text: "Clear all" });
    this.clear.addEventListener("click", () => {
      Object.assign(this.query.state, noQuery());
      this.sync();
      this.changed();
      this.search.focus();
    });
    this.more = h(
      "details",
      { class: "more-filters" },
      h("summary", { text: "Filters" }),
      h("div", { class: "filter-fields" }, ...this.fields()),
    );
    this.element = h(
      "form",
      { class: "filters", role: "search", "aria-label": "Rows" },
      h("div", { class: "search-line" }, this.search, this.where, ...this.statusChips(), this.clear),
      this.more,
      this.matches,
    );
    this.element.addEventListener("submit", (event) => event.preventDefault());
  }

  searchField() {
    const input = h("input", {
      type: "search",
      placeholder: "Search inputs, outputs, errors, ids",
      "aria-label": "Search rows",
      id: "search",
      autocomplete: "off",
      spellcheck: "false",
      "aria-keyshortcuts": "/",
    });
    let timer = 0;
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.set({ q: input.value }), this.query.rows.count > 20_000 ? TYPING_MS : 0);
    });
    const searchNow = () => {
      clearTimeout(timer);
      if (input.value !== this.query.state.q) this.set({ q: input.value });
    };
    input.addEventListener("change", searchNow);
    input.addEventListener("keydown", (event) => {
      if (!["ArrowDown", "Enter"].includes(event.key) || event.isComposing) return;
      event.preventDefault();
      searchNow();
      this.leave();
    });
    return input;
  }

  statusChips() {
    this.chips = valueCounts(this.query.rows, "status").map(([value, n]) => {
      const chip = h(
        "button",
        { type: "button", class: `chip state-${value}`, "aria-pressed": "false" },
        h("span", { text: value }),
        h("span", { class: "n", text: count(n) }),
      );
      chip.addEventListener("click", () =>
        this.setValue("status", chip.getAttribute("aria-pressed") === "true" ? "" : value),
      );
      return { chip, value };
    });
    return this.chips.map((one) => one.chip);
  }

  fields() {
    const { rows } = this.query;
    const fields = [];
    for (const [key, column] of rows.columns) {
      if (key === "status" || column.kind === "text") continue;
      if (column.kind === "set") fields.push(this.setChoice(key, column));
      if (column.kind === "code" && column.values.length) fields.push(this.choice(key, column.title));
      if (column.kind === "number" && !["line", "started"].includes(key)) fields.push(this.range(key, column));
    }
    return fields;
  }

  choice(key, title) {
    const select = h("select", {}, h("option", { value: "", text: "any" }));
    for (const [value, n] of valueCounts(this.query.rows, key).slice(0, MOST_VALUES)) {
      select.append(h("option", { value, text: `${value === NONE ? "none" : beginning(value, 60)} (${count(n)})` }));
    }
    select.addEventListener("change", () => this.setValue(key, select.value));
    this.inputs.set(key, select);
    return h("label", {}, h("span", { text: title }), select);
  }

  /** As `choice`, of names of which a row may have several. */
  setChoice(key, column) {
    const field = this.choice(key, key === "missed" ? "Missed expectation" : column.title);
    const select = this.inputs.get(key);
    if (column.values.length > 1) select.append(h("option", { value: ANY, text: "at least one" }));
    select.append(h("option", { value: NONE, text: "none" }));
    return field;
  }

  range(key, column) {
    const scale = { money: 1e6, ms: 1e3 }[column.unit] ?? 1;
    const unit = { money: " ($)", ms: " (s)" }[column.unit] ?? "";
    const bound = (word) =>
      h("input", {
        type: "number",
        step: "any",
        placeholder: word,
        "aria-label": `${plain(column.title)}${unit}, ${word}`,
      });
    const low = bound("from");
    const high = bound("to");
    const read = (input) => (input.value === "" ? null : Number(input.value) * scale);
    const change = () => this.setRange(key, read(low), read(high));
    low.addEventListener("change", change);
    high.addEventListener("change", change);
    this.inputs.set(key, { low, high, scale });
    return h(
      "fieldset",
      {},
      h("legend", { text: column.title + unit }),
      low,
      h("span", { text: "–", "aria-hidden": "true" }),
      high,
    );
  }

  set(part) {
    Object.assign(this.query.state, part);
    this.sync();
    this.changed();
  }

  setValue(key, value) {
    if (value === "") this.query.state.filters.delete(key);
    else this.query.state.filters.set(key, { value });
    this.set({});
  }

  setRange(key, low, high) {
    if (low === null && high === null) this.query.state.filters.delete(key);
    else this.query.state.filters.set(key, { low, high });
    this.set({});
  }

  /** Show the state in the controls. */
  sync() {
    const { state } = this.query;
    if (this.search.value !== state.q) this.search.value = state.q;
    this.where.value = state.field;
    for (const { chip, value } of this.chips) {
      chip.setAttribute("aria-pressed", String(state.filters.get("status")?.value === value));
    }
    for (const [key, input] of this.inputs) {
      const filter = state.filters.get(key);
      if (input instanceof HTMLSelectElement) input.value = filter?.value ?? "";
      else for (const end of ["low", "high"]) input[end].value = filter?.[end] == null ? "" : filter[end] / input.scale;
    }
    const others = [...state.filters.keys()].filter((key) => key !== "status").length;
    put(this.more.firstChild, others ? `Filters (${others})` : "Filters");
    this.clear.hidden = !state.q && !state.filters.size && !state.sort;
  }

  /** @param {number} matching @param {number} read how many rows can be searched so far */
  tell(matching, read) {
    const all = this.query.rows.count;
    const isAll = !this.query.state.q && !this.query.state.filters.size;
    const words = isAll
      ? `${count(all)} ${all === 1 ? "row" : "rows"}`
      : `${count(matching)} of ${count(all)} rows match`;
    const unread = this.query.state.q && read < all ? `, ${count(all - read)} still to be searched` : "";
    put(this.matches, words + unread);
  }
}
