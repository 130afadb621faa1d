// Which page is shown, and the one stream of the overview that all of them share.
import { get } from "/static/api.js";
import { h } from "/static/dom.js";
import { overview } from "/static/overview.js";
import { run, runs } from "/static/runs.js";
import { doctor, ledger, task, tasks } from "/static/others.js";

const PAGES = [[/^\/$/, overview], [/^\/runs$/, runs], [/^\/runs\/([^/]+)$/, run], [/^\/tasks$/, tasks], [/^\/tasks\/([^/]+)$/, task],
  [/^\/ledger$/, ledger], [/^\/doctor$/, doctor]];
const main = document.getElementById("main"), watchers = new Set();
let state = null, leave = null, shown = 0;

const context = {
  watch(see) {
    watchers.add(see);
    if (state) see(state);
    return () => watchers.delete(see);
  },
};

function told(found) {
  state = found;
  document.getElementById("repo").textContent = found.repo;
  const pill = document.getElementById("supervisor"), { running, drains } = found.supervisor;
  pill.textContent = drains ? "supervisor drains" : running ? "supervisor running" : "supervisor stopped";
  pill.className = `pill ${running && !drains ? "good" : "bad"}`;
  for (const see of watchers) see(found);
}

function trouble(message) {
  const pill = document.getElementById("supervisor");
  pill.textContent = message.slice(0, 80);
  pill.className = "pill bad";
}

async function show(focus) {
  const mine = ++shown;
  leave?.();
  leave = null;
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.pathname === "/" ? location.pathname === "/" : location.pathname.startsWith(link.pathname);
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const [, page, id] = PAGES.map(([pattern, page]) => [pattern.exec(location.pathname), page]).filter(([found]) => found)
    .map(([found, page]) => [found, page, found[1] && decodeURIComponent(found[1])])[0] ?? [];
  try {
    const after = await page(main, context, id);
    if (mine === shown) leave = after ?? null; else after?.();
  } catch (error) {
    if (mine === shown) main.replaceChildren(h("h1", {}, "Not shown"), h("p", { role: "alert" }, error.message));
  }
  document.title = `${main.querySelector("h1")?.textContent ?? "agentd"} · agentd`;
  if (focus) main.focus();
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button || link.hasAttribute("download")) return;
  const address = new URL(link.getAttribute("href"), location.href);
  if (address.origin !== location.origin || address.pathname.startsWith("/api/") || address.hash) return;
  event.preventDefault();
  history.pushState(null, "", address);
  show(true);
});
addEventListener("popstate", () => show(true));

const stream = new EventSource("/api/v1/stream");
stream.addEventListener("state", (event) => told(JSON.parse(event.data)));
stream.addEventListener("trouble", (event) => trouble(JSON.parse(event.data).message));
stream.addEventListener("error", () => trouble("not connected"));
get("/api/v1/state").then(told, (error) => trouble(error.message));
show(false);
