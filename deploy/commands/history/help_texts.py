"""The help of the commands that read a history; light to import."""

FEATURES_HELP = """\
Write the features that serving would have read at the times of your rows, from recorded history.

A row has the key of an entity (and of candidates' entities), its time in a column `time`, and any
other columns, which are carried along. What arrived at or before that time is known to it.

    freshrank features shop.py clicks.parquet --rows rows.csv --out features.parquet

    freshrank features shop.py clicks=data/2024 catalogue=products.csv --rows rows.parquet \\
      --out features.jsonl --columns views_1d,recent

    freshrank features shop.py data --at 2024-05-17T09:30:00Z --entity item --out items.parquet

History is Parquet, CSV or JSON lines, files or folders, with the fields of the streams as columns.
With several topics, write TOPIC=PATH, or name files or folders after the topics. If the pipeline's
file has a function `records(path)`, that reads what is given without a topic.
"""

TRAINING_SET_HELP = """\
Write what was served, each shown item with its label: a training set, from the topics of a run.

A row has the request, the entity, the item, when it was shown and at which position, its score and
the version of the weights, the label (1, 0, nothing while it may still become 1), and each input of
the model as it was scored. An item is positive if and only if the learner learns it as that.

    freshrank training-set shop.py --kafka broker:9092 --out rows.parquet

    freshrank training-set shop.py --kafka apache --out rows.csv

    freshrank training-set shop.py --config shop.toml --out rows.jsonl

Nothing is changed, also beside a run. Topics are read from their oldest records to their ends of
now; what cannot be used is counted by its reason. Texts come as the hashes that the model has of
them, but for the ids of requests and entities: `hash_text` gives those of your items.
"""

BACKFILL_HELP = """\
Fill the empty state of a pipeline from recorded history; `freshrank run` then goes on from there.

Features of all entities, and of a `Labelled` label the model, are made by the engine of a run. The
topics of the broker are made where they are missing. All of the state is written, or none.

    freshrank backfill shop.py clicks=data/2024 catalogue=products.csv --kafka broker:9092

    freshrank backfill shop.py clicks.parquet --kafka apache --from 2024-05-17T09:30:00Z

The run goes on with the records that the topics got at or after the last time in the history
(`--from history`); those that the history has, too, are told by their ids, within `dedup_within`.
History is given as for `freshrank features`.
"""
