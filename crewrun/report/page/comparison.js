// What changed against another run.
import { h, section } from "./dom.js";

/** @param {any} head */
export function comparison(head) {
  if (!head.comparison) return null;
  return section("comparison", "Comparison", h("p", { class: "about", text: "" }));
}
