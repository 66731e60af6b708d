// The head of the page: what ran, how it ended, what it took.
import { copyable, h, plain, section, smallTable } from "./dom.js";
import { stack } from "./charts.js";
import { count, counted, duration, money, percent, short, time } from "./format.js";

const STATES = {
  finished: ["finished", "good"],
  running: ["still running", "warn"],
  stopped: ["stopped", "warn"],
  died: ["ended unexpectedly", "bad"],
};

/** @param {any} head @param {{value: (key: string, value: string) => void}} act @returns {HTMLElement} */
export function banner(head, act) {
  const [words, tone] = STATES[head.state] ?? [null, "plain"];
  const rows = head.totals?.rows ?? {};
  const missed = head.totals?.missed_rows ?? 0;
  const state =
    words &&
    h("p", {
      class: `badge tone-${(rows.failed || missed) && tone === "good" ? "warn" : tone}`,
      text: words + (head.state === "finished" ? withWhat(rows.failed, missed) : ""),
    });
  const begun = head.sessions?.[0]?.started_at;
  const about = [
    head.crew,
    begun && time(begun),
    head.exit_code !== null && head.exit_code !== undefined && `exit code ${head.exit_code}`,
  ];
  return h(
    "header",
    { class: "banner", id: "overview" },
    h("h1", { text: head.title ?? "Report of a run" }),
    h(
      "div",
      { class: "banner-line" },
      state || null,
      h("p", { class: "about", text: about.filter(Boolean).join(" · ") }),
    ),
    head.snapshot
      ? h("p", {
          class: "note",
          text: `A snapshot: the run was going when this page was written, ${time(head.made_at)}.`,
        })
      : null,
    head.stopped ? h("p", { class: "note", text: `Stopped: ${head.stopped}` }) : null,
    ...(head.warnings ?? []).map((one) => warning(one, act)),
    ...(head.notes ?? []).map((note) => h("p", { class: "note", text: note })),
    head.details?.bound_text ? h("p", { class: "note", text: head.details.bound_text }) : null,
  );
}

function withWhat(failed, missed) {
  const parts = [
    failed ? counted(failed, "failed row") : null,
    missed ? `${failed ? count(missed) : counted(missed, "row")} that missed an expectation` : null,
  ].filter(Boolean);
  return parts.length ? ` with ${parts.join(" and ")}` : "";
}

function warning({ text, column, value }, act) {
  const button = h("button", { type: "button", class: "quiet", text: "Show these in the table" });
  button.addEventListener("click", () => act.value(column, value));
  return h("p", { class: "note warning" }, h("span", { text }), button);
}

/** @param {any} head @returns {HTMLElement} */
export function figures(head) {
  const totals = head.totals ?? {};
  const rows = totals.rows ?? {};
  const all = (rows.ok ?? 0) + (rows.failed ?? 0) + (rows.unfinished ?? 0);
  const took = (head.sessions ?? []).reduce((sum, one) => sum + (one.duration_ms ?? 0), 0);
  return h(
    "div",
    { class: "figures" },
    rowsTile(rows, all),
    tile("Cost", money(totals.cost), costNote(totals)),
    tile("Tokens", short((totals.prompt_tokens ?? 0) + (totals.completion_tokens ?? 0)), tokenNote(totals)),
    tile("Calls", count(totals.calls), callNote(totals, (head.sessions ?? []).length)),
    took
      ? tile(
          "Time",
          duration(took),
          all && took > 0 ? `${short(((rows.ok ?? 0) + (rows.failed ?? 0)) / (took / 1000))} rows per second` : "",
        )
      : null,
  );
}

function rowsTile(rows, all) {
  const parts = ["ok", "failed", "unfinished"].map((name) => [name, rows[name] ?? 0, `part-${name}`]);
  const words = parts.filter(([name, n]) => n || name === "ok").map(([name, n]) => `${count(n)} ${name}`);
  return h("div", { class: "tile wide" }, tileBody("Rows", count(all), words.join(" · ")), stack(parts, "Rows"));
}

function tileBody(name, value, note) {
  return h(
    "div",
    {},
    h("p", { class: "tile-name", text: name }),
    h("p", { class: "tile-value", text: value }),
    note ? h("p", { class: "tile-note", text: note }) : null,
  );
}

function tile(name, value, note) {
  return h("div", { class: "tile" }, tileBody(name, value, note));
}

function costNote(totals) {
  const notes = [
    totals.replayed_cost ? `${money(totals.replayed_cost)} replayed` : null,
    totals.saved_cost ? `${money(totals.saved_cost)} saved by cached tokens` : null,
    totals.may_be_owed ? `${money(totals.may_be_owed)} may be owed` : null,
    totals.unpriced ? "some calls have no price" : null,
  ];
  return notes.filter(Boolean).join(" · ");
}

/** Over several sessions, rows may have been called for more than once without any retry. */
function callNote(totals, sessions) {
  const tries = totals.attempts > totals.calls ? counted(totals.attempts, "attempt") : "no retries";
  return sessions > 1 ? `in ${count(sessions)} sessions · ${tries}` : tries;
}

function tokenNote(totals) {
  const cached = totals.cached_prompt_tokens
    ? `, ${percent(totals.cached_prompt_tokens, totals.prompt_tokens)} of them cached`
    : "";
  const reasoning = totals.reasoning_tokens ? `, ${short(totals.reasoning_tokens)} for reasoning` : "";
  return `${short(totals.prompt_tokens ?? 0)} in${cached} · ${short(totals.completion_tokens ?? 0)} out${reasoning}`;
}

/** Models, tasks and tiers, each with its share. @param {any} head */
export function shares(head) {
  const tables = [
    ["By model", head.by_model, modelRow, ["Model", ">Calls", ">Tokens in", ">Cached", ">Tokens out", ">Cost"]],
    [
      "By task",
      head.by_task,
      taskRow,
      ["Task", ">Rows", ">Calls", ">Tokens in", ">Tokens out", ">Time per row", ">Cost"],
    ],
    ["By tier", head.by_tier, modelRow, ["Tier", ">Calls", ">Tokens in", ">Cached", ">Tokens out", ">Cost"]],
  ].filter(([, rows]) => rows?.length);
  if (!tables.length) return null;
  return section(
    "money",
    "Models and tasks",
    h(
      "div",
      { class: "side-by-side" },
      ...tables.map(([title, rows, make, heads]) => {
        const withFailures = rows.some((one) => one.failures);
        const fullHeads = withFailures ? [...heads, ">Failures"] : heads;
        return h(
          "div",
          {},
          h("h3", { text: title }),
          smallTable(
            fullHeads,
            rows.map((one) => [...make(one), ...(withFailures ? [count(one.failures ?? 0)] : [])]),
            title,
          ),
        );
      }),
    ),
  );
}

function modelRow(one) {
  return [
    one.name,
    count(one.calls),
    count(one.prompt_tokens),
    percent(one.cached_prompt_tokens ?? 0, one.prompt_tokens),
    count(one.completion_tokens),
    money(one.cost),
  ];
}

function taskRow(one) {
  const perRow = one.duration_ms !== undefined && one.rows ? duration(one.duration_ms / one.rows) : "–";
  return [
    one.name,
    count(one.rows),
    count(one.calls),
    count(one.prompt_tokens),
    count(one.completion_tokens),
    perRow,
    money(one.cost),
  ];
}

/** The commands and the sessions. @param {any} head */
export function runSection(head) {
  const sessions = head.sessions ?? [];
  const versions = Object.entries({ crewrun: head.crewrun_version, ...head.versions })
    .filter(([, value]) => value)
    .map(([name, value]) => `${name} ${value}`);
  const line = (name, value) =>
    value
      ? h("div", {}, h("dt", { text: name }), h("dd", {}, value instanceof Node ? value : h("span", { text: value })))
      : null;
  return section(
    "run",
    "The run",
    h(
      "dl",
      { class: "about-run" },
      line("Command", head.command ? copyable(head.command, "command") : null),
      line("Next", head.next_command ? copyable(head.next_command, "next command") : null),
      line("Results", head.results),
      line("Run folder", head.without_run_folder ? "none" : head.run),
      line("Versions", [...new Set(versions)].join(" · ")),
      line("Written", time(head.made_at)),
    ),
    sessions.length
      ? h(
          "div",
          {},
          h("h3", { text: counted(sessions.length, "session") }),
          smallTable(
            [">#", "Began", ">Took", ">Rows ok", ">Failed", ">Calls", ">Cost", "Ended"],
            sessions.map(sessionRow),
            "Sessions",
          ),
        )
      : null,
  );
}

function sessionRow(one, at) {
  const end = one.stopped
    ? one.stopped
    : one.exit_code === null || one.exit_code === undefined
      ? "–"
      : `exit code ${one.exit_code}`;
  return [
    String(one.id ?? at + 1),
    time(one.started_at),
    duration(one.duration_ms),
    count(one.ok),
    count(one.failed),
    count(one.calls),
    money(one.cost),
    end,
  ];
}

/** The links to the parts of the page. @param {HTMLElement[]} parts */
export function contents(parts) {
  const links = parts.map((part) =>
    h("li", {}, h("a", { href: `#${part.id}`, text: part.querySelector("h2").textContent })),
  );
  return h("nav", { "aria-label": "Parts of the page" }, h("ul", {}, ...links));
}
