"""Questions and their databases: schemas, datasets, neighbour databases.

:func:`~distill_sql.data.datasets.load_dataset` is the entry point.
"""
