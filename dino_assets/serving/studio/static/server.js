// Requests to the studio's server; a failure carries the status and the server's sentence.
export class Failure extends Error {
  constructor(status, slug, detail) { super(detail); this.status = status; this.slug = slug; }
}

export async function request(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Failure(0, "offline", "The studio's server does not answer. Is `dino-assets studio` still running?");
  }
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Failure(answer.status, problem.slug || "failed", problem.detail || `The server answered ${answer.status}.`);
  }
  return answer;
}

export const ask = async (path, body) => (await request(path, body)).json();
