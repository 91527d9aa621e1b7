"""Models that answer: recipes, base models, the two back ends, generation, an endpoint.

:func:`~distill_sql.models.students.open_student` opens a model, and
:func:`~distill_sql.models.generation.generate` lets it answer a split.
"""
