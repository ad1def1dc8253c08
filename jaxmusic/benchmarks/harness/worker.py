"""The process of a measured program: builds it, then answers calls, all as JSON lines.

Answers go to standard output, so what libraries print is sent to standard error.
"""

import importlib
import json
import os
import resource
import sys
import time
from typing import Any

from jaxmusic.errors import UserError


def main() -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    program: Any = None
    answer: dict[str, Any]
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        try:
            if request["call"] == "build":
                program = importlib.import_module(request["module"]).build(request["arguments"])
                result = None
            else:
                result = getattr(program, request["call"])(**request["arguments"])
        except UserError as error:
            answer = {"error": str(error)}
        except Exception as error:  # any failure is the parent's to report
            answer = {"error": f"{type(error).__name__}: {error}"}
        else:
            answer = {
                "result": result,
                "seconds": time.perf_counter() - start,
                "host_peak_bytes": peak_bytes(),
            }
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def peak_bytes() -> int:
    """Return this process's peak memory in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
