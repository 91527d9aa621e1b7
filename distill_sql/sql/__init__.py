"""SQL as text and at work: parsing, names, the sandbox that runs queries, why a query fails.

Nothing here knows a dataset or a model.
"""
