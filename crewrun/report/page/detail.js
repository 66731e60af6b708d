// What the drawer shows of a row: result, tasks, calls with their prompts and replies.
import { copyable, h, plain } from "./dom.js";
import { count, counted, duration, money, time } from "./format.js";
import { textBlock, valueBlock } from "./values.js";
import { side, wordDiff } from "./words.js";

/**
 * @param {number} row @param {any} details of the row, null where the page has none
 * @param {{head: any, rows: import("./columns.js").Rows, texts: import("./texts.js").Texts}} page
 */
export function detail(row, details, page) {
  const { rows } = page;
  const record = details?.record ?? null;
  return h(
    "div",
    {},
    facts(row, rows, record),
    error(row, record, page),
    ...scoresOf(row, rows),
    expectations(row, record, page),
    part("Input", details ? valueBlock(record?.input ?? null) : shortened(row, "input", page)),
    details?.other
      ? compared(record, details.other)
      : part("Output", details ? valueBlock(record?.output ?? null) : shortened(row, "output", page)),
    details ? null : notHere(row, page),
    tasks(record),
    calls(details),
  );
}

function part(title, ...children) {
  return h("section", { class: "part" }, h("h3", { text: title }), ...children);
}

function facts(row, rows, record) {
  const list = h("dl", { class: "facts" });
  const add = (name, value) => value && list.append(h("div", {}, h("dt", { text: name }), h("dd", { text: value })));
  const status = rows.value("status", row) ?? "";
  list.append(
    h(
      "div",
      {},
      h("dt", { text: "Status" }),
      h("dd", {}, h("span", { class: `state state-${plain(status)}`, text: status })),
    ),
  );
  for (const key of ["change", "time", "cost", "prompt_tokens", "completion_tokens", "calls", "line", "started"]) {
    if (rows.has(key)) add(rows.get(key).title, rows.shown(key, row));
  }
  add("Models", (record?.models ?? []).join(", "));
  for (const key of ["tools", "answers"]) if (rows.has(key)) add(rows.get(key).title, rows.shown(key, row));
  add("Attempts", record?.attempts > (record?.usage?.calls ?? 1) ? count(record.attempts) : "");
  add("Files", (record?.files ?? []).join(", "));
  return list;
}

function error(row, record, { rows, texts }) {
  if (rows.value("status", row) !== "failed") return null;
  const problem = record?.error;
  const message = problem?.message ?? texts.of("error", row) ?? "";
  const about = [
    rows.value("category", row),
    problem?.type,
    problem?.http_status && `HTTP ${problem.http_status}`,
    rows.value("task", row) && `task ${rows.value("task", row)}`,
  ];
  return h(
    "section",
    { class: "part failure" },
    h("h3", { text: "Error" }),
    h("p", { class: "about", text: about.filter(Boolean).join(" · ") }),
    textBlock(message),
    problem?.raw ? h("details", {}, h("summary", { text: "The reply as it came" }), textBlock(String(problem.raw))) : null,
  );
}

function scoresOf(row, rows) {
  const scores = [...rows.columns.values()].filter((column) => column.key.startsWith("score."));
  if (!scores.length) return [];
  return [
    part(
      "Scores",
      h(
        "dl",
        { class: "facts" },
        ...scores.map((column) =>
          h("div", {}, h("dt", { text: column.title }), h("dd", { text: rows.shown(column.key, row) || "–" })),
        ),
      ),
    ),
  ];
}

function expectations(row, record, { texts }) {
  const missed = record ? null : texts.of("missed", row);
  if (missed) return part("Missed expectations", h("p", { class: "missed diff", text: missed }));
  const entries = Object.entries(record?.expectations ?? {});
  if (!entries.length) return null;
  const words = (value) =>
    value === true
      ? "met"
      : value === false
        ? "missed"
        : `missed: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  return part(
    "Expectations",
    h(
      "dl",
      { class: "fields" },
      ...entries.flatMap(([name, value]) => [
        h("dt", { text: name }),
        h("dd", { class: value === true ? "" : "missed", text: words(value) }),
      ]),
    ),
  );
}

function shortened(row, field, { texts }) {
  const text = texts.of(field, row);
  if (!text) return h("p", { class: "nothing", text: "none" });
  return h(
    "div",
    {},
    textBlock(text),
    texts.cut.has(row) ? h("p", { class: "note", text: "Cut here so that the page stays small." }) : null,
  );
}

function notHere(row, { head, rows }) {
  const run = head.run ?? head.results ?? "RUN";
  const command = `crewrun show ${quoted(run)} ${quoted(rows.value("id", row))}`;
  if (head.without_run_folder)
    return h("p", { class: "note", text: "The results have no run folder, so there are no calls to show." });
  return h(
    "div",
    { class: "note" },
    h("p", { text: "The calls of this row are not in the page. This shows them:" }),
    copyable(command, "command"),
  );
}

/** An argument for a shell. @param {string} text */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'"'"'`)}'`;
}

function tasks(record) {
  const list = record?.tasks ?? [];
  if (list.length < 2) return null;
  return part(
    "Tasks",
    ...list.map((task) => {
      const flags = ["truncated", "skipped"].filter((name) => task[name]);
      const about = [task.agent, counted(task.calls ?? 0, "call"), ...flags].filter(Boolean).join(" · ");
      return h(
        "details",
        { class: "fold" },
        h("summary", {}, h("b", { text: task.name }), h("span", { class: "about", text: about })),
        textBlock(String(task.output ?? "")),
      );
    }),
  );
}

function calls(details) {
  if (!details) return null;
  const list = details.calls ?? [];
  const none = list.length ? null : h("p", { class: "nothing", text: "The journal has no calls of this row." });
  const why = details.no_prompt
    ? h("p", { class: "note", text: `Prompts that are not shown: ${details.no_prompt}.` })
    : null;
  return part(`Calls (${list.length})`, none, why, ...list.map((call, at) => oneCall(call, at + 1)));
}

const KINDS = { tool: "tool", tool_failure: "tool failed", failure: "call failed", answer: "call" };

function oneCall(call, number) {
  const name = call.tool ?? call.model ?? "";
  const usage = call.usage
    ? `${count(call.usage.prompt_tokens)} tokens in, ${count(call.usage.completion_tokens)} out`
    : null;
  const cost = call.cost_usd === undefined ? null : money(call.cost_usd === null ? null : call.cost_usd * 1e6);
  const tries = call.attempts > 1 ? `${call.attempts} attempts` : null;
  const about = [
    call.task && `task ${call.task}`,
    duration((call.duration_s ?? 0) * 1000),
    usage,
    cost,
    tries,
    call.session > 1 ? `session ${call.session}` : null,
  ];
  return h(
    "details",
    { class: `fold call call-${plain(call.kind)}`, open: number <= 3 || call.kind.includes("fail") },
    h(
      "summary",
      {},
      h("span", { class: "kind", text: KINDS[call.kind] ?? call.kind }),
      h("b", { text: name }),
      h("span", { class: "about", text: about.filter(Boolean).join(" · ") }),
    ),
    h("p", { class: "about", text: `at ${time(call.at)}` }),
    ...(call.prompt ?? []).map((message) => promptPart(message)),
    call.reasoning ? labelled("reasoning", textBlock(call.reasoning)) : null,
    call.reply ? labelled(call.truncated ? "reply, cut off" : "reply", textBlock(call.reply)) : null,
    ...(call.tool_calls ?? []).map((one) => labelled(`asks for ${one.name}`, textBlock(argumentsOf(one)))),
    call.result === undefined ? null : labelled("result", textBlock(String(call.result ?? ""))),
    call.error ? labelled(call.reason ? `error: ${call.reason}` : "error", textBlock(String(call.error))) : null,
    call.finish_reason ? h("p", { class: "note", text: `finish_reason: ${call.finish_reason}` }) : null,
  );
}

function argumentsOf(call) {
  return typeof call.arguments === "string" ? call.arguments : JSON.stringify(call.arguments, null, 2);
}

function promptPart(message) {
  const content = typeof message.content === "string" ? message.content : JSON.stringify(message.content, null, 2);
  const asked = (message.tool_calls ?? []).map((call) =>
    Array.isArray(call) ? `asks for ${call.join(" ")}` : `asks for ${call.name} ${argumentsOf(call)}`,
  );
  return labelled(message.role, textBlock(content ?? ""), ...asked.map((text) => h("p", { class: "note", text })));
}

function labelled(label, ...children) {
  return h("div", { class: "labelled" }, h("h4", { text: label }), ...children);
}

/** The result in the run before and in this one, their words compared. @param {any} record @param {any} other */
function compared(record, other) {
  const [before, now] = [outcomeText(other), outcomeText(record)];
  if (before === now) return part("Output, the same in both runs", valueBlock(record?.output ?? null));
  const pieces = wordDiff(before, now);
  const column = (title, status, content) =>
    h(
      "div",
      {},
      h("h4", {}, h("span", { text: title }), h("span", { class: `state state-${plain(status)}`, text: status })),
      content,
    );
  return part(
    "Output in both runs",
    h(
      "div",
      { class: "two-sides" },
      column("A, the run before", other.status ?? "", pieces ? side(pieces, "old") : textBlock(before)),
      column("B, this run", record?.status ?? "", pieces ? side(pieces, "new") : textBlock(now)),
    ),
  );
}

function outcomeText(record) {
  if (!record) return "";
  if (record.error) return `${record.error.category}: ${record.error.message}`;
  return typeof record.output === "string" ? record.output : JSON.stringify(record.output, null, 2);
}
