"""From a question to the prompt that asks it: tokenizer, mentions, linking, prompts.

:func:`~distill_sql.prompting.prompts.prompt_messages` makes every prompt, of teachers and students.
"""
