// Asking the API. The browser keeps answers by ETag, so an unchanged one costs no body.
const TIMEOUT_MS = 10_000;

/** A problem of the API, or of reaching it. */
export class Trouble extends Error {
  constructor(problem, retryAfter_s = 0) {
    super(problem.detail ?? problem.title ?? "no answer");
    this.next = problem.next;
    this.status = problem.status;
    this.retryAfter_s = retryAfter_s;
  }
}

/** Return {body, etag} of a path. Raises Trouble. */
export const ask = (url) => request(url, {});

/** Send a value; return {body, etag}. Raises Trouble. */
export const tell = (url, method, value) => request(url, { method, body: JSON.stringify(value) }, { "Content-Type": "application/json" });

async function request(url, options, headers = {}) {
  let response;
  try {
    response = await fetch(url, { ...options, headers: { Accept: "application/json", ...headers }, signal: AbortSignal.timeout(TIMEOUT_MS) });
  } catch (error) {
    const late = error.name === "TimeoutError";
    throw new Trouble({ detail: late ? `no answer within ${TIMEOUT_MS / 1000} s` : "the API cannot be reached", next: "braid up" });
  }
  const body = await response.json().catch(() => ({ detail: `HTTP ${response.status} without a body that can be read` }));
  if (!response.ok) throw new Trouble(body, Number(response.headers.get("Retry-After")) || 0);
  return { body, etag: response.headers.get("ETag") };
}
