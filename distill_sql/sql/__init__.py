"""Parsing SQL, executing it in a sandbox, and finding the cause of a wrong query.

Nothing here depends on a dataset or a model.
"""
