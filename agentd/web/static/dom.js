// Elements made of text: whatever issues, agents and models wrote is never read as HTML.
const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  const shown = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...shown.map((child) => typeof child === "string" ? plain(child) : child));
  return element;
}

// Without what turns the direction of the text around it.
const plain = (text) => text.replace(/[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]/g, "");

// A link that leads out of the page: only what is a web address.
export function out(address, ...children) {
  return /^https?:\/\//.test(address ?? "") ? h("a", { href: address, rel: "noreferrer" }, ...children) : h("span", {}, ...children);
}

export const KIND = {
  merged: "good", in_review: "good", allow: "good", ok: "good",
  queued: "busy", preparing: "busy", syncing: "busy", running: "busy", verifying: "busy", fixing: "busy", publishing: "busy", open: "busy",
  conflict_retry: "wait", failed_retry: "wait", cancelled: "wait", hold: "wait", skipped: "wait", warn: "wait", closed_unmerged: "wait",
};

export const pill = (word) => h("span", { class: `pill ${KIND[word] ?? "bad"}` }, word.replaceAll("_", " "));

export function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), ...children);
}

export function table(heads, rows, none) {
  if (!rows.length) return h("p", { class: "quiet" }, none);
  const head = h("tr", {}, heads.map((name) => h("th", { scope: "col" }, name)));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell) =>
    cell instanceof Long ? h("td", { class: "text" }, cell.content) : h("td", {}, cell ?? ""))));
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": heads.join(", ") },
    h("table", {}, h("thead", {}, head), h("tbody", {}, body)));
}

class Long {
  constructor(content) { this.content = content; }
}

// A cell that may have many words.
export const long = (content) => new Long(content);

export function ago(at) {
  if (!at) return "";
  const passed = Math.max(0, (Date.now() - Date.parse(at)) / 1000);
  return h("time", { datetime: at, title: new Date(at).toLocaleString() }, span(passed));
}

export function span(seconds) {
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 90) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return seconds < 129600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export const usd = (value) => (value === null || value === undefined ? "no price" : `$${value.toFixed(value < 1 ? 4 : 2)}`);
export const many = (value) => new Intl.NumberFormat().format(value);

export const runLink = (run) => h("a", { href: `/runs/${encodeURIComponent(run.run_id)}` }, run.task_id);
export const taskLink = (name) => h("a", { href: `/tasks/${encodeURIComponent(name)}` }, name);
