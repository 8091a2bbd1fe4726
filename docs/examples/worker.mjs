#!/usr/bin/env node
// A worker for Steadfast: runs jobs of the pull queues it is given by name, or of all; PLACES is how many at once.
// On SIGTERM or Ctrl-C it takes no more, and ends when what it runs has ended. Needs nothing but Node 18.
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
const { STEADFAST_SERVER = "http://127.0.0.1:8080", LEASE_MS = 30000, PLACES = 4, STEADFAST_TOKEN: token } = process.env;
const name = `${hostname()}:${process.pid}`;
const order = { worker: name, queues: process.argv.slice(2), wait_ms: 20000, lease_ms: Number(LEASE_MS) };
const [stopping, held] = [new AbortController(), new Map()]; // lease -> its AbortController
const pause = ({ retry_after_ms: ms = 0 }, signal) => sleep(ms, null, { signal }).catch(() => {});

/** The work: returns a result, or throws. This one takes payload.seconds. */
async function work(job, signal) {
  await sleep((job.payload.seconds ?? 0) * 1000, null, { signal });
  return { by: name, attempt: job.attempt };
}

/** The server's answer. One that is away, or busy, is asked again: all these calls are safe to repeat. */
async function call(path, body, signal) {
  for (;;) {
    let status = 503, answer = { retry_after_ms: 100 + 400 * Math.random() };
    try {
      const headers = { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) };
      const request = { method: "POST", headers, body: JSON.stringify(body), signal };
      const reply = await fetch(`${STEADFAST_SERVER}/v1/leases${path}`, request);
      [status, answer] = [reply.status, await reply.json()];
    } catch { if (signal?.aborted) return {}; }
    if (status < 300 || status === 409) return answer; // 409: the lease was over, and another has the job
    if (status < 500 && ![408, 429].includes(status)) throw new Error(JSON.stringify(answer));
    await pause(answer, signal);
  }
}

async function takeJobs() {
  while (!stopping.signal.aborted) {
    const answer = await call("", order, stopping.signal);
    for (const { lease, job } of answer.leases ?? []) await run(lease, job);
    await pause(answer, stopping.signal); // while the server drains
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
