"""Inference code of our own, on top of transformers, mainly for machines without a GPU.

transformers generates for one prompt at a time or pads all prompts of a batch; it computes a prefix
once per prompt; and on a CPU a small model spends most of its time between matrix products. Four
parts address this:

- :mod:`~distill_sql.models.inference.attention`: the keys and values of a shared prefix are stored
  once per batch. Oracle: attention written out in ``tests/models/inference/test_attention.py``.
- :mod:`~distill_sql.models.inference.torch_student` with ``decoding``: batched greedy decoding or
  sampling; identical answers share a row until they differ, and a new batch joins the unfinished
  answers of earlier ones. Oracle: transformers' ``generate`` on one prompt at a time, in
  ``tests/training/test_backends.py``, and one batch after the other, in ``test_torch_student.py``.
- :mod:`~distill_sql.models.inference.lean`: Qwen2's decoder with fewer and larger operations, for
  narrow models on a CPU. Oracle: logits and gradients of transformers, in ``test_lean.py``.
- :mod:`~distill_sql.models.inference.engine`: concurrent requests of an endpoint in one batch.

``python -m distill_sql.runs.students_benchmark generate`` measures the first two: with the shape of
Qwen2.5-0.5B on a CPU core, 64 Spider questions were answered 6 to 8 times as fast as one at a time,
with the same answers. The decoder halves the training time of narrow models on a CPU.

All of it depends on transformers' internals (attention interface, cache layers, ``Qwen2Model``). To
delete it, remove this folder and its tests, and change its users:

- ``models/torch_backend.py``: ``load`` returns another implementation of
  :class:`~distill_sql.models.protocol.Student`, and ``load_base`` never a ``LeanQwen2``.
- ``models/endpoint.py`` and ``models/chat.py``: answer a request by the student's ``complete``.
- ``training/torch_trainer.py`` and ``training/memory.py``: the branches for ``lean``.
- ``pretraining/forward.py``: one decoder layer's forward pass (four functions of ``lean``).
"""
