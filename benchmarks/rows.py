"""A measured figure and its bar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    value: float
    unit: str
    bar: float
    """the most that is good"""
    note: str = ""
    """what it stands beside"""

    @property
    def ok(self) -> bool:
        return self.value <= self.bar

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "value": round(self.value, 3), "ok": self.ok}

    def __str__(self) -> str:
        judged = "ok" if self.ok else "miss"
        return f"{self.name:26} {self.value:9.2f} {self.unit:8} <= {self.bar:<6g} {judged:4}  {self.note}".rstrip()
