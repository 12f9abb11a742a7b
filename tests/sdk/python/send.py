"""Drives the released Python SDK, unmodified, for a test that speaks to it over stdin and stdout.

Settings come from the environment:
  TRACKING_URL      base of the tracking API, e.g. http://127.0.0.1:8080        (required)
  WRITE_KEY         write key of the source                                     (required)
  CLIENT_ID         OAuth app id; without it the SDK sends the write key alone
  KEY_ID, PRIVATE_KEY_FILE, AUTH_SERVER, SCOPE    the rest of the OAuth settings
  EVENTS            events of a `send` that names no count                      (250)
  FLUSH_AT          events in a batch                                           (the SDK's 100)
  MAX_RETRIES       tries before a batch fails                                  (the SDK's 10)
  DEADLINE_S        how long a `send` waits for its outcomes                    (30)
  GZIP              1: bodies are compressed

One JSON command a line on stdin, one JSON answer a line on stdout:
  {"op":"send","count":250,"prefix":"a","pad":0,"deadline_s":30}   all but `op` may be left out
  {"op":"quit"}                                                    so does the end of stdin

An answer holds counts, status codes and message ids. It never holds a token, a key or a write key, and neither does
stderr: what the SDK reports is reduced to a status or an error code here, and its own log is switched off.
"""

import json
import logging
import os
import re
import sys
import threading

os.environ["NO_PROXY"] = "*"  # a proxy of the machine has no part in a test on loopback

from segment.analytics import oauth_manager, request  # noqa: E402
from segment.analytics.client import Client  # noqa: E402

ENV = os.environ


def required(name):
    value = ENV.get(name)
    if not value:
        sys.stderr.write("send.py: %s is not set\n" % name)
        sys.exit(2)
    return value


def number(name, fallback):
    return int(ENV[name]) if ENV.get(name) else fallback


class Outcomes:
    """What became of each event and what was answered. The SDK calls in from its own threads."""

    def __init__(self):
        self.lock = threading.Lock()
        self.failed = {}  # message id -> why
        self.codes = set()
        self.tracking = {}
        self.token = {}

    def start_counting(self):
        with self.lock:
            self.tracking, self.token, self.codes = {}, {}, set()

    def on_error(self, error, batch):
        with self.lock:
            code = getattr(error, "code", None)
            if isinstance(code, str) and re.fullmatch(r"[a-z0-9_]{1,40}", code):
                self.codes.add(code)
            for event in batch:
                self.failed[event["messageId"]] = short_reason(error)

    def saw_tracking(self, response, *_args, **_kwargs):
        with self.lock:
            self.tracking[str(response.status_code)] = self.tracking.get(str(response.status_code), 0) + 1

    def saw_token(self, response, *_args, **_kwargs):
        with self.lock:
            self.token[str(response.status_code)] = self.token.get(str(response.status_code), 0) + 1


def short_reason(error):
    """An API error becomes its status, anything else the name of its type; nothing longer gets through."""
    status = getattr(error, "status", None)
    return str(status) if isinstance(status, int) else type(error).__name__


def make_client(outcomes):
    # Response hooks of the HTTP library: they look, they change nothing.
    request._session.hooks["response"].append(outcomes.saw_tracking)
    oauth_manager._session.hooks["response"].append(outcomes.saw_token)

    log = logging.getLogger("segment")
    log.addHandler(logging.NullHandler())
    log.propagate = False

    settings = {"host": required("TRACKING_URL"), "on_error": outcomes.on_error, "gzip": ENV.get("GZIP") == "1"}
    if ENV.get("FLUSH_AT"):
        settings["upload_size"] = number("FLUSH_AT", None)
    if ENV.get("MAX_RETRIES"):
        settings["max_retries"] = number("MAX_RETRIES", None)
    if ENV.get("CLIENT_ID"):
        with open(required("PRIVATE_KEY_FILE"), encoding="ascii") as pem:
            settings["oauth_client_key"] = pem.read()
        settings["oauth_client_id"] = ENV["CLIENT_ID"]
        settings["oauth_key_id"] = required("KEY_ID")
        settings["oauth_auth_server"] = required("AUTH_SERVER")
        if ENV.get("SCOPE"):
            settings["oauth_scope"] = ENV["SCOPE"]
    return Client(required("WRITE_KEY"), **settings)


def send(client, outcomes, command):
    events = command.get("count", number("EVENTS", 250))
    deadline_s = command.get("deadline_s", number("DEADLINE_S", 30))
    prefix, pad = command.get("prefix", "e"), command.get("pad", 0)
    outcomes.start_counting()

    ids = ["%s-%06d" % (prefix, i) for i in range(events)]
    for message_id in ids:
        # Random, since a run of one letter compresses as no real event does.
        properties = {"note": os.urandom((pad + 1) // 2).hex()[:pad]} if pad else {}
        queued, _ = client.track("user-1", "Driver Event", properties, message_id=message_id)
        if not queued:
            outcomes.failed[message_id] = "queue_full"

    # flush() has no time limit of its own: it waits until every queued event was sent or given up.
    flushed = threading.Thread(target=client.flush, daemon=True)
    flushed.start()
    flushed.join(deadline_s)

    with outcomes.lock:
        failed = [i for i in ids if i in outcomes.failed]
        # The SDK says nothing of an event that arrived, so what is neither failed nor still queued was delivered.
        pending = min(client.queue.unfinished_tasks, events - len(failed))
        return {
            "sent": events,
            "delivered": events - len(failed) - pending,
            "failed": len(failed),
            "pending": pending,
            "errors": sorted({outcomes.failed[i] for i in failed}),
            "codes": sorted(outcomes.codes),
            "tracking_statuses": dict(outcomes.tracking),
            "token_statuses": dict(outcomes.token),
            "message_ids": ids,
            "failed_ids": failed,
        }


def main():
    outcomes = Outcomes()
    client = make_client(outcomes)
    for line in sys.stdin:
        if not line.strip():
            continue
        command = json.loads(line)
        if command["op"] == "quit":
            break
        if command["op"] != "send":
            sys.stderr.write("send.py: unknown op\n")
            return 2
        print(json.dumps(send(client, outcomes, command)), flush=True)
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The SDK's exit handler waits for its sender, which may be waiting for a token that never comes.
    os._exit(code)
