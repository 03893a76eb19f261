/**
 * One visit to the shop of `examples/catalogue.py`: what it recommends, and what a click changes.
 *
 *     node built/visit.js http://localhost:8000 u00007
 */
import { answered, click, connect, recommended, Refused, scores } from "./shop.js";

const [url = "http://localhost:8000", user = "u00007"] = process.argv.slice(2);
const shop = connect(url, process.env["SHOP_KEY"]);

const items = await recommended(shop, user, 50);
for (const { id, score, fields, reasons } of items) {
  const why = (reasons ?? []).map(({ input, contribution }) => `${input} ${contribution.toFixed(2)}`);
  console.log(`item ${id} at ${String(fields["price"])}: ${score} because of ${why.join(", ")}`);
}

const [first] = items;
if (first === undefined) throw new Error("the shop has nothing to recommend");
const since = await click(shop, user, first);
console.log("scores", await scores(shop, user, [first.id, 1, 2], since));

const alike = answered(await shop.POST("/v1/similar", { body: { items: [first.id], k: 3 } }));
console.log("similar", alike.items.map(({ id }) => id));

const explained = answered(
  await shop.POST("/v1/explain", { body: { user, candidates: [{ item_id: first.id }] } }),
);
console.log("logit", explained.candidates[0]?.logit);

const { features } = answered(
  await shop.GET("/v1/features/{entity}/{id}", { params: { path: { entity: "user", id: user } } }),
);
console.log("clicks", features["clicks_1m"]);

try {
  answered(await shop.POST("/v1/similar", { body: { items: [-1] } }));
} catch (error) {
  if (!(error instanceof Refused)) throw error;
  console.log("refused", error.status, error.field, error.reason);
}
