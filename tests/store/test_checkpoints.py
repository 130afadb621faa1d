"""Checkpoints: signed notes that anybody can check, made only when something has happened, and refused when changed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agentd.errors import StoreError
from agentd.store import ledger
from agentd.store.checkpoints import Folder, checkpoint, folder_of, read
from agentd.store.connection import Store
from tests.conftest import TurnedClock
from tests.store.test_store import an_event


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return folder_of(tmp_path / "state")


def test_a_checkpoint_is_a_signed_note_by_the_letter(store: Store, folder: Folder) -> None:
    assert checkpoint(store, folder) == ""
    ledger.append(store, an_event(store, 1))
    note = checkpoint(store, folder)
    # Read here as https://c2sp.org/signed-note has it, by nothing of agentd's.
    text, signature = note.split("\n\n")
    origin, size, root, at = text.split("\n")
    assert (origin, size) == (f"agentd/ledger/{store.installation_id()}", "1")
    assert base64.b64decode(root).hex() == ledger.last_row(store)[1]
    assert at == store.clock.now().isoformat()
    dash, name, blob = signature.rstrip("\n").split(" ")
    assert (dash, name) == ("—", origin)
    _, key_id, encoded = folder.verifier.read_text().strip().split("+", 2)
    public = base64.b64decode(encoded)
    assert public[0] == 1
    assert hashlib.sha256(f"{name}\n".encode() + public).digest()[:4].hex() == key_id
    raw = base64.b64decode(blob)
    assert raw[:4].hex() == key_id
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], (text + "\n").encode())


def test_the_key_is_the_owners_and_stays(store: Store, folder: Folder) -> None:
    for number in range(3):
        ledger.append(store, an_event(store, number))
        assert checkpoint(store, folder)
        assert checkpoint(store, folder) == ""
    assert folder.key.stat().st_mode & 0o777 == 0o600
    signed, bad = read(folder.notes, folder.verifier)
    assert [mark.seq for mark in signed] == [1, 2, 3]
    assert bad == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("\n2\n", "\n7\n", 1), "checkpoint 2: was changed"),
        (lambda text: text[:-20], "checkpoint 3: is no checkpoint"),
        (lambda text: text + "nonsense\n", "checkpoint 4: is no checkpoint"),
    ],
)
def test_a_changed_checkpoint_counts_for_nothing(store: Store, folder: Folder, change: object, said: str) -> None:
    for number in range(3):
        ledger.append(store, an_event(store, number))
        checkpoint(store, folder)
    assert callable(change)
    folder.notes.write_text(change(folder.notes.read_text()))
    signed, [bad] = read(folder.notes, folder.verifier)
    assert said in bad
    assert len(signed) >= 2


def test_another_key_is_not_believed(store: Store, folder: Folder, tmp_path: Path) -> None:
    ledger.append(store, an_event(store, 1))
    checkpoint(store, folder)
    other = Folder(tmp_path / "other")
    checkpoint(store, other)
    signed, [bad] = read(other.notes, folder.verifier)
    assert signed == []
    assert "another key" in bad


def test_what_cannot_be_used_is_one_line_naming_the_file(store: Store, folder: Folder, clock: TurnedClock) -> None:
    with pytest.raises(StoreError, match=r"key\.pub: cannot be read"):
        read(folder.notes, folder.verifier)
    ledger.append(store, an_event(store, 1))
    checkpoint(store, folder)
    folder.verifier.write_text("not a key")
    with pytest.raises(StoreError, match=r"key\.pub: is no verifier key"):
        read(folder.notes, folder.verifier)
    folder.key.write_text("not a key")
    ledger.append(store, an_event(store, 2))
    with pytest.raises(StoreError, match="key: is no key of the ledger"):
        checkpoint(store, folder)
