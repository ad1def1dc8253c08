"""The benchmark's parts: what is timed, against whom, on what machine, and how it is told."""
