// What happened when: one track per measure over one axis of time, and what stopped or slowed the run.
import { h, plain, s, section } from "./dom.js";
import { number, time } from "./format.js";

const WIDTH = 1000;
const TRACK = 56;
const FEWEST_STEPS = 4; // with fewer there is nothing to see
const NAMES = {
  rows: "Rows per second",
  failed: "Failed rows per second",
  rate_limited: "Refusals (429) per second",
  retries: "Retries per second",
  in_flight: "Calls in flight",
};
const TONES = { failed: "bad", rate_limited: "warn", retries: "warn" };
const PER_SECOND = new Set(["rows", "failed", "rate_limited", "retries"]);

/** @param {any} head */
export function timeline(head) {
  const data = head.timeline;
  const names = Object.keys(data?.series ?? {}).filter((name) => data.series[name].some((n) => n > 0));
  const steps = Math.max(0, ...names.map((name) => data.series[name].length));
  if (steps < FEWEST_STEPS) return null;
  const tracks = names.map((name) => ({
    name,
    title: NAMES[name] ?? plain(name).replaceAll("_", " "),
    values: scaled(name, data.series[name], data.step_ms),
  }));
  const readout = h("p", { class: "readout", "aria-hidden": "true", text: "\u00a0" });
  const rows = tracks.map((track) => trackRow(track, data, steps));
  const plot = h("div", { class: "tracks" }, ...rows, axis(data, steps));
  const cursor = h("div", { class: "cursor", hidden: true });
  plot.append(cursor);
  plot.addEventListener("pointermove", (event) => follow(event, plot, cursor, readout, tracks, data, steps));
  plot.addEventListener("pointerleave", () => {
    cursor.hidden = true;
    readout.textContent = "\u00a0";
  });
  return section("timeline", "Timeline", plot, readout, marksList(data.marks ?? []));
}

function scaled(name, values, stepMs) {
  return PER_SECOND.has(name) ? values.map((n) => (n === null ? null : (n * 1000) / stepMs)) : values;
}

function trackRow(track, data, steps) {
  const most = Math.max(...track.values.map((n) => n ?? 0)) || 1;
  const x = (i) => (i / steps) * WIDTH;
  const y = (n) => TRACK - (n / most) * (TRACK - 2);
  let path = `M0 ${TRACK}`;
  track.values.forEach(
    (n, i) => (path += `L${x(i).toFixed(1)} ${y(n ?? 0).toFixed(1)}L${x(i + 1).toFixed(1)} ${y(n ?? 0).toFixed(1)}`),
  );
  const drawing = s(
    "svg",
    {
      class: `track tone-${TONES[track.name] ?? "plain"}`,
      viewBox: `0 0 ${WIDTH} ${TRACK}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${track.title}: at most ${number(most)}`,
    },
    s("path", { class: "area", d: `${path}L${WIDTH} ${TRACK}Z` }),
    s("line", { class: "axis", x1: 0, x2: WIDTH, y1: TRACK - 0.5, y2: TRACK - 0.5 }),
    ...(data.marks ?? []).map((mark) => markLine(mark, x((mark.at - data.from) / data.step_ms))),
  );
  return h(
    "div",
    { class: "track-row" },
    h(
      "div",
      { class: "track-name" },
      h("span", { text: track.title }),
      h("span", { class: "most", text: `max ${number(most)}` }),
    ),
    drawing,
  );
}

function markLine(mark, x) {
  const kind = `mark mark-${plain(mark.kind).replace(/\W/g, "-")}`;
  return s("line", { class: kind, x1: x, x2: x, y1: 0, y2: TRACK }, s("title", { text: mark.text }));
}

function axis(data, steps) {
  const end = data.from + steps * data.step_ms;
  const isLong = end - data.from > 86_400_000;
  const label = (ms) => (isLong ? time(ms).slice(5, 16) : time(ms).slice(11));
  const times = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    h("span", { text: label(data.from + share * (end - data.from)) }),
  );
  return h(
    "div",
    { class: "track-row" },
    h("div", { class: "track-name" }, h("span", { class: "most", text: time(data.from).slice(0, 10) })),
    h("div", { class: "ticks" }, ...times),
  );
}

function follow(event, plot, cursor, readout, tracks, data, steps) {
  const track = plot.querySelector("svg.track").getBoundingClientRect();
  const share = (event.clientX - track.left) / track.width;
  if (share < 0 || share >= 1) return;
  const at = Math.floor(share * steps);
  cursor.hidden = false;
  cursor.style.left = `${event.clientX - plot.getBoundingClientRect().left}px`;
  const values = tracks.map((one) => `${one.title.toLowerCase()} ${number(one.values[at] ?? 0)}`);
  readout.textContent = [time(data.from + at * data.step_ms), ...values].join(" · ");
}

function marksList(marks) {
  if (!marks.length) return null;
  const items = marks
    .slice(0, 200)
    .map((mark) =>
      h(
        "li",
        {},
        h("time", { text: time(mark.at) }),
        h("span", { class: "kind", text: mark.kind }),
        h("span", { text: mark.text }),
      ),
    );
  return h(
    "details",
    { class: "events", open: marks.length <= 8 },
    h("summary", { text: `What happened (${marks.length})` }),
    h("ol", { class: "marks" }, ...items),
  );
}
