// Puts the page together: the head at once, the rows when they are decompressed, texts while nothing else is to do.
import { h, section } from "./dom.js";
import { Details, documentRead, readHead, unpack } from "./packs.js";
import { Rows } from "./columns.js";
import { Texts } from "./texts.js";
import { Query, fromFragment, toFragment } from "./query.js";
import { allColumns, columnChoice, usualColumns } from "./shown_columns.js";
import { Table } from "./table.js";
import { Filters } from "./filters.js";
import { Drawer } from "./drawer.js";
import { detail } from "./detail.js";
import { banner, contents, figures, runSection, shares } from "./overview.js";
import { crewSection } from "./crew.js";
import { timeline } from "./timeline.js";
import { distributions, outputFields } from "./distributions.js";
import { failures, toolFailures } from "./failures.js";
import { comparison } from "./comparison.js";
import { scores } from "./scores.js";
import { themeSwitch } from "./theme.js";

class Page {
  constructor() {
    this.head = readHead();
    this.details = new Details(this.head.details);
    this.rowsPlace = h("div", { class: "rows-place" }, h("p", { class: "about", text: "Reading the rows …" }));
    this.rows = new Promise((resolve) => (this.haveRows = resolve));
    this.state = document.documentElement.dataset;
    this.draw();
  }

  draw() {
    const { head } = this;
    const act = {
      open: async (row) => {
        await this.rows;
        this.drawer.open(row);
      },
      words: async (row) => {
        await this.rows;
        return this.texts.whenRead("input", row);
      },
      range: (key, low, high) => this.filter((filters) => filters.setRange(key, low, high)),
      value: (key, value) => this.filter((filters) => filters.setValue(key, value)),
      failed: (category, task) => this.filter((filters) => this.showFailed(filters, category, task)),
    };
    const makers = [
      () => comparison(head, act),
      () => failures(head, act),
      () => scores(head, act, this.rows),
      () => crewSection(head),
      () => shares(head),
      () => timeline(head),
      () => distributions(head, act, this.rows),
      () => outputFields(head, act),
      () => toolFailures(head),
      () => section("rows", "Rows", this.rowsPlace),
      () => runSection(head),
    ];
    const parts = makers.map(drawn).filter(Boolean);
    const bar = h(
      "div",
      { class: "bar-top" },
      h("a", { class: "skip", href: "#rows", text: "Skip to the rows" }),
      contents(parts),
      themeSwitch(),
    );
    document.body.append(bar, h("main", {}, banner(head, act), figures(head), ...parts));
    bar.addEventListener("click", (event) => this.goToPart(event));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  async start() {
    await documentRead();
    try {
      await this.readRows();
    } catch (error) {
      const why = window.DecompressionStream
        ? `The rows of this page cannot be read: ${error}`
        : "This browser is too old to read the rows of this page.";
      this.rowsPlace.replaceChildren(h("p", { class: "note", text: why }));
      throw error;
    }
    await this.texts.read((read) => this.textsRead(read));
    this.state.ready = "all";
  }

  async readRows() {
    const titles = Object.fromEntries((this.head.columns ?? []).map((one) => [one.key, one.title ?? one.key]));
    const pack = (await unpack("rows")) ?? { count: 0, columns: { id: [], status: { values: [], codes: [] } } };
    const rows = new Rows(pack, titles);
    this.texts = new Texts(rows);
    this.query = new Query(rows, this.texts);
    this.allRows = rows;
    this.buildRows(rows);
    this.haveRows(rows);
    this.state.ready = "rows";
  }

  buildRows(rows) {
    this.filters = new Filters(
      this.query,
      () => this.update(),
      () => this.table.scroller.focus(),
    );
    const columns = allColumns(rows);
    const usual = usualColumns(columns);
    this.table = new Table(rows, this.texts, usual, {
      open: (row) => this.drawer.open(row),
      sort: (key) => this.sort(key),
    });
    this.drawer = new Drawer({
      rows,
      fill: async (row) => detail(row, await this.details.of(row), { head: this.head, rows, texts: this.texts }),
      changed: (row) => this.rowChanged(row),
      neighbour: (row, step) => this.neighbour(row, step),
      place: (row) => (this.placeOf(row) < 0 ? null : [this.placeOf(row) + 1, this.table.view.length]),
    });
    const choice = columnChoice(columns, usual, (shown) => {
      this.table.setColumns(shown);
      this.table.markOrder(this.query.state.sort, this.query.state.descending);
    });
    this.filters.more.after(choice);
    this.rowsPlace.replaceChildren(this.filters.element, this.table.element);
    document.body.append(this.drawer.dialog);
    this.update(false);
    this.readAddress();
    addEventListener("hashchange", () => this.readAddress());
  }

  /** Take the state from the address: a link opens what it says. */
  readAddress() {
    const fragment = location.hash.slice(1);
    if (fragment && !fragment.includes("=")) return; // a part of the page, to which the browser goes by itself
    const { state, id } = fromFragment(fragment, this.allRows);
    this.query.state = state;
    this.filters.sync();
    this.update(false);
    const row = id === null ? -1 : this.allRows.rowOf(id);
    if (row >= 0) this.drawer.open(row);
    else this.drawer.close();
  }

  update(writes = true) {
    const { state } = this.query;
    this.table.show(this.query.run());
    this.table.markOrder(state.sort, state.descending);
    this.filters.tell(this.table.view.length, this.texts.readCount);
    if (writes) this.writeAddress(this.drawer.row);
  }

  writeAddress(row) {
    const fragment = toFragment(this.query.state, row === null ? null : this.allRows.value("id", row));
    try {
      history.replaceState(null, "", fragment ? `#${fragment}` : location.pathname + location.search);
    } catch {
      // Some viewers of files refuse this; then the page has no links to its rows.
    }
  }

  textsRead(read) {
    if (this.query.state.q) {
      this.table.show(this.query.run(), true);
      this.filters.tell(this.table.view.length, read);
    } else {
      this.table.refresh();
    }
  }

  /** Ascending, descending, and as the rows are. @param {string} key */
  sort(key) {
    const { state } = this.query;
    const wasSorted = state.sort === key;
    const next = !wasSorted
      ? { sort: key, descending: false }
      : state.descending
        ? { sort: null, descending: false }
        : { sort: key, descending: true };
    this.filters.set(next);
  }

  filter(change) {
    if (!this.filters) return;
    change(this.filters);
    document.getElementById("rows").scrollIntoView();
    this.table.scroller.focus({ preventScroll: true });
  }

  showFailed(filters, category, task) {
    this.query.state.filters.clear();
    for (const [key, value] of [
      ["category", category],
      ["task", task],
    ]) {
      if (value) this.query.state.filters.set(key, { value });
    }
    filters.setValue("status", "failed");
  }

  placeOf(row) {
    return this.table.view[this.table.current] === row ? this.table.current : this.table.view.indexOf(row);
  }

  neighbour(row, step) {
    const at = this.placeOf(row);
    return at < 0 ? null : (this.table.view[at + step] ?? null);
  }

  rowChanged(row) {
    const at = row === null ? -1 : this.table.view.indexOf(row);
    if (at >= 0) this.table.moveTo(at);
    this.writeAddress(row);
  }

  goToPart(event) {
    const link = event.target.closest("a[href^='#']");
    if (!link) return;
    event.preventDefault();
    const part = document.getElementById(link.getAttribute("href").slice(1));
    part.scrollIntoView();
    part.tabIndex = -1;
    part.focus({ preventScroll: true });
  }

  key(event) {
    const isTyping = event.target.closest?.("input, select, textarea, dialog");
    if (event.key === "/" && !isTyping && this.filters && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.filters.search.scrollIntoView({ block: "center" });
      this.filters.search.focus();
    }
  }
}

/** A part of the page; one that cannot be drawn takes no other with it. @param {() => HTMLElement|null} make */
function drawn(make) {
  try {
    return make();
  } catch (error) {
    console.error(error);
    return null;
  }
}

new Page().start();
