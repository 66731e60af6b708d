// The drawer in which a row opens: a modal dialog, so that Escape closes it and the focus returns by itself.
import { announce, h, put } from "./dom.js";
import { count } from "./format.js";

export class Drawer {
  /**
   * @param {{fill: (row: number) => Promise<HTMLElement>, rows: import("./columns.js").Rows, changed: (row: number|null) => void,
   *   neighbour: (row: number, step: number) => number|null, place: (row: number) => [number, number]|null}} actions
   */
  constructor(actions) {
    this.actions = actions;
    this.row = /** @type {number|null} */ (null);
    this.title = h("h2", { id: "drawer-title", tabindex: -1 });
    this.place = h("p", { class: "place" });
    const button = (text, label, keys, act) => {
      const element = h("button", { type: "button", "aria-label": label, title: `${label} (${keys})`, text });
      element.addEventListener("click", act);
      return element;
    };
    this.previous = button("←", "Previous row", "K or ←", () => this.step(-1));
    this.next = button("→", "Next row", "J or →", () => this.step(1));
    const close = button("Close", "Close", "Esc", () => this.close());
    this.body = h("div", { class: "drawer-body" });
    this.dialog = h(
      "dialog",
      { class: "drawer", "aria-labelledby": "drawer-title" },
      h("header", {}, h("div", { class: "drawer-name" }, this.title, this.place), this.previous, this.next, close),
      this.body,
    );
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.close();
    });
    this.dialog.addEventListener("close", () => this.dialog.open || this.closed());
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.close());
  }

  /** @param {number} row */
  async open(row) {
    if (this.row === row) return;
    this.row = row;
    const { rows, neighbour, place } = this.actions;
    put(this.title, rows.value("id", row));
    const at = place(row);
    put(this.place, at ? `${count(at[0])} of ${count(at[1])}` : "");
    this.previous.disabled = neighbour(row, -1) === null;
    this.next.disabled = neighbour(row, 1) === null;
    if (!this.dialog.open) {
      this.dialog.showModal();
      this.title.focus();
    }
    this.actions.changed(row);
    const content = await this.actions.fill(row);
    if (this.row !== row) return;
    this.body.replaceChildren(content);
    this.body.scrollTop = 0;
  }

  step(by) {
    const row = this.row === null ? null : this.actions.neighbour(this.row, by);
    if (row === null) return;
    this.open(row);
    announce(`Row ${this.actions.rows.value("id", row)}`);
    if (document.activeElement === document.body) this.title.focus();
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.target.closest("pre, .scroll, input, select") && event.key.startsWith("Arrow")) return;
    const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
    if (step) {
      event.preventDefault();
      this.step(step);
    }
  }

  /** The event of a closed dialog comes later, perhaps when the next row is open: nothing waits for it. */
  close() {
    if (this.dialog.open) this.dialog.close();
    this.closed();
  }

  closed() {
    if (this.row === null) return;
    this.row = null;
    this.body.replaceChildren();
    this.actions.changed(null);
  }
}
