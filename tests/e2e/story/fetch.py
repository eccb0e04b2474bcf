"""Takes up the handles that leave.py left, waits for the tasks, and looks at every result."""

import base64
import pickle
from pathlib import Path

from telling import tell

import daskqueue


def main():
    text = (Path(__file__).parent / "handles.txt").read_text()
    with daskqueue.connect() as pool:
        jobs = pickle.loads(base64.b64decode(text))
        results = pool.gather(jobs, timeout=120)
        wrong = [i for i, result in enumerate(results) if result != i**3]
        tell("fetched", tasks=len(results), wrong=len(wrong), examples=wrong[:5])
        assert not wrong


main()
