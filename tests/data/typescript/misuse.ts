// Each line below a comment is an error by the generated types; the compiler fails where one is not.
import type { components } from "./freshrank.js";
import { answered, connect, type Item, type ShopEvent } from "./shop.js";

type RecommendRequest = components["schemas"]["RecommendRequest"];

const shop = connect("http://localhost:8000");
const candidates = [{ item_id: 1 }];

// @ts-expect-error -- there is no such route
await shop.POST("/v1/scores", { body: { user: "u1", candidates } });
// @ts-expect-error -- no method of this route
await shop.GET("/v1/score", {});
// @ts-expect-error -- a field that is required
await shop.POST("/v1/score", { body: { candidates } });
// @ts-expect-error -- a key of another type
await shop.POST("/v1/score", { body: { user: 1, candidates } });
// @ts-expect-error -- a candidate without its field
await shop.POST("/v1/score", { body: { user: "u1", candidates: [{}] } });
// @ts-expect-error -- not a choice
await shop.POST("/v1/score", { body: { user: "u1", candidates, on_bad_candidate: "ignore" } });
// @ts-expect-error -- no field of the catalogue
const body: RecommendRequest = { user: "u1", filters: { brand: "a" } };
// @ts-expect-error -- no number
await shop.POST("/v1/recommend", { body: { ...body, filters: { price: { lt: "9" } } } });
// @ts-expect-error -- no source of this pipeline
await shop.POST("/v1/recommend", { body: { user: "u1", sources: ["trending"] } });
// @ts-expect-error -- no entity of this pipeline
await shop.GET("/v1/features/{entity}/{id}", { params: { path: { entity: "shop", id: "u1" } } });
// @ts-expect-error -- an event without its other fields
const event: ShopEvent = { user_id: "u1" };

const answer = await shop.POST("/v1/score", { body: { user: "u1", candidates } });
// @ts-expect-error -- it may be an error
console.log(event, answer.data.scores);
// @ts-expect-error -- a candidate may have been skipped
console.log(answered(answer).scores.map((score) => score.toFixed(2)));
// @ts-expect-error -- there may be no such candidate
const place: number = answered(answer).ranking[0];
// @ts-expect-error -- a field that errors do not have
console.log(place, answer.error?.error.message);

declare const item: Item;
// @ts-expect-error -- an integer in this catalogue
const key: string = item.id;
// @ts-expect-error -- absent where they are not asked for
console.log(key, item.reasons.length);
// @ts-expect-error -- any JSON
const price: number = item.fields["price"];
console.log(price);
