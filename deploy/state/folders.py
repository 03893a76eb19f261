"""The folders in a state folder, by name."""

SHARDS = "shards"
"""Snapshots of the partitions of the entity that requests name."""
LEARNER = "learner"
"""Checkpoints of the learner."""
TENSORBOARD = "tensorboard"
"""Curves of the learner."""
REKEYING = "rekeying"
"""How far topics are copied (`Rekeyer`), of pipelines that have such topics."""
ENTITIES = "entities"
"""Snapshots of the entities that candidates name, in a folder for each."""
KAFKA = "kafka"
"""Records of an Apache Kafka that is started here: no start ever moves them."""
PINNED = "pinned"
"""Weights that arms of experiments are pinned to: no start ever moves them."""

LEARNED = (SHARDS, LEARNER, TENSORBOARD, REKEYING, ENTITIES)
"""Those whose contents mean nothing without the offsets of their broker."""
