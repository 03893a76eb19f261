from collections.abc import Iterator

from tensorboard.compat.proto.event_pb2 import Event

class LegacyEventFileLoader:
    def __init__(self, file_path: str) -> None: ...
    def Load(self) -> Iterator[Event]: ...
