// Tasks and how they depend on each other, the ledger, the doctor.
import { get } from "/static/api.js";
import { KIND, ago, h, long, pill, runLink, s, section, table, taskLink } from "/static/dom.js";

export async function tasks(main) {
  const found = await get("/api/v1/tasks");
  main.replaceChildren(h("h1", {}, "Tasks"),
    section("Dependencies", found.tasks.length ? graph(found) : h("p", { class: "quiet" }, "No open issue has the label agent-ready.")),
    section("All", table(["task", "title", "last run", "waits for"], found.tasks.map((task) => [taskLink(task.task_id), long(task.title),
      task.state ? pill(task.state) : "", task.rule_id]), "None.")));
}

function graph({ tasks: all, edges }) {
  const needs = new Map(all.map((task) => [task.task_id, []]));
  for (const [needed, who] of edges) needs.get(who)?.push(needed);
  const depth = new Map();
  const deep = (name, path = []) => {
    if (depth.has(name)) return depth.get(name);
    if (path.includes(name)) return 0; // a cycle, which the plan names
    const found = Math.max(-1, ...(needs.get(name) ?? []).map((each) => deep(each, [...path, name]))) + 1;
    depth.set(name, found);
    return found;
  };
  const rows = [], at = new Map();
  for (const task of all) {
    const column = deep(task.task_id);
    rows[column] = (rows[column] ?? 0) + 1;
    at.set(task.task_id, [20 + column * 190, 20 + (rows[column] - 1) * 52]);
  }
  const width = 40 + rows.length * 190, height = 30 + Math.max(...rows.filter(Boolean)) * 52;
  const lines = edges.filter(([a, b]) => at.has(a) && at.has(b)).map(([a, b]) => {
    const [x1, y1] = at.get(a), [x2, y2] = at.get(b);
    return s("path", { class: "edge", d: `M${x1 + 150} ${y1 + 18} C${x1 + 175} ${y1 + 18} ${x2 - 25} ${y2 + 18} ${x2} ${y2 + 18}` });
  });
  const nodes = all.map((task) => {
    const [x, y] = at.get(task.task_id);
    return s("a", { href: `/tasks/${encodeURIComponent(task.task_id)}`, class: `node ${task.state ? KIND[task.state] ?? "bad" : ""}` },
      s("title", {}, `${task.task_id}: ${task.title} ${task.state} ${task.rule_id}`),
      s("rect", { x, y, width: 150, height: 36, rx: 7 }),
      s("text", { x: x + 10, y: y + 15 }, task.task_id),
      s("text", { x: x + 10, y: y + 30, class: "soft" }, task.title.slice(0, 20)));
  });
  return h("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Graph of tasks" },
    s("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": `${all.length} tasks, ${edges.length} dependencies` }, lines, nodes));
}

export async function task(main, context, id) {
  const found = await get(`/api/v1/tasks/${encodeURIComponent(id)}`);
  const plan = found.plan;
  main.replaceChildren(h("h1", {}, `${found.task_id}${plan ? `: ${plan.title}` : ""}`),
    plan ? section("Plan", h("dl", {}, h("dt", {}, "Decision"), h("dd", {}, pill(plan.decision)), h("dt", {}, "Why"), h("dd", {}, `${plan.reason} (${plan.rule_id})`),
      h("dt", {}, "What to do"), h("dd", {}, plan.action), h("dt", {}, "Depends on"), h("dd", {}, plan.dependencies.join(", ") || "nothing"))) : null,
    section("Attempts that failed", h("p", {}, Object.entries(found.attempts).map(([cause, number]) => `${cause}: ${number}`).join(", ") || "None.")),
    section("Runs", table(["run", "state", "attempt", "when", "why"], found.runs.map((run) => [h("a", { href: `/runs/${encodeURIComponent(run.run_id)}` }, run.run_id), pill(run.state),
      `${run.attempt}`, ago(run.started_at), long(run.reason)]), "None.")),
    h("p", { class: "quiet" }, "`agentd why ", found.task_id, "` tells every rule of dispatch with its value."));
}

export async function ledger(main) {
  const rows = h("div", {}), more = h("button", { type: "button" }, "Older events");
  async function load(before) {
    const found = await get(`/api/v1/ledger${before ? `?before=${before}` : ""}`);
    rows.append(table(["number", "when", "event", "task", "run", "data", "hash"], found.events.map(({ seq, hash, event }) => [`${seq}`, ago(event.timestamp), event.event_type,
      event.task_id, event.run_id.includes("-") ? runLink({ run_id: event.run_id, task_id: event.run_id.slice(-13) }) : event.run_id, long(JSON.stringify(event.data).slice(0, 300)), h("code", {}, hash)]), "There is no event yet."));
    more.hidden = !found.before;
    more.onclick = () => load(found.before);
  }
  main.replaceChildren(h("h1", {}, "Ledger"), h("p", { class: "quiet" }, "Every row holds the hash of the one before it; `agentd ledger verify` checks them all."),
    h("section", {}, rows), more);
  await load(null);
}

export async function doctor(main) {
  main.replaceChildren(h("h1", {}, "Doctor"), h("p", { class: "quiet", role: "status" }, "Looking …"));
  const { findings } = await get("/api/v1/doctor");
  const bad = findings.filter((each) => each.level !== "ok");
  main.replaceChildren(h("h1", {}, "Doctor"),
    h("p", {}, bad.length ? `${bad.length} of ${findings.length} checks need somebody.` : `All ${findings.length} checks are well.`),
    ...bad.map((each) => h("section", { class: each.level === "fail" ? "trouble" : null }, h("h2", {}, pill(each.level), ` ${each.title}`),
      h("p", {}, each.message), each.remediation ? h("pre", { tabindex: "0", "aria-label": "What mends it" }, each.remediation) : null, h("code", {}, each.code))),
    section("All checks", table(["check", "finding", "what"], findings.map((each) => [h("code", {}, each.code), pill(each.level), long(each.message)]), "None.")));
}
