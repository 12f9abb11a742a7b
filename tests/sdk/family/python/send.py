"""A Python SDK of the family with its defaults: sends events, and says how many were delivered and what failed."""

import json
import os
import sys

gateway, write_key, count = os.environ["GATEWAY_URL"], os.environ["WRITE_KEY"], int(os.environ["EVENTS"])
library = os.environ["LIBRARY"]
errors = []


def failed(error, items):
    errors.append(getattr(error, "status", None) or str(error))


if library == "analytics-python":
    import analytics as sdk
    from analytics.client import Client

    client = Client(write_key, host=gateway, on_error=failed)
elif library == "customerio-cdp-analytics":
    from customerio.analytics.client import Client

    client = Client(write_key, host=gateway, on_error=failed)
elif library == "rudder-sdk-python":
    from rudderstack.analytics.client import Client

    client = Client(write_key, host=gateway, on_error=failed)
elif library == "june-analytics-python":
    from june.analytics.client import Client

    client = Client(write_key, host=gateway, on_error=failed)
else:
    sys.exit(f"unknown library {library}")

for n in range(count):
    client.track("user", f"event {n}")
client.shutdown()
print(json.dumps({"delivered": 0 if errors else count, "errors": errors}))
