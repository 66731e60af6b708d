// Why rows failed: one entry per kind of failure, with an example and the command that tries them again.
import { copyable, h, section, smallTable } from "./dom.js";
import { count, counted } from "./format.js";
import { rowLink } from "./row_link.js";
import { textBlock } from "./values.js";

/** @param {any} head @param {import("./row_link.js").RowActs & {failed: (category: string, task: string|null) => void}} act */
export function failures(head, act) {
  const groups = head.failures ?? [];
  if (!groups.length) return null;
  const rows = groups.reduce((sum, group) => sum + (group.count ?? 0), 0);
  return section(
    "failures",
    "Failures",
    h("p", { class: "about", text: `${counted(rows, "row")}, ${counted(groups.length, "kind")} of failure` }),
    h("ol", { class: "failures" }, ...groups.map((group) => failure(group, act))),
  );
}

function failure(group, act) {
  const example = group.example ?? {};
  const place = [group.type, group.task && `task ${group.task}`].filter(Boolean).join(" · ");
  const open =
    example.id === undefined || example.row === undefined || example.row === null
      ? null
      : h("span", { class: "about row-example" }, "for example row ", ...rowLink(example.row, example.id, act));
  const filter = h("button", { type: "button", class: "quiet", text: "Show these in the table" });
  filter.addEventListener("click", () => act.failed(group.category, group.task ?? null));
  return h(
    "li",
    {},
    h(
      "div",
      { class: "failure-head" },
      h("span", { class: "failure-count", text: `${count(group.count)} ×` }),
      h("b", { text: group.category }),
      h("span", { class: "about", text: place }),
    ),
    group.cause ? h("p", { text: group.cause }) : null,
    example.message ? textBlock(example.message) : null,
    h("p", { class: "failure-links" }, open, filter),
    group.retry_command ? copyable(group.retry_command, "retry command") : null,
  );
}

/** @param {any} head */
export function toolFailures(head) {
  const list = head.tool_failures ?? [];
  if (!list.length) return null;
  const rows = list.map((one) => [one.tool, count(one.count), one.task ?? "", one.reason ?? "", one.error ?? ""]);
  return section(
    "tool-failures",
    "Tool failures",
    h("p", {
      class: "about",
      text: "The agents saw these errors and went on; their rows did not fail because of them.",
    }),
    smallTable(["Tool", ">Calls", "Task", "Reason", "Error"], rows, "Tool failures"),
  );
}
