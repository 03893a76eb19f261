"""`freshrank keys`: API keys on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from freshrank.actors.errors import ConfigError
from freshrank.deploy.commands.keys import keys_app
from freshrank.deploy.commands.running.run_request import CliOverrides
from freshrank.serve.access.api_keys import Scope, known_key, read_keys


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".freshrank" / "keys.json"


def call(*arguments: str) -> Result:
    ran = CliRunner().invoke(keys_app, arguments)
    if ran.exception is not None and not isinstance(ran.exception, SystemExit):
        raise ran.exception
    return ran


def test_a_key_is_printed_once_and_has_the_scopes_that_were_asked_for(file: Path) -> None:
    key = call("create", "--scope", "score", "--scope", "events", "--name", "web").stdout.strip()
    found = known_key(key, read_keys(file))
    assert found and found.scopes == {Scope.SCORE, Scope.EVENTS} and found.rate_per_s is None
    listed = call("list").stdout
    assert key.split("_")[1] in listed and "web" in listed and "events, score" in listed
    assert key not in listed + file.read_text()


def test_a_revoked_key_allows_nothing_and_the_others_stay(file: Path) -> None:
    first, second = (call("create", "--scope", "metrics").stdout.strip() for _ in range(2))
    call("revoke", first.split("_")[1])
    assert known_key(first, read_keys(file)) is None
    kept = known_key(second, read_keys(file))
    assert kept and kept.scopes == {Scope.METRICS}
    with pytest.raises(ConfigError, match="freshrank keys list"):
        call("revoke", first.split("_")[1])


def test_a_key_may_have_a_rate(file: Path) -> None:
    key = call("create", "--scope", "score", "--rate", "2.5").stdout.strip()
    found = known_key(key, read_keys(file))
    assert found and found.rate_per_s == 2.5
    assert "2.5/s" in call("list").stdout
    assert call("create", "--scope", "score", "--rate", "0").exit_code == 2


def test_every_scope_can_be_given_and_no_other(file: Path) -> None:
    for scope in Scope:
        call("create", "--scope", scope.value)
    assert len(read_keys(file)) == len(Scope)
    with pytest.raises(ConfigError, match="Take score, events, metrics"):
        call("create", "--scope", "all")
    assert call("create").exit_code == 2


def test_the_settings_name_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHRANK_SERVE__KEYS_FILE", str(tmp_path / "elsewhere.json"))
    call("create", "--scope", "score")
    assert len(read_keys(tmp_path / "elsewhere.json")) == 1
    assert CliOverrides().settings().serve.keys_file == tmp_path / "elsewhere.json"


def test_insecure_is_an_option_that_lets_everybody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHRANK_SERVE__HOST", "0.0.0.0")
    assert CliOverrides().settings().serve.keys_required
    assert not CliOverrides(insecure=True).settings().serve.keys_required
