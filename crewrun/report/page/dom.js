// Elements. Text from the run becomes text nodes only: nothing here parses markup.

/** What could steer a reader's eye or a copied command: controls, bidi marks, invisible characters, half characters. */
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\p{Surrogate}/u;
const HIDDEN_ALL = new RegExp(HIDDEN.source, "gu");

/**
 * @param {string} tag
 * @param {Record<string, any>} props attributes; `on…` are listeners, `class` and `text` what they say
 * @param {...(Node|string|null|undefined|false)} children
 * @returns {any}
 */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** As `h`, for SVG.
 * @param {string} tag @param {Record<string, any>} props @param {...any} children @returns {any} */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "text") put(element, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace the content of `element` by text, hidden characters visible.
 * @param {any} element @param {unknown} value */
export function put(element, value) {
  const text = String(value ?? "");
  if (!HIDDEN.test(text)) {
    element.textContent = text;
    return element;
  }
  element.textContent = "";
  let from = 0;
  for (const match of text.matchAll(HIDDEN_ALL)) {
    element.append(text.slice(from, match.index), escaped(element, match[0]));
    from = match.index + match[0].length;
  }
  element.append(text.slice(from));
  return element;
}

function escaped(element, char) {
  const code = "U+" + char.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  if (element.namespaceURI.endsWith("svg") || element.localName === "option" || element.localName === "title")
    return code;
  const mark = document.createElement("span");
  mark.className = "hidden-char";
  mark.textContent = code;
  return mark;
}

/** Text for where there are no elements: attributes, and what is copied as one line.
 * @param {unknown} value */
export function plain(value) {
  return String(value ?? "").replace(HIDDEN_ALL, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** At most `most` characters, and no half of one at the end.
 * @param {string} text @param {number} most */
export function beginning(text, most) {
  return text.slice(0, /[\ud800-\udbff]/.test(text.charAt(most - 1)) ? most - 1 : most);
}

/** A line of text with a button that copies it.
 * @param {string} text @param {string} what what it is, for the button's name */
export function copyable(text, what) {
  const code = h("code", { text, dir: "ltr" });
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${what}`, text: "Copy" });
  button.addEventListener("click", async () => {
    const done = await copy(text, code);
    button.textContent = done ? "Copied" : "Selected";
    announce(done ? `${what} copied` : `${what} selected: copy it with your keyboard`);
    setTimeout(() => (button.textContent = "Copy"), 1600);
  });
  return h("div", { class: "copyable" }, code, button);
}

async function copy(text, element) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}

const live = h("div", { class: "unseen", role: "status", "aria-live": "polite" });

/** Say something to those who do not see the page.
 * @param {string} text */
export function announce(text) {
  if (!live.isConnected) (document.querySelector("dialog[open]") ?? document.body).append(live);
  live.textContent = text;
}

/** A part of the page with a heading.
 * @param {string} id @param {string} title @param {...any} children */
export function section(id, title, ...children) {
  return h(
    "section",
    { id, "aria-labelledby": `${id}-title` },
    h("h2", { id: `${id}-title`, text: title }),
    ...children,
  );
}

/** A table of few rows. A head that begins with ">" is one of numbers.
 * @param {string[]} heads @param {any[][]} rows @param {string} label */
export function smallTable(heads, rows, label) {
  const kinds = heads.map((head) => (head.startsWith(">") ? "number" : ""));
  const cell = (tag, value, i) =>
    value instanceof Node ? h(tag, { class: kinds[i] }, value) : h(tag, { class: kinds[i], text: value });
  const headRow = heads.map((head, i) => h("th", { scope: "col", class: kinds[i], text: head.replace(/^>/, "") }));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": label },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, ...headRow)),
      h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((value, i) => cell("td", value, i))))),
    ),
  );
}
