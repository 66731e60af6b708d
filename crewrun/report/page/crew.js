// The picture of the crew, which is markup of the page itself: it is moved to its place, never parsed here.
import { h, section, smallTable } from "./dom.js";

/** @param {any} head */
export function crewSection(head) {
  const drawing = document.getElementById("drawing");
  if (!drawing?.firstElementChild) return null;
  const { caption, table } = head.diagram ?? {};
  drawing.hidden = false;
  drawing.removeAttribute("id");
  drawing.className = "drawing";
  const figure = drawing.querySelector("figure");
  Object.entries({ tabindex: "0", role: "region", "aria-label": "The crew as a picture" }).forEach(([name, value]) =>
    figure.setAttribute(name, value),
  );
  const words = table?.heads
    ? h("details", {}, h("summary", { text: "In words" }), smallTable(table.heads, table.rows, "The crew in words"))
    : null;
  return section("crew", "The crew", caption ? h("p", { class: "about", text: caption }) : null, drawing, words);
}
