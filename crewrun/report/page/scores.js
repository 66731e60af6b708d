// Scores of the outputs, and expectations that they missed.
import { h, section } from "./dom.js";

/** @param {any} head */
export function scores(head) {
  if (!head.scores?.length && !head.expectations?.length) return null;
  return section("scores", "Scores and expectations", h("p", { class: "about", text: "" }));
}
