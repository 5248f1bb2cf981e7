// What the page asks, answered by the server that it comes from. An exported page has another module in the place of
// this one, with the same functions.

/** How many words to ask for before the keys are shown; if more are wanted, they are asked for afterwards. */
export const AT_ONCE = Infinity;

const NO_ANSWER = "The server does not answer. Trying again…";

/** Learns what is served. */
export function version() {
  return answerTo("version");
}

/** Asks something; an error that was answered has a `status`. */
export function post(path, body) {
  return answerTo(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function answerTo(path, request) {
  const [response, answer] = await received(path, request).catch(() => {
    throw new Error(NO_ANSWER);
  });
  if (!response.ok) {
    throw Object.assign(new Error(answer.error), { status: response.status });
  }
  return answer;
}

async function received(path, request) {
  const response = await fetch(path, request);
  return [response, await response.json()];
}
