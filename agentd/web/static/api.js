// The JSON API. Orders carry the mark that only this page knows.
let session = null;

export async function get(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  if (answer.status === 401) location.assign("/login");
  if (!answer.ok) throw new Error(await reason(answer));
  return (answer.headers.get("content-type") ?? "").includes("json") ? answer.json() : answer.text();
}

export async function order(path, words = {}) {
  session ??= await get("/api/v1/session");
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Agentd-CSRF": session.csrf },
    body: JSON.stringify(words),
  });
  if (!answer.ok) throw new Error(await reason(answer));
  return (await answer.json()).done;
}

async function reason(answer) {
  try {
    return (await answer.json()).error.message;
  } catch {
    return `the server answered ${answer.status}`;
  }
}
