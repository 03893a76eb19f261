"""API keys: what is kept of them, and in which file."""

from __future__ import annotations

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.serve.access.api_keys import (
    Scope,
    create_key,
    key_record,
    known_key,
    read_keys,
    write_keys,
)


def test_the_file_holds_hashes_for_its_owner_alone(tmp_path: Path) -> None:
    path, key = tmp_path / "shop" / "keys.json", create_key()
    write_keys(path, [key_record(key, "web", [Scope.SCORE, Scope.EVENTS], now_ms=5)])
    text = path.read_text()
    assert key not in text
    assert key.rpartition("_")[2] not in text
    assert hashlib.sha256(key.encode()).hexdigest() in text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    (record,) = read_keys(path)
    assert (record.name, record.created_ms) == ("web", 5)
    assert record.scopes == {Scope.SCORE, Scope.EVENTS}


def test_a_key_has_256_random_bits() -> None:
    keys = {create_key() for _ in range(100)}
    assert len({key.split("_", 2)[2] for key in keys}) == 100
    assert {len(key.split("_", 2)[2]) for key in keys} == {43}  # of 6 bits each


def test_the_secret_behind_an_id_is_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    keys = [create_key() for _ in range(3)]
    records = [key_record(key, "shop", [Scope.SCORE]) for key in keys]
    wrong = f"{keys[0][:-1]}{'A' if keys[0][-1] != 'A' else 'B'}"
    for asked, allowed in ((keys[1], {Scope.SCORE}), (wrong, None), (create_key(), None)):
        compared.clear()
        found = known_key(asked, records)
        assert (found and found.scopes) == (allowed and frozenset(allowed))
        ids = [record.id for record in records if record.sha256 in {kept for _, kept in compared}]
        assert ids == [key.split("_")[1] for key in keys if key[:11] == asked[:11]]


def test_a_file_that_is_a_link_or_cannot_be_written_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / ".keys.json.draft").symlink_to(target)
    with pytest.raises(ConfigError, match="symbolic link"):
        write_keys(tmp_path / "keys.json", [])
    assert target.read_text() == "kept"
