"""From a question to its prompt: tokenizer, mentions, schema linking, prompts.

:func:`~distill_sql.prompting.prompts.prompt_messages` makes every prompt of teachers and students.
"""
