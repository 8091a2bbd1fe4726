#!/usr/bin/env node
// A worker for Steadfast: runs jobs of the pull queues it is given by name, or of all; PLACES is how many at once.
// On SIGTERM or Ctrl-C it takes no more, and ends when what it runs has ended. Needs nothing but Node 18.
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";

const { STEADFAST_SERVER = "http://127.0.0.1:8080", LEASE_MS = 30000, PLACES = 4 } = process.env;
const name = `${hostname()}:${process.pid}`;
const order = { worker: name, queues: process.argv.slice(2), wait_ms: 20000, lease_ms: Number(LEASE_MS) };
const held = new Map(); // lease -> AbortController, aborted when its job is to stop
const stopping = new AbortController();

/** The work: returns a result, or throws. This one takes payload.seconds. */
async function work(job, signal) {
  await sleep((job.payload.seconds ?? 0) * 1000, null, { signal });
  return { by: name, attempt: job.attempt };
}

/** The server's answer. One that is away, or busy, is asked again: all these calls are safe to repeat. */
async function call(path, body, signal) {
  for (;;) {
    let status = 503, answer = { retry_after_ms: 200 };
    try {
      const request = { method: "POST", headers: { "content-type": "application/json" }, signal };
      const reply = await fetch(`${STEADFAST_SERVER}/v1/leases${path}`, { ...request, body: JSON.stringify(body) });
      [status, answer] = [reply.status, await reply.json()];
    } catch {
      if (signal?.aborted) return {};
    }
    if (answer.retry_after_ms) await sleep(answer.retry_after_ms * (1 + Math.random() / 2)); // of a drain, too
    if (status < 300 || status === 409) return answer; // 409: the lease was over, and another has the job
    if (status < 500 && ![408, 429].includes(status)) throw new Error(JSON.stringify(answer));
  }
}

async function takeJobs() {
  while (!stopping.signal.aborted) {
    const { leases = [] } = await call("", order, stopping.signal);
    for (const { lease, job } of leases) await run(lease, job);
  }
}

async function run(lease, job) {
  held.set(lease, new AbortController());
  const failed = (error) => ["fail", { code: error.name, message: error.message }];
  const [verb, body] = await work(job, held.get(lease).signal).then((result) => ["complete", { result }], failed);
  await call(`/${lease}/${verb}`, body);
  held.delete(lease);
}

async function keepLeases() {
  const heartbeats = [...held.keys()].map((lease) => ({ lease }));
  const answer = heartbeats.length ? await call("/heartbeat", { heartbeats }) : {};
  for (const { lease, renewed } of answer.heartbeats ?? []) if (!renewed || renewed.cancel_requested) held.get(lease)?.abort();
}

for (const each of ["SIGTERM", "SIGINT"]) process.on(each, () => stopping.abort());
setInterval(keepLeases, order.lease_ms / 3).unref();
await Promise.all(Array.from({ length: Number(PLACES) }, takeJobs));
