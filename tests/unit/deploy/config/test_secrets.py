"""A distinctive secret in every setting that takes one is told by no text that others may read."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from mistakes import RIGHT

from freshrank.actors.errors import ConfigError
from freshrank.actors.runtime import RemoteRole
from freshrank.deploy.cluster.cluster_spec import ClusterSpec
from freshrank.deploy.commands.running.run_request import RunRequest
from freshrank.deploy.config.loader import load_settings
from freshrank.deploy.config.settings import Settings
from freshrank.deploy.pipelines.pipeline_file import PipelineFile
from freshrank.deploy.servers.redis_server import RedisServer
from freshrank.feature_actors.connectors.kafka.client import KafkaAccess

SECRET = "zaunkoenig"
SASL = {
    "FRESHRANK_KAFKA__BOOTSTRAP": "broker:9092",
    "FRESHRANK_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "FRESHRANK_KAFKA__USERNAME": "shop",
}
REDIS = {"FRESHRANK_REDIS__URL": "redis://shop@cache:6379/0"}
BOTH = {
    **SASL,
    **REDIS,
    "FRESHRANK_KAFKA__PASSWORD": SECRET,
    "FRESHRANK_REDIS__PASSWORD": SECRET,
}


def cluster(settings: Settings) -> ClusterSpec:
    return ClusterSpec(
        file=PipelineFile("shop.py", RIGHT),
        settings=settings,
        kafka=KafkaAccess(settings.kafka.bootstrap, settings.kafka.security()),
        redis_url=settings.redis.address(),
        state=Path("/state"),
        partitions=1,
        learner=RemoteRole("learner", "namespace"),
        statuses=RemoteRole("statuses", "namespace"),
    )


@pytest.mark.parametrize(
    "environment", [BOTH, {"FRESHRANK_REDIS__URL": f"redis://shop:{SECRET}@cache:6379/0"}]
)
def test_a_cluster_spec_contains_the_secret_and_does_not_show_it(
    environment: Mapping[str, str],
) -> None:
    told = cluster(load_settings(None, environment))
    run = RunRequest(told.file, told.settings)
    assert f"shop:{SECRET}@" in told.redis_url
    for one in (told, told.settings, told.settings.kafka, told.kafka, run, told.sink()):
        for text in (repr(one), str(one), f"{one}", f"{replace(told)}"):
            assert SECRET not in text
    there: ClusterSpec = pickle.loads(pickle.dumps(told))
    assert (there.redis_url, there.kafka) == (told.redis_url, told.kafka)


def test_a_password_comes_from_a_file_without_the_end_of_its_line(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET} \n")
    where = {
        "FRESHRANK_KAFKA__PASSWORD_FILE": str(file),
        "FRESHRANK_REDIS__PASSWORD_FILE": str(file),
    }
    settings = load_settings(None, {**SASL, **REDIS, **where})
    assert settings.kafka.security().password == f"{SECRET} "
    assert settings.redis.address() == f"redis://shop:{SECRET}%20@cache:6379/0"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"password_file .*cannot be read"):
        settings.redis.address()


@pytest.mark.parametrize(
    ("url", "password", "address"),
    [
        ("redis://cache", "a@b:c/d", "redis://:a%40b%3Ac%2Fd@cache"),
        ("rediss://shop@cache:1/2?ssl_ca_certs=ca", "s", "rediss://shop:s@cache:1/2?ssl_ca_certs=ca"),
        ("unix:///run/redis.sock", "s", "unix://:s@/run/redis.sock"),
    ],
)  # fmt: skip
def test_the_password_is_written_into_the_url_that_the_client_is_given(
    url: str, password: str, address: str
) -> None:
    variables = {"FRESHRANK_REDIS__URL": url, "FRESHRANK_REDIS__PASSWORD": password}
    assert load_settings(None, variables).redis.address() == address


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"FRESHRANK_REDIS": f"redis://:{SECRET}@cache"}, "redis: Input should be"),
        ({"FRESHRANK_KAFKA": SECRET}, "kafka: Input should be"),
        ({"FRESHRANK_REDIS__PASSWRD": SECRET}, "there is no such setting"),
        ({"FRESHRANK_REDIS__PASSWORD": SECRET}, "a password requires a `url` of a server"),
        ({"FRESHRANK_REDIS__PASSWORD__X": SECRET}, "redis.password: Input should be"),
        ({"FRESHRANK_REDIS__URL": f"redis://:{SECRET}@c", "FRESHRANK_REDIS__PASSWORD": SECRET},
         "a `url` without a password"),
        ({**REDIS, "FRESHRANK_REDIS__PASSWORD": SECRET, "FRESHRANK_REDIS__PASSWORD_FILE": __file__},
         "are both given"),
        ({**SASL, "FRESHRANK_KAFKA__USERNAME": "", "FRESHRANK_KAFKA__PASSWORD": SECRET},
         "SASL needs `username`"),
        ({"FRESHRANK_KAFKA__PASSWORD": SECRET}, "require `security_protocol` SASL_SSL"),
        ({**BOTH, "FRESHRANK_KAFKA__BOOTSTRAP": "apache"}, "requires a `bootstrap` that"),
        ({**BOTH, "FRESHRANK_KAFKA__CA_FILE": __file__}, "`ca_file` requires"),
        ({**BOTH, "FRESHRANK_KAFKA__SASL_MECHANISM": "NONE"}, "sasl_mechanism.*'NONE' now"),
        ({"FRESHRANK_KAFKA__PASSWORD_FILE": "/absent"}, "password_file: Path does not point"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_is_named_and_the_secret_is_not(
    variables: Mapping[str, str], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        load_settings(None, variables)
    # With the errors that it came from, as a log would show them; the frames' text is the test's.
    parts = [str(caught.value)]
    cause = caught.value.__cause__
    while cause is not None:
        parts += traceback.format_exception_only(cause)
        cause = cause.__cause__
    assert SECRET not in "".join(parts)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/x@cache:6379",
        f"redis://shop:{SECRET}@cache:port",
        f"http://:{SECRET}@cache",
        f"cache?password={SECRET}",
        f"shop:{SECRET}@cache",
    ],
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="is not a URL of a Redis") as caught:
        RedisServer(url).start()
    told = "".join(traceback.format_exception_only(caught.value))
    assert SECRET not in told
    assert caught.value.__cause__ is None


def test_certificates_that_cannot_be_read_are_named() -> None:
    variables = {
        "FRESHRANK_KAFKA__BOOTSTRAP": "broker:9092",
        "FRESHRANK_KAFKA__SECURITY_PROTOCOL": "SSL",
        "FRESHRANK_KAFKA__CA_FILE": __file__,
    }
    security = load_settings(None, variables).kafka.security()
    with pytest.raises(ConfigError, match=r"kafka\.ca_file: .*test_secrets\.py holds no cert"):
        security.arguments()
    encrypted = replace(security, ca_file=None).arguments()
    assert encrypted["ssl_context"] is not None
    assert encrypted["ssl_context"].check_hostname
