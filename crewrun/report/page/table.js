// The table of all rows: only those in view are elements. It scrolls by itself, and knows its rows by their numbers.
import { h, plain, put } from "./dom.js";
import { preview } from "./values.js";

// No browser makes an element higher than about 17 million pixels (Firefox); above this, the scroll bar is scaled.
const MOST_PX = 8_000_000;
const OVERSCAN = 8;
// As in the style sheet: between columns, and beside the first and the last.
const GAP_PX = 14;
const EDGE_PX = 12;
// The heads and the frame.
const HEAD_PX = 37;
const NARROW = "(max-width: 640px)";

export class Table {
  /**
   * @param {import("./columns.js").Rows} rows @param {import("./texts.js").Texts} texts @param {import("./shown_columns.js").Shown[]} shown
   * @param {{open: (row: number) => void, sort: (key: string) => void}} actions
   */
  constructor(rows, texts, shown, actions) {
    Object.assign(this, { rows, texts, shown, actions });
    /** @type {Uint32Array} */
    this.view = new Uint32Array(0);
    this.current = 0;
    this.top = 0; // the first pixel in view, as if there were no bound on heights
    this.lastScroll = 0;
    this.narrow = matchMedia(NARROW);
    this.build();
    this.narrow.addEventListener("change", () => this.layOut());
    new ResizeObserver(() => this.draw()).observe(this.scroller);
  }

  get rowPx() {
    return this.narrow.matches ? 88 : 30;
  }

  build() {
    this.headRow = h("div", { role: "row", class: "grid-row grid-head", "aria-rowindex": 1 });
    this.headGroup = h("div", { role: "rowgroup", class: "grid-heads" }, this.headRow);
    this.body = h("div", { role: "rowgroup", class: "grid-body" });
    this.scroller = h(
      "div",
      {
        class: "grid",
        role: "grid",
        tabindex: 0,
        "aria-label": "Rows. Arrow keys move, Enter opens a row",
        id: "grid",
        "aria-readonly": "true",
      },
      this.headGroup,
      this.body,
    );
    this.empty = h("p", { class: "empty", hidden: true, text: "No row matches." });
    this.element = h("div", { class: "grid-frame" }, this.scroller, this.empty);
    this.scroller.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.clicked(event));
    this.setColumns(this.shown);
  }

  /** @param {import("./shown_columns.js").Shown[]} shown */
  setColumns(shown) {
    this.shown = shown;
    this.headRow.replaceChildren(...shown.map((column, at) => this.headCell(column, at)));
    this.scroller.setAttribute("aria-colcount", String(shown.length));
    const track = (column) => (column.share ? `minmax(${column.px}px, ${column.share}fr)` : `${column.px}px`);
    const least = shown.reduce((sum, column) => sum + column.px + GAP_PX, 2 * EDGE_PX - GAP_PX);
    this.scroller.style.setProperty("--columns", shown.map(track).join(" "));
    this.scroller.style.setProperty("--least-width", `${least}px`);
    this.layOut();
  }

  headCell(column, at) {
    const button = h("button", { type: "button", title: plain(column.title), text: column.title });
    const cell = h(
      "div",
      { role: "columnheader", class: headClass(column), "aria-colindex": at + 1, "data-key": column.key },
      column.text ? h("span", { text: column.title }) : button,
    );
    button.addEventListener("click", () => this.actions.sort(column.key));
    return cell;
  }

  /** @param {string|null} key @param {boolean} descending */
  markOrder(key, descending) {
    for (const cell of this.headRow.children) {
      const column = this.shown[Number(cell.getAttribute("aria-colindex")) - 1];
      if (column.text) continue;
      cell.setAttribute("aria-sort", cell.dataset.key === key ? (descending ? "descending" : "ascending") : "none");
    }
  }

  /** Show these rows, from the first. @param {Uint32Array} view @param {boolean} [stay] at the same place */
  show(view, stay = false) {
    this.view = view;
    if (!stay) {
      this.current = 0;
      this.top = 0;
    }
    this.current = Math.min(this.current, Math.max(0, view.length - 1));
    this.empty.hidden = view.length > 0;
    this.scroller.setAttribute("aria-rowcount", String(view.length + 1));
    this.layOut();
  }

  get wholePx() {
    return this.view.length * this.rowPx;
  }

  get viewPx() {
    return Math.max(this.rowPx, this.scroller.clientHeight - this.headGroup.offsetHeight);
  }

  layOut() {
    this.body.replaceChildren();
    this.pool = [];
    this.scroller.style.setProperty("--row-px", `${this.rowPx}px`);
    this.bodyPx = Math.min(this.wholePx, MOST_PX);
    this.body.style.height = `${this.bodyPx}px`;
    this.scroller.style.setProperty("--grid-height", `${this.wholePx + HEAD_PX}px`);
    this.goTo(this.top);
  }

  goTo(top) {
    const most = Math.max(0, this.wholePx - this.viewPx);
    this.top = Math.min(Math.max(0, top), most);
    const bar = Math.max(0, this.bodyPx - this.viewPx);
    this.lastScroll = most ? Math.round((this.top / most) * bar) : 0;
    this.scroller.scrollTop = this.lastScroll;
    this.lastScroll = this.scroller.scrollTop;
    this.draw();
  }

  /** Small steps move by their pixels, also where the bar is scaled; long ones go to a share of the whole. */
  scrolled() {
    const at = this.scroller.scrollTop;
    const step = at - this.lastScroll;
    if (step === 0) return;
    this.lastScroll = at;
    const bar = Math.max(1, this.bodyPx - this.viewPx);
    const most = Math.max(0, this.wholePx - this.viewPx);
    const isScaled = this.wholePx > this.bodyPx;
    if (!isScaled) this.top = at;
    else if (at <= 0 || at >= bar - 1 || Math.abs(step) > this.viewPx) this.top = (at / bar) * most;
    else this.top = Math.min(most, Math.max(0, this.top + step));
    requestAnimationFrame(() => this.draw());
  }

  draw() {
    const first = Math.max(0, Math.floor(this.top / this.rowPx) - OVERSCAN);
    const last = Math.min(this.view.length, Math.ceil((this.top + this.viewPx) / this.rowPx) + OVERSCAN);
    while (this.pool.length < last - first) this.pool.push(this.body.appendChild(this.emptyRow()));
    while (this.pool.length > last - first) this.pool.pop().remove();
    for (let place = first; place < last; place += 1) {
      const element = this.pool[place % this.pool.length];
      if (element.place !== place || element.row !== this.view[place] || element.stale) this.fill(element, place);
      element.style.transform = `translateY(${this.lastScroll + place * this.rowPx - this.top}px)`;
      element.classList.toggle("current", place === this.current);
    }
    if (this.view.length) this.scroller.setAttribute("aria-activedescendant", `place-${this.current}`);
    else this.scroller.removeAttribute("aria-activedescendant");
  }

  emptyRow() {
    const cells = this.shown.map((column, at) =>
      h("div", {
        role: "gridcell",
        class: `cell-${column.text ?? column.kind} key-${cssName(column.key)}${isMore(column) ? " more" : ""}`,
        "aria-colindex": at + 1,
      }),
    );
    return h("div", { role: "row", class: "grid-row" }, ...cells);
  }

  fill(element, place) {
    const row = this.view[place];
    Object.assign(element, { place, row, id: `place-${place}` });
    element.setAttribute("aria-rowindex", String(place + 2));
    element.stale = false;
    const status = this.rows.value("status", row);
    element.dataset.status = status ?? "";
    this.shown.forEach((column, at) => this.fillCell(element, element.children[at], column, row, status));
  }

  fillCell(element, cell, column, row, status) {
    if (column.key === "status") {
      cell.replaceChildren(h("span", { class: `state state-${cssName(status ?? "")}`, text: status ?? "" }));
      return;
    }
    if (!column.text) {
      put(cell, this.rows.shown(column.key, row));
      if (this.narrow.matches && column.number && cell.textContent) cell.dataset.title = column.title;
      return;
    }
    const isError = column.text === "output" && status === "failed";
    const text = this.texts.of(isError ? "error" : column.text, row);
    element.stale = element.stale || (text === null && this.texts.readCount < this.rows.count);
    cell.classList.toggle("is-error", isError);
    put(cell, preview(text ?? ""));
  }

  /** Texts have come: fill what was drawn without them. */
  refresh() {
    if (this.pool.some((element) => element.stale)) this.draw();
  }

  clicked(event) {
    const element = event.target.closest(".grid-row");
    if (!element || !getSelection().isCollapsed) return;
    this.current = element.place;
    this.draw();
    this.actions.open(element.row);
  }

  key(event) {
    if (event.target !== this.scroller || event.altKey || event.ctrlKey || event.metaKey) return;
    const page = Math.max(1, Math.floor(this.viewPx / this.rowPx) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) {
      event.preventDefault();
      this.moveTo(this.current + steps[event.key]);
    } else if (event.key === "Enter" && this.view.length) {
      event.preventDefault();
      this.actions.open(this.view[this.current]);
    }
  }

  /** Make the row at a place of the view the current one, and bring it into view. @param {number} place */
  moveTo(place) {
    this.current = Math.min(Math.max(0, place), Math.max(0, this.view.length - 1));
    const top = this.current * this.rowPx;
    if (top < this.top) this.goTo(top);
    else if (top + this.rowPx > this.top + this.viewPx) this.goTo(top + this.rowPx - this.viewPx);
    else this.draw();
  }
}

function headClass(column) {
  return [column.number && "number", column.text && "text-head", isMore(column) && "more"].filter(Boolean).join(" ");
}

/** Whether paper has no room for the column. */
function isMore(column) {
  return !["id", "status", "input", "output", "time", "cost"].includes(column.key);
}

function cssName(text) {
  return plain(text).replace(/[^\w-]/g, "-");
}
