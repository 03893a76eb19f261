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
