from tensorboard.compat.proto.summary_pb2 import Summary

class Event:
    step: int
    wall_time: float
    summary: Summary
    def __init__(self, *, step: int, wall_time: float, summary: Summary) -> None: ...
