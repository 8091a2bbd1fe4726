"""A worker for Steadfast: runs jobs of the pull queues it is given by name, or of all; PLACES is how many at once.
On SIGTERM or Ctrl-C it takes no more, and ends when what it runs has ended."""
import http.client, json, os, random, signal, socket, sys, threading, time, urllib.parse

SERVER = urllib.parse.urlsplit(os.environ.get("STEADFAST_SERVER", "http://127.0.0.1:8080"))
CONNECTION = getattr(http.client, SERVER.scheme.upper() + "Connection")  # HTTPConnection or HTTPSConnection
HEADERS = {"Content-Type": "application/json"}
if token := os.environ.get("STEADFAST_TOKEN"): HEADERS["Authorization"] = f"Bearer {token}"
NAME, LEASE_MS = f"{socket.gethostname()}:{os.getpid()}", int(os.environ.get("LEASE_MS", "30000"))
ORDER = {"worker": NAME, "queues": sys.argv[1:], "wait_ms": 20000, "lease_ms": LEASE_MS}
stopping, held = threading.Event(), {}  # lease -> set when its job is to stop

def work(job, stop):
    """The work: returns a result, or raises. This one takes payload.seconds."""
    if stop.wait(job["payload"].get("seconds", 0)):
        raise InterruptedError("told to stop")
    return {"by": NAME, "attempt": job["attempt"]}

def call(path, body):
    """The server's answer. One that is away, or busy, is asked again: all these calls are safe to repeat."""
    while True:
        connection = CONNECTION(SERVER.netloc, timeout=60)
        try:
            connection.request("POST", "/v1/leases" + path, json.dumps(body), HEADERS)
            status, answer = (reply := connection.getresponse()).status, json.load(reply)
        except (OSError, ValueError, http.client.HTTPException):
            status, answer = 503, {"retry_after_ms": random.randint(100, 500)}
        if status < 300 or status == 409: return answer  # 409: the lease was over, and another has the job
        if status < 500 and status not in (408, 429):
            os._exit(print(f"{NAME}: {answer}", file=sys.stderr) or 1)
        time.sleep(answer.get("retry_after_ms", 500) / 1000)

def take_jobs():
    while not stopping.is_set():
        answer = call("", ORDER)
        for lease in answer["leases"]:
            run(lease["lease"], lease["job"])
        time.sleep(answer.get("retry_after_ms", 0) / 1000)  # while the server drains

def run(lease, job):
    stop = held[lease] = threading.Event()
    try:
        verb, body = "complete", {"result": work(job, stop)}
    except Exception as error:
        verb, body = "fail", {"code": type(error).__name__, "message": str(error)}
    call(f"/{lease}/{verb}", body)
    del held[lease]

def keep_leases():
    while not time.sleep(LEASE_MS / 3000):
        answer = call("/heartbeat", {"heartbeats": [{"lease": lease} for lease in list(held)]}) if held else {}
        for told in answer.get("heartbeats", []):
            if told["lease"] in held and ("code" in told or told["renewed"]["cancel_requested"]):
                held[told["lease"]].set()

for each in (signal.SIGTERM, signal.SIGINT): signal.signal(each, lambda *_: stopping.set())
for task in [keep_leases] + [take_jobs] * int(os.environ.get("PLACES", "4")):
    threading.Thread(target=task, daemon=True).start()
while not stopping.wait(1) or held: time.sleep(0.05)
