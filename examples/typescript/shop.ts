/**
 * What a shop asks of `examples/catalogue.py`. Types are generated from the endpoint's document.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./freshrank.js";
import { retrying } from "./retries.js";

export type ShopEvent = components["schemas"]["behaviour.event"];
export type Item = components["schemas"]["RecommendedItem"];
type ErrorAnswer = components["schemas"]["ErrorAnswer"];

/** An answer that is an error: what to change in the request, or which part failed. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    readonly field: string,
    readonly reason: string,
  ) {
    super(`${status}: ${field}: ${reason}`);
  }
}

/**
 * The endpoint at `url`; `key` is one of `freshrank keys create`, where it asks for one. A request
 * that is not answered is sent again.
 */
export function connect(url: string, key?: string): Client<paths> {
  return createClient<paths>({
    baseUrl: url,
    fetch: retrying(),
    headers: key === undefined ? {} : { Authorization: `Bearer ${key}` },
  });
}

/** The data of an answer. Throws `Refused` for an error. */
export function answered<T>(found: { data?: T; error?: ErrorAnswer; response: Response }): T {
  if (found.data !== undefined) return found.data;
  const wrong = found.error?.error ?? { field: "endpoint", reason: "no answer of Freshrank's" };
  throw new Refused(found.response.status, wrong.field, wrong.reason);
}

/** By topic, the place of an event there: an answer can wait until it contains it. */
export type Offsets = Record<string, number>;

/** Tell that a user clicked on an item. Sent again, it is recognised by its `event_id`. */
export async function click(shop: Client<paths>, user: string, item: Item): Promise<Offsets> {
  const event: ShopEvent = {
    event_id: crypto.randomUUID(),
    type: "click",
    ts: Date.now(),
    user_id: user,
    item_id: item.id,
    category_id: Number(item.fields["category_id"]),
    price: Number(item.fields["price"]),
  };
  const { positions } = answered(await shop.POST("/v1/events", { body: event }));
  return Object.fromEntries(positions.map(({ topic, offset }) => [topic, offset]));
}

/** The best items for a user below a price. */
export async function recommended(
  shop: Client<paths>,
  user: string,
  below: number,
): Promise<Item[]> {
  const { items } = answered(
    await shop.POST("/v1/recommend", {
      body: { user, k: 5, filters: { price: { lt: below } }, explain: 3 },
    }),
  );
  return items;
}

/** The scores of items that the shop has chosen itself, once they reflect the events of `since`. */
export async function scores(
  shop: Client<paths>,
  user: string,
  items: number[],
  since: Offsets,
): Promise<(number | null)[]> {
  const candidates = items.map((item_id) => ({ item_id }));
  const body = { user, candidates, show: 0, min_offsets: since, timeout_ms: 10_000 };
  return answered(await shop.POST("/v1/score", { body })).scores;
}
