from collections.abc import Callable
from typing import Any

class Schema:
    @classmethod
    def column_names(cls) -> list[str]: ...

class MonitoringLevel:
    NONE: MonitoringLevel

class reducers:
    @staticmethod
    def stateful_many(combine_many: Callable[..., Any]) -> Callable[..., Any]: ...

io: Any
persistence: Any
this: Any

def run(*, monitoring_level: MonitoringLevel, default_logging: bool, **options: Any) -> None: ...
