from typing import Any

KafkaOffsetsInitializer: Any
KafkaSource: Any
