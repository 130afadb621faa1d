"""What the doctor found before: since when each thing is so, and what is new."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from agentd.doctor.finding import Finding
from agentd.errors import ConfigurationError

NAME = "doctor.json"
"""In the state directory, where no other file is named."""


def recall(path: Path, *, named: bool) -> dict[str, str]:
    """Fingerprint -> when it was first seen. Nothing where there is no file.

    A file that somebody `named` and that holds something else raises ConfigurationError; one of our own is made anew.
    """
    try:
        report = json.loads(path.read_text())
        return {str(row["fingerprint"]): str(row["first_seen"]) for row in report["checks"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        if named:
            raise ConfigurationError(f"{path}: is no report of the doctor in schema 2 ({error})") from None
        return {}


def since(before: Mapping[str, str], findings: Sequence[Finding], now: datetime) -> dict[str, str]:
    """The same for what is found now."""
    return {finding.fingerprint: before.get(finding.fingerprint, now.isoformat()) for finding in findings}


def is_new(finding: Finding, before: Mapping[str, str]) -> bool:
    """Whether a finding was not there before. What is well is never news."""
    return finding.level != "ok" and finding.fingerprint not in before


def remember(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report of schema 2 in one step. Raises ConfigurationError where that cannot be."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_text(json.dumps(report, indent=2) + "\n")
        new.rename(path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None
