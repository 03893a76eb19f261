// Loaded before a program: notes each of its requests and the answer, in the file RECORD.
import { appendFileSync } from "node:fs";

const fetchIt = globalThis.fetch;
globalThis.fetch = async (...given) => {
  const request = new Request(...given);
  const sent = request.clone();
  const answer = await fetchIt(request);
  const noted = {
    method: sent.method,
    path: decodeURIComponent(new URL(sent.url).pathname),
    authorization: sent.headers.get("authorization"),
    body: await sent.text(),
    status: answer.status,
    kind: answer.headers.get("content-type"),
    answer: await answer.clone().text(),
  };
  appendFileSync(process.env["RECORD"], JSON.stringify(noted) + "\n");
  return answer;
};
