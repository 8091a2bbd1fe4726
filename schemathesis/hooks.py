"""What schemathesis cannot know of Steadfast from its OpenAPI document, for scripts/schemathesis."""

import os

import schemathesis

# The job that keeps a server draining.
KEPT_JOB = os.environ.get("KEPT_JOB")
BUILT_IN_KINDS = {"echo", "http", "sleep"}
QUEUES = {"default", "second"}
# The longest a server is asked to hold an answer; it would hold one for 30 s, if told to.
WAIT_MS_MAX = 500


@schemathesis.hook
def map_body(context, body):
    """Lets most jobs be of a kind and a queue that the server has: any other valid name is a valid job, too, and
    would be refused all the same. What is not valid stays as it is."""
    jobs = body.get("jobs") if isinstance(body, dict) and "jobs" in body else [body]
    for job in jobs if isinstance(jobs, list) else []:
        if not isinstance(job, dict):
            continue
        if is_name(job.get("kind")) and job["kind"] not in BUILT_IN_KINDS and len(job["kind"]) % 4:
            job["kind"] = "echo"
        if is_name(job.get("queue")) and job["queue"] not in QUEUES and len(job["queue"]) % 4:
            job["queue"] = "second"
    return body


@schemathesis.hook
def before_call(context, case, kwargs):
    """Cuts valid waits, and spares the job that keeps the server draining."""
    if KEPT_JOB and KEPT_JOB == str((case.path_parameters or {}).get("id")):
        case.path_parameters["id"] = "00000000-0000-7000-8000-000000000000"
    wait_ms = str((case.query or {}).get("wait_ms", ""))
    if wait_ms.isdecimal() and WAIT_MS_MAX < int(wait_ms) <= 30_000:
        case.query["wait_ms"] = WAIT_MS_MAX
    for name, value in list((case.headers or {}).items()):
        if name.lower() == "prefer" and "wait" in str(value):
            case.headers[name] = "wait=1"


@schemathesis.check
def refused_for_a_reason(ctx, response, case):
    """A submit that the schema allows may still be refused with 422, which `positive_data_acceptance` is told to
    take: for what depends on the server or the clock, and for what JSON Schema cannot say. For nothing else."""
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem = response.json()
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


def is_name(value):
    letters = "abcdefghijklmnopqrstuvwxyz0123456789._-"
    return isinstance(value, str) and 1 <= len(value) <= 64 and all(char in letters for char in value)


def ascii_only(value):
    return repr(value).isascii() and "\\u" not in repr(value)
