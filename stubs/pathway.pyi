from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

class Schema:
    @classmethod
    def column_names(cls) -> list[str]: ...

class MonitoringLevel:
    NONE: MonitoringLevel

class reducers:
    @staticmethod
    def stateful_many(combine_many: F) -> F: ...

io: Any
persistence: Any
this: Any

def run(*, monitoring_level: MonitoringLevel, default_logging: bool, **options: Any) -> None: ...
