"""Checkpoints of the ledger: signed notes that say how far it had come and with which hash.

Whoever keeps one elsewhere can tell later whether the ledger was cut off or written anew, which its own chain cannot.
The form is C2SP's signed note with a checkpoint in it (https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint),
where the root hash is that of the ledger's last row, signed by Ed25519. The key is made in the state directory.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agentd.errors import StoreError
from agentd.store import ledger
from agentd.store.connection import Store
from agentd.store.verification import Signed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = b"\x01"
"""The signature type in key ids and verifier keys of signed notes."""
SIGNED_BY = "— "


@dataclass(frozen=True)
class Folder:
    """Where the checkpoints of an installation are: `<state>/ledger`."""

    path: Path

    @property
    def notes(self) -> Path:
        """Every checkpoint, one after the other."""
        return self.path / "checkpoints"

    @property
    def key(self) -> Path:
        """The private key, readable by the owner only."""
        return self.path / "key"

    @property
    def verifier(self) -> Path:
        """The public key, in the form of verifier keys of signed notes; keep a copy elsewhere."""
        return self.path / "key.pub"


def folder_of(state_dir: Path) -> Folder:
    """The folder of a state directory."""
    return Folder(state_dir / "ledger")


def checkpoint(store: Store, folder: Folder) -> str:
    """Sign where the ledger is now, keep the note, and return it; empty when the last one says the same.

    Raises StoreError when the key cannot be used.
    """
    folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder.path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        seq, found = ledger.last_row(store)
        origin = f"agentd/ledger/{store.installation_id()}"
        known = _notes(folder.notes.read_text()) if folder.notes.exists() else []
        if not seq or (known and known[-1].startswith(f"{origin}\n{seq}\n")):
            if known:
                os.utime(folder.notes)  # looked at: nothing has happened since
            return ""
        note = _signed(_key(folder, origin), origin, seq, found, store.clock.now())
        with folder.notes.open("a") as file:
            file.write(f"{note}\n")
            file.flush()
            os.fsync(file.fileno())
        return note


def read(notes: Path, verifier: Path) -> tuple[list[Signed], list[str]]:
    """What checkpoints say, and one line for each that is not to be believed. Raises StoreError, one line.

    `verifier` is the public key; a copy that was kept elsewhere makes this worth more.
    """
    try:
        key_id, public = _verifier(verifier)
        text = notes.read_text()
    except OSError as error:
        raise StoreError(f"{error.filename}: cannot be read: {error.strerror}") from None
    good, bad = [], []
    for number, note in enumerate(_notes(text), 1):
        try:
            good.append(_opened(note, key_id, public))
        except ValueError as error:
            bad.append(f"{notes}: checkpoint {number}: {error}")
    return good, bad


def written_at(folder: Folder) -> float:
    """When the last checkpoint was written or was found to hold still, in seconds since the epoch; 0 without one."""
    return folder.notes.stat().st_mtime if folder.notes.exists() else 0.0


def _notes(text: str) -> list[str]:
    """The notes of a file: each ends with its signature."""
    notes: list[str] = []
    lines: list[str] = []
    for line in text.splitlines(keepends=True):
        if not lines and not line.strip():
            continue
        lines.append(line)
        if line.startswith(SIGNED_BY):
            notes.append("".join(lines))
            lines = []
    return [*notes, "".join(lines)] if lines else notes


def _signed(key: Ed25519PrivateKey, origin: str, seq: int, found: str, at: datetime) -> str:
    text = f"{origin}\n{seq}\n{base64.b64encode(bytes.fromhex(found)).decode()}\n{at.isoformat()}\n"
    blob = _key_id(origin, key.public_key().public_bytes_raw()) + key.sign(text.encode())
    return f"{text}\n{SIGNED_BY}{origin} {base64.b64encode(blob).decode()}\n"


def _opened(note: str, key_id: bytes, public: Ed25519PublicKey) -> Signed:
    """What a note says. Raises ValueError, why it is not to be believed."""
    from cryptography.exceptions import InvalidSignature

    text, blank, signature = note.rpartition(f"\n{SIGNED_BY}")
    lines = text.splitlines()
    if not blank or len(lines) < 3 or not lines[1].isdigit():
        raise ValueError("is no checkpoint: it was torn or changed")
    try:
        blob = base64.b64decode(signature.rstrip("\n").rpartition(" ")[2], validate=True)
        found = base64.b64decode(lines[2], validate=True).hex()
    except binascii.Error:
        raise ValueError("is no checkpoint: it was torn or changed") from None
    if blob[:4] != key_id:
        raise ValueError("was signed by another key")
    try:
        public.verify(blob[4:], text.encode())
    except InvalidSignature:
        raise ValueError("was changed: its signature does not fit") from None
    said = f" of {lines[3]}" if len(lines) > 3 and lines[3] else ""
    return Signed(int(lines[1]), found, said)


def _key(folder: Folder, origin: str) -> Ed25519PrivateKey:
    """The installation's key, made when there is none. The caller holds the folder's lock."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if folder.key.exists():
        try:
            return Ed25519PrivateKey.from_private_bytes(base64.b64decode(folder.key.read_text()))
        except (ValueError, OSError) as error:
            raise StoreError(f"{folder.key}: is no key of the ledger: {error}") from None
    made = Ed25519PrivateKey.generate()
    public = made.public_key().public_bytes_raw()
    verifier = f"{origin}+{_key_id(origin, public).hex()}+{base64.b64encode(ED25519 + public).decode()}\n"
    folder.verifier.write_text(verifier)
    new = folder.key.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(base64.b64encode(made.private_bytes_raw()).decode() + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder.key)
    return made


def _key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


def _verifier(path: Path) -> tuple[bytes, Ed25519PublicKey]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        name, key_id, encoded = path.read_text().strip().split("+", 2)
        blob = base64.b64decode(encoded, validate=True)
        if blob[:1] != ED25519 or _key_id(name, blob[1:]).hex() != key_id:
            raise ValueError("its id does not fit")
        return bytes.fromhex(key_id), Ed25519PublicKey.from_public_bytes(blob[1:])
    except ValueError as error:
        raise StoreError(f"{path}: is no verifier key of a signed note: {error}") from None
