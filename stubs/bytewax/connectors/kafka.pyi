from typing import Any

KafkaSource: Any
