"""The built-in agent itself: a loop of model calls and tools. Runs inside the sandbox: standard library only.

`loop.run_agent` is all of it as a stream of events; `main.py` prints that stream; the other files are its parts.
"""
