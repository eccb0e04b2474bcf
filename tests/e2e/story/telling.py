"""What the scripts of the story say: one JSON object a line."""

import json
import sys


def tell(event, **facts):
    """Print one event, at once."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()
