from typing import Any

Types: Any
WatermarkStrategy: Any

class Configuration:
    def set_string(self, key: str, value: str) -> Configuration: ...
