// All runs, newest first, and one run with everything about it.
import { get } from "/static/api.js";
import { ago, h, long, many, out, pill, runLink, section, span, table, taskLink, usd } from "/static/dom.js";
import { button } from "/static/orders.js";

const STATES = ["", "running", "in_review", "merged", "failed_retry", "conflict_retry", "verify_failed", "no_changes", "conflict_blocked",
  "halted", "failed", "cancelled", "closed_unmerged", "revoked"];

export async function runs(main) {
  const rows = h("div", {}), words = h("input", { type: "search", id: "words", placeholder: "title or id" });
  const chosen = h("select", { id: "state" }, STATES.map((name) => h("option", { value: name }, name.replaceAll("_", " ") || "any state")));
  const more = h("button", { type: "button" }, "Older runs");
  async function load(before) {
    const asked = new URLSearchParams({ q: words.value, state: chosen.value, before });
    const found = await get(`/api/v1/runs?${asked}`);
    const shown = table(["task", "title", "state", "attempt", "profile", "when", "pull request or reason"],
      found.runs.map((run) => [runLink(run), long(run.title), pill(run.state), `${run.attempt}`, run.profile.split("@")[0], ago(run.started_at),
        long(run.pr_url ? out(run.pr_url, `#${run.pr_number}`) : run.reason)]), "No run fits.");
    if (before) rows.append(shown); else rows.replaceChildren(shown);
    more.hidden = !found.before;
    more.onclick = () => load(found.before);
  }
  chosen.onchange = words.onchange = () => load("");
  main.replaceChildren(h("h1", {}, "Runs"), h("div", { class: "bar" },
    h("label", { for: "words" }, "Find"), words, h("label", { for: "state" }, "State"), chosen), h("section", {}, rows), more);
  await load("");
}

export async function run(main, context, id) {
  let known = "", log = null, asked = false;
  const path = `/api/v1/runs/${encodeURIComponent(id)}`;
  const live = h("pre", { tabindex: "0", "aria-label": "Log" }), head = h("div", {}), tail = h("div", {});
  main.replaceChildren(head, section("Log", live), tail);
  async function load() {
    const found = await get(path);
    head.replaceChildren(...top(found));
    tail.replaceChildren(...bottom(found, path));
    if (found.has_diff && !asked) asked = true;
    if (found.has_diff) get(`${path}/diff`).then((patch) => document.getElementById("diff")?.replaceChildren(...coloured(patch)), () => {});
    if (!log) log = follow(live, path, found.has_log);
    return found;
  }
  await load();
  const stop = context.watch(async (state) => {
    const mine = [...state.running, ...state.recent].find((row) => row.run_id === id);
    const now = JSON.stringify(mine ?? null);
    if (now !== known) { known = now; await load(); }
  });
  return () => { stop(); log?.close(); };
}

function follow(place, path, here) {
  if (!here) { place.textContent = "There is no log of it on this host."; return null; }
  const source = new EventSource(`${path}/log`);
  source.addEventListener("log", (event) => {
    const low = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    place.append(JSON.parse(event.data).text);
    while (place.childNodes.length > 400) place.firstChild.remove();
    if (low) place.scrollTop = place.scrollHeight;
  });
  source.addEventListener("end", () => source.close());
  return source;
}

function top(run) {
  const may = run.may.map((what) => {
    const [verb, from] = what.split(":");
    const label = verb === "cancel" ? "Cancel" : from ? `Retry from ${from}` : "Retry";
    const question = verb === "cancel" ? "End this run? Its work is saved, and its issue gets status:blocked." : `${label}? It is charged as an attempt.`;
    return button(label, question, label, `/api/v1/runs/${encodeURIComponent(run.run_id)}/${verb}`, from ? { from } : {});
  });
  const tokens = run.calls.reduce((sum, call) => sum + call.input_tokens + call.output_tokens, 0);
  const facts = {
    State: pill(run.state), Task: taskLink(run.task_id), Why: run.reason, Ended: run.failure_mode, "Pull request": run.pr_url ? out(run.pr_url, run.pr_url) : "",
    Attempt: `${run.attempt}`, Profile: run.profile, Host: (run.executor || "").split(":")[0], Began: ago(run.started_at),
    Took: run.finished_at ? span((Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000) : "",
    Models: run.calls.length ? `${many(run.calls.length)} calls, ${many(tokens)} tokens, ${usd(cost(run.calls))}` : "",
    Verify: h("code", {}, run.verify_command), Goal: run.goal.slice(0, 600), Sandbox: run.sandbox,
  };
  return [h("h1", {}, `${run.task_id}: ${run.title}`), h("div", { class: "bar" }, may),
    section("Run", h("dl", {}, Object.entries(facts).filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))),
    section("Stages", waterfall(run))];
}

const cost = (calls) => calls.some((call) => call.usd === null) ? null : calls.reduce((sum, call) => sum + call.usd, 0);

function waterfall(run) {
  const calls = run.calls.map((call) => ({ kind: "model_call", name: call.model, state: call.status < 400 ? "ok" : "failed", started_at: call.started_at, ended_at: call.finished_at, summary: `${call.input_tokens} + ${call.output_tokens} tokens` }));
  const rows = [...run.steps, ...calls].sort((a, b) => a.started_at.localeCompare(b.started_at)).slice(0, 400);
  if (!rows.length) return h("p", { class: "quiet" }, "Nothing has begun.");
  const end = (row) => Date.parse(row.ended_at ?? run.finished_at ?? new Date().toISOString());
  const from = Math.min(...rows.map((row) => Date.parse(row.started_at))), all = Math.max(1, ...rows.map(end).map((at) => at - from));
  const parts = rows.map((row) => {
    const bar = h("span", { class: `span ${row.state === "open" && run.is_active ? "busy" : row.state === "ok" ? "good" : "bad"}` });
    bar.style.left = `${(99 * (Date.parse(row.started_at) - from)) / all}%`;
    bar.style.width = `${(99 * Math.max(0, end(row) - Date.parse(row.started_at))) / all}%`;
    const deep = { stage: "", agent_turn: "· ", run: "" }[row.kind] ?? "· · ";
    return [h("span", { class: "name", title: row.summary }, `${deep}${row.name}${row.kind === "tool_call" ? ` ${row.summary}` : ""}`),
      h("span", { class: "track" }, bar), h("span", { class: "took" }, span((end(row) - Date.parse(row.started_at)) / 1000))];
  });
  return h("div", { class: "waterfall" }, parts);
}

function bottom(run, path) {
  const verdicts = run.events.filter((event) => event.type === "policy_decided");
  return [
    section("Verdicts", table(["when", "decision", "rule", "why"], verdicts.map((event) => [ago(event.at), pill(event.data.verdict ?? ""),
      `${event.data.rule_id ?? event.data.kind ?? ""}`, long(`${event.data.reason ?? ""}`)]), "Nothing was refused or held.")),
    ...run.verify.map((each) => section(`Output of ${each.name}`, h("pre", { tabindex: "0", "aria-label": each.name }, each.output))),
    run.has_diff ? section("Difference", h("pre", { id: "diff", tabindex: "0", "aria-label": "Difference" }, "…")) : null,
    section("State changes", table(["when", "from", "to", "why"], run.transitions.map((change) => [ago(change.at), change.before, pill(change.after), long(change.reason)]), "None.")),
    section("Events", table(["when", "event", "status", "data"], run.events.slice(-100).map((event) => [ago(event.at), event.type, event.status,
      long(JSON.stringify(event.data).slice(0, 400))]), "None.")),
    run.has_evidence ? h("p", {}, h("a", { href: `${path}/evidence`, download: true }, "Download the evidence")) : null,
  ].filter(Boolean);
}

function coloured(patch) {
  const kind = (line) => line.startsWith("@@") ? "at" : /^\+(?!\+\+ )/.test(line) ? "add" : /^-(?!-- )/.test(line) ? "del" : null;
  return patch.split("\n").slice(0, 5000).map((line) => h("span", { class: kind(line) }, `${line}\n`));
}
