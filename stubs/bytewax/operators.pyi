from typing import Any

input: Any
map: Any
stateful_map: Any
output: Any
