# What Python reads in each text: one base64 text a line comes in, one line of JSON goes out, null where it is refused.
# `every` holds all values of keys that a parser could take for `writeKey` which compares without letter case.
import base64
import json
import sys


class Pairs(list):
    pass


def spelt(value, name):
    return [held for key, held in value if key.lower() == name] if isinstance(value, Pairs) else []


def read(text):
    try:
        plain = json.loads(text)
        pairs = json.loads(text, object_pairs_hook=Pairs)
    except ValueError:
        return None
    if not isinstance(plain, dict):
        return {"top": None, "events": [], "every": [[], []]}
    batch = plain.get("batch")
    events = [event for event in batch if isinstance(event, dict)] if isinstance(batch, list) else []
    every = [
        key
        for batch in spelt(pairs, "batch")
        if isinstance(batch, list)
        for event in batch
        for key in spelt(event, "writekey")
    ]
    return {
        "top": plain.get("writeKey"),
        "events": [event["writeKey"] for event in events if "writeKey" in event],
        "every": [spelt(pairs, "writekey"), every],
    }


for line in sys.stdin:
    print(json.dumps(read(base64.b64decode(line))))
