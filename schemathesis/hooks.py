"""What schemathesis cannot know of Steadfast from its OpenAPI document, for scripts/schemathesis."""

import json
import os
import re
import urllib.request

import schemathesis

# The job that keeps a server draining.
KEPT_JOB = os.environ.get("KEPT_JOB")
BUILT_IN_KINDS = {"echo", "http", "sleep"}
QUEUES = {"default", "second", "pulled"}
PULLED = "pulled"
# The longest a server is asked to hold an answer; it would hold one for 30 s, if told to.
WAIT_MS_MAX = 500
# Held answers to submits, a second each, which is the shortest: the others are asked for at once.
PREFERRED_WAITS_MAX = 5
preferred_waits = 0
LEASE = re.compile(r"[0-9a-f-]{36}\.[0-9]{1,19}\.[0-9]{4,7}")
# Of two ids one is replaced by that of a job that waits: the others are of no job.
REPLACED = re.compile(r"[0-9a-f-]{35}[02468ace]")


@schemathesis.hook
def map_body(context, body):
    """Lets most jobs be of a kind and a queue that the server has: any other valid name is a valid job, too, and
    would be refused all the same. So with the queues and kinds of workers. What is not valid stays as it is."""
    if isinstance(body, dict) and "worker" in body:
        for name in ("queues", "kinds"):
            if isinstance(body.get(name), list) and all(map(is_name, body[name])) and len(body[name]) % 4:
                body[name] = []
        # So that it is still held when it is its turn.
        if is_number(body.get("lease_ms")) and 1_000 <= body["lease_ms"] <= 3_600_000:
            body["lease_ms"] = 3_600_000
        return body
    jobs = body.get("jobs") if isinstance(body, dict) and "jobs" in body else [body]
    for job in jobs if isinstance(jobs, list) else []:
        if not isinstance(job, dict):
            continue
        if is_name(job.get("queue")) and job["queue"] not in QUEUES and len(job["queue"]) % 4:
            job["queue"] = "second"
        if is_name(job.get("kind")) and job["kind"] not in BUILT_IN_KINDS and len(job["kind"]) % 4:
            # A pull queue takes any kind.
            if len(job["kind"]) % 4 == 1 and job.get("queue", "default") in (*QUEUES, None):
                job["queue"] = PULLED
            else:
                job["kind"] = "echo"
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """Cuts valid waits, and spares the job that keeps the server draining."""
    global preferred_waits
    if KEPT_JOB and KEPT_JOB == str((case.path_parameters or {}).get("id")):
        case.path_parameters["id"] = "00000000-0000-7000-8000-000000000000"
    if not KEPT_JOB:
        use_what_there_is(case.path_parameters or {})
    wait_ms = str((case.query or {}).get("wait_ms", ""))
    if wait_ms.isdecimal() and WAIT_MS_MAX < int(wait_ms) <= 30_000:
        case.query["wait_ms"] = WAIT_MS_MAX
    if isinstance(case.body, dict) and "worker" in case.body:
        wait_ms = case.body.get("wait_ms")
        if is_number(wait_ms) and WAIT_MS_MAX < wait_ms <= 30_000:
            case.body["wait_ms"] = WAIT_MS_MAX
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "prefer" and "wait" in str(value):
            preferred_waits += 1
            case.headers[name] = "wait=1" if preferred_waits <= PREFERRED_WAITS_MAX else "wait=0"


def use_what_there_is(parameters):
    """Puts a job that waits, or a lease that holds, in the place of an id that is made up, so that every operation can
    succeed, whatever went before it."""
    if REPLACED.fullmatch(str(parameters.get("id"))):
        parameters["id"] = waiting_job()
    if LEASE.fullmatch(str(parameters.get("lease"))):
        waiting_job()
        ask(f"/v1/queues/{PULLED}/resume", {})
        given = ask("/v1/leases", {"worker": "hooks", "queues": [PULLED], "lease_ms": 3_600_000})["leases"]
        # Another worker may have been faster.
        parameters["lease"] = given[0]["lease"] if given else parameters["lease"]


def waiting_job():
    return ask("/v1/jobs", {"kind": "any", "queue": PULLED})["id"]


def ask(path, body):
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}", "Content-Type": "application/json"}
    request = urllib.request.Request(os.environ["SERVER"] + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@schemathesis.check
def refused_for_a_reason(ctx, response, case):
    """A submit that the schema allows may still be refused with 422, which `positive_data_acceptance` is told to
    take: for what depends on the server or the clock, and for what JSON Schema cannot say. For nothing else."""
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
    if case.operation.path.startswith("/v1/leases"):
        for fault in problem["errors"]:
            assert too_large_for_a_lease(fault), f"refused, though the schema allows it: {fault}"
        return
    for fault in problem.get("errors", []):
        path = [part.replace("~1", "/").replace("~0", "~") for part in fault["pointer"].split("/")[1:]]
        job, path = (case.body["jobs"][int(path[1])], path[2:]) if path[0] == "jobs" else (case.body, path)
        member = path[0]
        value = job.get(member)
        assert (
            # A kind that this server does not have.
            (problem["code"] == "unknown_kind" and job["kind"] not in BUILT_IN_KINDS)
            # What a handler does not take.
            or member == "payload"
            # More than a year ahead.
            or (member == "run_at" and value is not None)
            # Bytes are counted, not characters.
            or (member in ("unique_key", "tags") and not ascii_only(value))
        ), f"refused, though the schema allows it: {fault}"


@schemathesis.check
class EveryOperationSucceeds:
    """Fails if an operation of a server that serves was never answered with success: nothing was learned of it."""

    def __init__(self):
        self.tested = set()
        self.succeeded = set()

    def after_response(self, ctx, response, case):
        name = case.operation.definition.raw["operationId"]
        self.tested.add(name)
        if response.status_code < 300:
            self.succeeded.add(name)

    def after_run(self, ctx):
        # A WebSocket is not what comes here, whether a job is cancelled when its retry comes is up to chance, and a
        # server that drains refuses.
        failed = self.tested - self.succeeded - {"openWebSocket", "retryJob"}
        assert KEPT_JOB or not failed, f"never answered with success: {sorted(failed)}"


def too_large_for_a_lease(fault):
    """Bytes are counted, which JSON Schema cannot. No push queue is ever named: see `map_body`."""
    return fault["pointer"].split("/")[-1] in ("progress", "checkpoint", "result")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_name(value):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    return isinstance(value, str) and 1 <= len(value) <= 64 and all(char in letters for char in value)


def ascii_only(value):
    return repr(value).isascii() and "\\u" not in repr(value)
