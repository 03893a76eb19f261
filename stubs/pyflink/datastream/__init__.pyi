from typing import Any

StreamExecutionEnvironment: Any

class RuntimeContext:
    def get_state(self, descriptor: Any) -> Any: ...

class KeyedProcessFunction: ...
