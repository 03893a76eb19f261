"""The proof, by SCRAM, that a server knows the password of its clients (RFC 5802, section 3).

aiokafka checks the proof, and ends with whatever error that meets. Its background tasks expect
errors of Kafka alone: another one ends them for good, and a client whose broker is replaced for a
moment would never reach the true one again. So `install` puts a check into its place that raises an
error of Kafka, with the reason, and refuses hashes that are too cheap.
"""

from __future__ import annotations

from aiokafka import conn
from aiokafka.errors import KafkaError

# The rounds of hashing that a server may ask for: the fewest that Kafka accepts, as fewer make it
# cheaper to guess the password from a client's answer; and about a second of one core.
_FEWEST_ROUNDS, _MOST_ROUNDS = 4096, 1_000_000


class ServerUnproven(KafkaError):
    """A server that has not proved that it knows the password; the client has left it."""


class CheckedScram(conn.ScramAuthenticator):
    """The client's side of SCRAM, for one connection."""

    async def step(self, payload: bytes | None) -> tuple[bytes, bool] | None:
        """Answer a message of the server; None after its proof. Raises ServerUnproven."""
        try:
            return await super().step(payload)
        except (ValueError, KeyError) as error:
            lacks = isinstance(error, KeyError)
            raise ServerUnproven(f"its answer has no {error}" if lacks else str(error)) from error

    def create_salted_password(self, salt: bytes, iterations: int) -> None:
        """Hash the password. Raises ValueError where the server asks for odd rounds of hashing."""
        if not _FEWEST_ROUNDS <= iterations <= _MOST_ROUNDS:
            raise ValueError(f"it asks for {iterations} rounds of hashing")
        super().create_salted_password(salt, iterations)


def install() -> None:
    """Have all clients of this process check their servers so; aiokafka has no setting for it."""
    vars(conn)["ScramAuthenticator"] = CheckedScram
