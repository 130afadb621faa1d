"""Secrets taken out of a stream. Best effort: a secret that was encoded or cut in pieces passes.

The control is that no secret is inside a sandbox; this is for what gets there by a mistake.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping

MARK = b"***REDACTED***"
SHORTEST = 6
"""Known values below this would redact ordinary words."""
WINDOW_BYTES = 4096
"""How much of an unfinished line is kept back; no rule matches more."""
KEY_BYTES = 32 * 1024
"""A private key is at most so long; after that the text is taken for ordinary again."""

_TOKEN = rb"[A-Za-z0-9_\-]"
_RULES: tuple[tuple[bytes, re.Pattern[bytes]], ...] = tuple(
    (literal, re.compile(rb"(?<![A-Za-z0-9_])" + re.escape(literal) + rest))
    for literals, rest in (
        ((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"[A-Za-z0-9]{20,255}"),
        ((b"github_pat_",), rb"\w{22,255}"),
        ((b"sk-",), rb"(?:[A-Za-z0-9]{32,100}|(?:ant|proj|or|svcacct|lf)-" + _TOKEN + rb"{16,300})"),
        ((b"AKIA", b"ASIA"), rb"[A-Z0-9]{16}"),
        ((b"AIza",), _TOKEN + rb"{35}"),
        ((b"xox",), rb"[abeprs]-[A-Za-z0-9-]{10,250}"),
        ((b"glpat-",), _TOKEN + rb"{20,50}"),
        ((b"npm_",), rb"[A-Za-z0-9]{36}"),
        ((b"pypi-AgEI",), _TOKEN + rb"{50,1000}"),
        ((b"lsv2_",), rb"(?:pt|sk)_\w{32,100}"),
        ((b"hf_",), rb"[A-Za-z0-9]{30,50}"),
        ((b"eyJ",), rb"[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,1500}\.[A-Za-z0-9_-]{10,500}"),
    )
    for literal in literals
)
_CREDENTIAL_NAME = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PAT|CREDENTIAL)S?$", re.IGNORECASE)
_URL = re.compile(rb"://[^/\s:@]{0,200}:([^/\s@]{1,200})@")
_BEARER = re.compile(rb"(?i:bearer|basic|token)[ ]+([A-Za-z0-9._~+/=-]{16,1000})")
_KEY = re.compile(rb"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(rb"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_START, _KEY_STOP = b"-----BEGIN ", b"-----END "


class Redactor:
    """Takes known values and known shapes out of a stream of bytes, wherever its pieces are cut."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = _variants(values)
        self._keep = max([WINDOW_BYTES, *(len(value) for value in self._values)])
        self._rest = b""
        self._key_bytes = -1  # how much of a private key was dropped; -1: not in one

    def feed(self, data: bytes) -> bytes:
        """What may be stored of everything so far, and was not returned yet."""
        buffer = self._rest + data
        end = buffer.rfind(b"\n") + 1
        # Whole lines go out at once, except with values of several lines; of a long line all but the window.
        if len(buffer) - end > 2 * self._keep:
            end = len(buffer) - self._keep
        if end == 0:
            self._rest = buffer
            return b""
        spans = self._spans(buffer)
        # The first and last line of a private key are no secret, but must be seen whole.
        keys = [*_KEY.finditer(buffer), *_KEY_END.finditer(buffer)] if b"-----" in buffer else []
        for start, stop in (*spans, *(match.span() for match in keys)):
            if start < end < stop:
                end = start
        self._rest = buffer[end:]
        return self._without(buffer[:end], [span for span in spans if span[1] <= end])

    def flush(self) -> bytes:
        """The rest, at the end of the stream."""
        rest, self._rest = self._rest, b""
        return self._without(rest, self._spans(rest))

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for value in self._values:
            at = data.find(value)
            while at >= 0:
                found.append((at, at + len(value)))
                at = data.find(value, at + len(value))
        for literal, pattern in _RULES:
            at = data.find(literal)
            while at >= 0:
                match = pattern.match(data, at)
                if match:
                    found.append(match.span())
                at = data.find(literal, match.end() if match else at + 1)
        for literal, pattern in ((b"@", _URL), (b"earer ", _BEARER), (b"uthorization", _BEARER)):
            if literal in data:
                found += [match.span(1) for match in pattern.finditer(data)]
        return sorted(found)

    def _without(self, data: bytes, spans: list[tuple[int, int]]) -> bytes:
        pieces: list[bytes] = []
        at = 0
        for start, stop in spans:
            if stop <= at:
                continue
            pieces += [data[at : max(at, start)], MARK] if start >= at else []
            at = stop
        text = b"".join([*pieces, data[at:]]) if pieces else data
        return self._without_keys(text)

    def _without_keys(self, data: bytes) -> bytes:
        """Private keys go from their first line to their last, over as many pieces as they come in."""
        if self._key_bytes < 0 and _KEY_START not in data:
            return data
        pieces: list[bytes] = []
        while data:
            if self._key_bytes < 0:
                match = _KEY.search(data)
                if match is None:
                    return b"".join([*pieces, data])
                pieces += [data[: match.start()], MARK]
                data, self._key_bytes = data[match.end() :], 0
            stop = _KEY_END.search(data) if _KEY_STOP in data else None
            dropped = stop.end() if stop else min(len(data), KEY_BYTES - self._key_bytes)
            self._key_bytes += dropped
            data = data[dropped:]
            if stop or self._key_bytes >= KEY_BYTES:
                self._key_bytes = -1
        return b"".join(pieces)


def secret_values(env: Mapping[str, str]) -> tuple[str, ...]:
    """Values of variables whose names say that they are credentials, to be taken out of whatever is kept."""
    return tuple(value for name, value in env.items() if value and _CREDENTIAL_NAME.search(name))


def secrets_in(data: bytes, values: Iterable[str] = ()) -> tuple[bytes, ...]:
    """Known values, tokens of known shapes and private keys in a whole text; not what merely stands where one would."""
    known = tuple(value for value in _variants(values) if value in data)
    shapes = {match.group() for literal, pattern in _RULES if literal in data for match in pattern.finditer(data)}
    keys = {match.group() for match in _KEY.finditer(data)} if _KEY_START in data else set()
    return (*known, *sorted(shapes), *sorted(keys))


def masked(secret: bytes) -> str:
    """A secret, so that who has it knows which one is meant and nobody else learns it."""
    return f"{secret[:4].decode(errors='replace')}... ({len(secret)} characters)"


def redact(text: str, values: Iterable[str] = ()) -> str:
    """A whole text without secrets."""
    redactor = Redactor(values)
    errors = "surrogateescape"  # what was read from bytes becomes those bytes again
    try:
        data = text.encode(errors=errors)
    except UnicodeEncodeError:
        errors = "surrogatepass"  # half of a character, as JSON may say it and a cut leaves it
        data = text.encode(errors=errors)
    return (redactor.feed(data) + redactor.flush()).decode(errors=errors)


def _variants(values: Iterable[str]) -> tuple[bytes, ...]:
    """Each line of each value, and its base64 form; the longest first."""
    found: set[bytes] = set()
    for value in values:
        for line in value.splitlines():
            for plain in _encoded(line.strip()):
                if len(plain) >= SHORTEST:
                    found |= {plain, base64.b64encode(plain).rstrip(b"=")}
    return tuple(sorted(found, key=len, reverse=True))


def _encoded(value: str) -> set[bytes]:
    """The bytes that a value may stand as: several where it is not UTF-8, as a variable of the environment may be."""
    found = {value.encode(errors="surrogatepass")}
    try:
        raw = value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return found
    # As a program prints it, and as that is read where bytes that are no text are replaced.
    return found | {raw, raw.decode(errors="replace").encode()}
