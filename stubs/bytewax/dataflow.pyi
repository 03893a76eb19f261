from typing import Any

Dataflow: Any
