"""Questions with their databases: schemas, datasets, neighbours of a database.

:func:`~distill_sql.data.datasets.load_dataset` is where everything begins.
"""
