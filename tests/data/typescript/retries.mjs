// What `retries.ts` sends to an endpoint that answers each try by the next of some words: a status,
// or "cut" for a connection that ends without an answer. Prints what came of each story as JSON.
import { createServer } from "node:http";
import { retrying } from "./built/retries.js";

const stories = [
  ["POST", "/v1/recommend", ["503", "cut", "429", "200"]],
  ["POST", "/v1/score", ["503", "503", "503", "503", "200"]],
  ["POST", "/v1/score/batch", ["cut", "cut", "cut", "cut", "200"]],
  ["POST", "/v1/recommend/next", ["422", "200"]],
  ["POST", "/v1/events", ["503", "200"]],
  ["GET", "/v1/model", ["cut", "200"]],
];
const patience = { timeoutMs: 60_000, tries: 4, firstPauseMs: 1, longestPauseMs: 4 };

let words = [];
let tries = [];
const server = createServer(async (request, response) => {
  let body = "";
  for await (const piece of request) body += piece;
  tries.push({ key: request.headers["idempotency-key"] ?? null, body });
  const word = words[tries.length - 1];
  if (word === "cut") return request.socket.destroy();
  response.writeHead(Number(word), { "Content-Type": "application/json" });
  response.end("{}");
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${server.address().port}`;

const send = retrying(patience);
const told = [];
for (const [method, path, given] of stories) {
  [words, tries] = [given, []];
  const body = method === "POST" ? '{"user": "u1"}' : undefined;
  const outcome = await send(new Request(url + path, { method, body })).then(
    (answer) => answer.status,
    (error) => error.name,
  );
  told.push({ path, outcome, tries });
}
server.closeAllConnections();
server.close();
console.log(JSON.stringify(told));
