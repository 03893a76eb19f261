"""The files of an Apache Kafka: a password for its clients, and one for each start of the node."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from kafka_files import as_client, as_node, ports

from freshrank.deploy.servers.kafka_login import Ports, known_clients, write_settings
from freshrank.feature_actors.connectors.kafka.security import OPEN

PORTS = Ports(clients=9092, node=9093, controller=9094)


def test_clients_keep_their_password_and_the_node_gets_another_at_each_start(
    tmp_path: Path,
) -> None:
    first = write_settings(tmp_path, PORTS, with_password=True)
    assert (as_client(tmp_path), as_node(tmp_path)) == (first.clients, first.node)
    second = write_settings(tmp_path, PORTS._replace(clients=9095), with_password=True)
    assert (as_client(tmp_path), as_node(tmp_path)) == (second.clients, second.node)
    assert second.clients.bootstrap == "127.0.0.1:9095"
    assert second.clients.security == first.clients.security
    passwords = [first.clients, first.node, second.node]
    assert len({one.security.password for one in passwords}) == 3
    assert all(len(one.security.password or "") == 64 for one in passwords)
    assert ports(tmp_path) == {"CLIENTS": 9095, "NODE": 9093, "CONTROLLER": 9094}
    assert {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()} == {0o600}


def test_clients_find_the_node_of_a_folder(tmp_path: Path) -> None:
    assert known_clients(tmp_path) is None
    write_settings(tmp_path, PORTS, with_password=False)
    assert known_clients(tmp_path) is None
    made = write_settings(tmp_path, PORTS, with_password=True)
    assert known_clients(tmp_path) == made.clients


@pytest.mark.parametrize("left", ["", "\n"])
def test_a_password_file_that_was_not_written_to_its_end_is_none(tmp_path: Path, left: str) -> None:
    (tmp_path / "password").write_text(left)
    found = write_settings(tmp_path, PORTS, with_password=True).clients.security.password
    assert found
    assert (tmp_path / "password").read_text() == found


def test_a_password_file_that_others_can_read_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("one of the user's own\n")
    (tmp_path / "password").chmod(0o644)
    found = write_settings(tmp_path, PORTS, with_password=True)
    assert found.clients.security.password == "one of the user's own"
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600


def test_without_a_password_there_is_no_file_with_one(tmp_path: Path) -> None:
    found = write_settings(tmp_path, PORTS, with_password=False)
    assert (found.clients.security, found.node.security) == (OPEN, OPEN)
    assert [one.name for one in tmp_path.iterdir()] == ["server.properties"]
    assert "sasl" not in (tmp_path / "server.properties").read_text().lower()
