"""Training of students on traces: training set, memory, both back ends, experiments.

:func:`~distill_sql.training.student.train_student` trains one student.
"""
