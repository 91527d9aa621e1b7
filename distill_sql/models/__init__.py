"""Students: recipes, base models, two back ends, generation of predictions, an endpoint.

:func:`~distill_sql.models.students.open_student` loads a model, and
:func:`~distill_sql.models.generation.generate` writes its predictions for a split.
"""
