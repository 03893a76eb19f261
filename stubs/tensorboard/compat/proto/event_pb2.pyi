from tensorboard.compat.proto.summary_pb2 import Summary

class Event:
    step: int
    wall_time: float
    summary: Summary
    file_version: str
    def __init__(
        self,
        *,
        wall_time: float,
        step: int = 0,
        summary: Summary | None = None,
        file_version: str = "",
    ) -> None: ...
    def SerializeToString(self) -> bytes: ...
