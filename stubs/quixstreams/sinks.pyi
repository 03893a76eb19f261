from collections.abc import Iterator
from typing import Any

class SinkBatch:
    def __iter__(self) -> Iterator[Any]: ...

class BatchingSink:
    def __init__(self) -> None: ...
