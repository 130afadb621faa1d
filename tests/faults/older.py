"""agentd as a version was whose runs have other stages: `python -m tests.faults.older start --foreground`."""

from __future__ import annotations

from agentd import cli
from agentd.run import workflow

if __name__ == "__main__":
    workflow.CONTRACT_VERSION = "0"
    cli.main()
