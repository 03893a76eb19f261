from typing import Any

run_main: Any
