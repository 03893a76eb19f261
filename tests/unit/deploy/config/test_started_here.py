"""Settings of a broker that is started here, where none is."""

import pytest

from freshrank.actors.errors import ConfigError
from freshrank.deploy.config.loader import load_settings


@pytest.mark.parametrize(("name", "value"), [("folder", "records"), ("port", "9092")])
def test_they_are_refused_by_commands_that_start_servers_alone(name: str, value: str) -> None:
    variable = {f"FRESHRANK_KAFKA__{name.upper()}": value}
    settings = load_settings(None, variable)  # as `freshrank replay` does, which has no broker
    with pytest.raises(ConfigError, match=f"kafka.{name}: it is of an Apache Kafka"):
        settings.kafka.check_started_here()
    apache = load_settings(None, {**variable, "FRESHRANK_KAFKA__BOOTSTRAP": "apache"})
    apache.kafka.check_started_here()
