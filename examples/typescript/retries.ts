/**
 * Requests are sent again as the client for Python sends them: where nothing answers, or a 503 or a
 * 429 does.
 */

/** How long a client waits, and how often it tries. */
export interface Patience {
  /** For each try; longer than the `timeout_ms` of any request. */
  timeoutMs: number;
  /** Of one request. */
  tries: number;
  /** Between two tries; pauses double, and half of each is random. */
  firstPauseMs: number;
  longestPauseMs: number;
}

export const PATIENCE: Patience = {
  timeoutMs: 15_000,
  tries: 4,
  firstPauseMs: 100,
  longestPauseMs: 2_000,
};

// The answers of these are logged as shown: by the same key, once for all tries.
const LOGGED = /\/v1\/(score|score\/batch|recommend|recommend\/next)$/;

/** A `fetch` that tries again. Rejects as `fetch` does, after the last try. */
export function retrying(patience: Patience = PATIENCE): (request: Request) => Promise<Response> {
  return async (request) => {
    if (LOGGED.test(new URL(request.url).pathname) && !request.headers.has("Idempotency-Key")) {
      request.headers.set("Idempotency-Key", crypto.randomUUID());
    }
    for (let tried = 1; ; tried++) {
      const last = tried >= patience.tries;
      try {
        const signal = AbortSignal.any([request.signal, AbortSignal.timeout(patience.timeoutMs)]);
        const answer = await fetch(new Request(request.clone(), { signal }));
        if (last || (answer.status !== 503 && answer.status !== 429)) return answer;
        await answer.body?.cancel();
      } catch (error) {
        if (last || request.signal.aborted) throw error;
      }
      await pause(tried, patience);
    }
  };
}

async function pause(tried: number, { firstPauseMs, longestPauseMs }: Patience): Promise<void> {
  const longest = Math.min(firstPauseMs * 2 ** (tried - 1), longestPauseMs);
  const milliseconds = longest * (0.5 + 0.5 * Math.random());
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}
