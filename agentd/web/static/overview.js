// The front: what runs, the queue, what is held, what it costs, how much gets done.
import { ago, h, long, many, out, pill, runLink, s, section, table, taskLink, usd } from "/static/dom.js";
import { button, say } from "/static/orders.js";
import { order } from "/static/api.js";

export function overview(main, context) {
  return context.watch((state) => {
    const focused = main.contains(document.activeElement) ? mark(document.activeElement) : null;
    main.replaceChildren(...parts(state));
    if (focused) [...main.querySelectorAll("a, button, [tabindex]")].find((each) => mark(each) === focused)?.focus();
  });
}

// What stays the same of an element that is made anew, so that who uses the keyboard stays where they are.
const mark = (element) => `${element.tagName} ${element.getAttribute("href") ?? element.getAttribute("aria-label") ?? element.textContent}`;

function parts(state) {
  const paused = state.holds.filter((hold) => hold.rule_id === "paused");
  const stopped = paused.some((hold) => hold.scope === "pause");
  return [
    h("h1", {}, "Overview"),
    state.sandbox === "none" ? h("section", { class: "trouble" }, "WITHOUT A SANDBOX: agents run as agentd's own user.") : null,
    h("div", { class: "bar" },
      stopped ? button("Resume", "Let runs start again?", "Resume", "/api/v1/resume")
        : button("Pause", "Start no more runs? Running ones go on.", "Pause", "/api/v1/pause", {}, { name: "reason", label: "Reason" }),
      h("button", { type: "button", onclick: async () => {
        try { say(await order("/api/v1/refresh")); } catch (error) { say(error.message); }
      } }, "Look at GitHub now"),
      paused.map((hold) => h("span", { class: "wait" }, hold.observed))),
    h("div", { class: "cards" },
      card(`${state.running.length} / ${state.max_parallel}`, "running"),
      card(many(state.queue.filter((row) => row.decision === "allow").length), "may start"),
      card(many(state.queue.filter((row) => row.decision !== "allow").length), "wait"),
      card(many(state.counts.in_review ?? 0), "in review"),
      card(many(state.counts.merged ?? 0), "merged"),
      card(usd(state.spent_today.usd), `${many(state.spent_today.tokens)} tokens today`)),
    section("Running", table(["task", "title", "stage", "since", "last", "tokens", "cost"],
      state.running.map((run) => [runLink(run), long(run.title), pill(run.state), ago(run.started_at), long(lastOf(run)),
        run.models ? many(run.models.tokens) : "", run.models ? usd(run.models.usd) : ""]), "Nothing runs.")),
    section("Queue", table(["task", "title", "priority", "decision", "why", "until"],
      state.queue.slice(0, 100).map((row) => [h("span", {}, taskLink(row.task_id), " ", out(row.url, `#${row.issue_number}`)),
        long(row.title), row.priority, pill(row.decision), long(row.reason ? `${row.reason} (${row.rule_id})` : ""),
        row.retry_at ? new Date(row.retry_at).toLocaleTimeString() : ""]), "No open issue has the label agent-ready."),
      state.queue.length > 100 ? h("p", { class: "quiet" }, `and ${state.queue.length - 100} more`) : null),
    section("Holds", table(["of", "why", "what to do", "until"],
      state.holds.map((hold) => [hold.scope, long(`${hold.observed} (${hold.rule_id})`), long(hold.action),
        hold.retry_at ? new Date(hold.retry_at).toLocaleTimeString() : ""]), "Nothing is held.")),
    section("Last 14 days", chart(state.throughput)),
    section("Last runs", table(["task", "title", "end", "when", "pull request or reason"],
      state.recent.map((run) => [runLink(run), long(run.title), pill(run.state), ago(run.finished_at ?? run.updated_at),
        long(run.pr_url ? out(run.pr_url, `#${run.pr_number}`) : run.reason)]), "There is no run yet.")),
  ].filter(Boolean);
}

const lastOf = (run) => run.last_step ? `${run.last_step.name} ${run.last_step.summary}`.slice(0, 120) : run.last_event?.event_type ?? "";

const card = (value, label) => h("div", { class: "card" }, h("b", {}, value), h("span", {}, label));

function chart(days) {
  const most = Math.max(1, ...days.map((day) => day.merged + day.blocked));
  const bars = days.map((day, number) => {
    const x = 34 + number * 44, good = (day.merged / most) * 90, bad = (day.blocked / most) * 90;
    return s("g", {}, s("title", {}, `${day.day}: ${day.merged} merged, ${day.blocked} ended badly`),
      s("rect", { x, y: 100 - good, width: 26, height: good, class: "merged" }),
      s("rect", { x, y: 100 - good - bad, width: 26, height: bad, class: "blocked" }),
      s("text", { x: x + 13, y: 116, "text-anchor": "middle", class: "soft" }, day.day.slice(8)));
  });
  const merged = days.reduce((sum, day) => sum + day.merged, 0), blocked = days.reduce((sum, day) => sum + day.blocked, 0);
  return h("div", {},
    s("svg", { viewBox: "0 0 660 122", role: "img", "aria-label": `${merged} merged and ${blocked} ended badly in 14 days` },
      s("line", { x1: 28, x2: 652, y1: 100.5, y2: 100.5, class: "axis" }),
      s("text", { x: 24, y: 16, "text-anchor": "end", class: "soft" }, `${most}`), bars),
    h("p", { class: "quiet" }, `${merged} merged, ${blocked} ended badly`));
}
