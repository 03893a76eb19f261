from typing import Any

class ValueStateDescriptor:
    def __init__(self, name: str, kind: Any) -> None: ...
