"""The agent of the demo: reads its prompt from standard input and edits a file, as a coding agent would."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Write the function that the demo's issue asks for."""
    prompt = sys.stdin.read()
    if "greeting" not in prompt:
        print("the prompt asks for nothing that this agent can do", file=sys.stderr)
        return 1
    target = Path("hello.py")
    print(f"reading {target}")
    text = target.read_text()
    target.write_text(text.replace('return "Hello"', 'return f"Hello, {name}!"').replace("greet()", "greet(name)"))
    print(f"{target} written: greet() takes a name now")
    return 0


if __name__ == "__main__":
    sys.exit(main())
