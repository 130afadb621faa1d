"""What the doctor found, for people and for programs, without secrets; and whether that is too much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from agentd.doctor.finding import Finding, Fix
from agentd.doctor.secrecy import without
from agentd.plain import one_line, printable


@dataclass(frozen=True)
class Thresholds:
    """From how many findings on the doctor exits with 1."""

    strict: bool = False
    fail: int | None = None
    warn: int | None = None

    def crossed(self, findings: Sequence[Finding]) -> bool:
        """Whether there are too many. Without `strict` or a number there are never."""
        if not self.strict and self.fail is None and self.warn is None:
            return False
        fails, warns = (sum(found.level == level for found in findings) for level in ("fail", "warn"))
        return fails >= (1 if self.fail is None else self.fail) or (self.warn is not None and warns >= self.warn)


def cleaned(finding: Finding, secrets: Sequence[str]) -> Finding:
    """The finding without secrets and without what could move a terminal's cursor."""

    def clean(text: str) -> str:
        return printable(without(text, secrets))

    fix = finding.fix and Fix(tuple(clean(word) for word in finding.fix.argv), finding.fix.safe)
    return replace(
        finding,
        message=one_line(clean(finding.message)),
        remediation=clean(finding.remediation),
        subject=clean(finding.subject),
        evidence=tuple(clean(line) for line in finding.evidence),
        fix=fix,
    )


def summary(findings: Sequence[Finding]) -> dict[str, int]:
    """How many there are of each level."""
    levels = [finding.level for finding in findings]
    return {**{level: levels.count(level) for level in ("ok", "warn", "fail")}, "total": len(levels)}


def as_v1(findings: Sequence[Finding], now: datetime) -> dict[str, Any]:
    """schemas/doctor-report.schema.json, version 1: the form that other programs know."""
    checks = []
    for finding in findings:
        row = {"level": finding.level, "title": finding.title, "message": finding.message}
        checks.append(row | ({"remediation": finding.remediation} if finding.remediation else {}))
    return {"schema_version": 1, "timestamp": now.isoformat(), "summary": summary(findings), "checks": checks}


def as_v2(
    findings: Sequence[Finding], now: datetime, first_seen: Mapping[str, str], repo: str, version: str
) -> dict[str, Any]:
    """schemas/doctor-report-2.schema.json: with codes, evidence, fingerprints and fixes."""
    checks = []
    for finding in findings:
        row: dict[str, Any] = {
            "code": finding.code,
            "level": finding.level,
            "title": finding.title,
            "message": finding.message,
            "subject": finding.subject,
            "evidence": list(finding.evidence),
            "fingerprint": finding.fingerprint,
            "first_seen": first_seen.get(finding.fingerprint, now.isoformat()),
        }
        if finding.remediation:
            row["remediation"] = finding.remediation
        if finding.fix is not None:
            row["fix"] = {"argv": list(finding.fix.argv), "safe": finding.fix.safe}
        checks.append(row)
    return {
        "schema_version": 2,
        "timestamp": now.isoformat(),
        "version": version,
        "repo": repo,
        "summary": summary(findings),
        "checks": checks,
    }


def as_text(findings: Sequence[Finding]) -> str:
    """A line a finding in the form `[LEVEL] title: message`, and what mends it below."""
    lines = []
    for finding in findings:
        lines.append(f"[{finding.level.upper()}] {finding.title}: {finding.message}")
        lines += [f"  -> {line}" for line in finding.remediation.splitlines()]
    counted = summary(findings)
    lines.append(f"{counted['ok']} ok, {counted['warn']} warnings, {counted['fail']} failures")
    return "\n".join(lines)
