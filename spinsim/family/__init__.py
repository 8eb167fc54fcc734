"""The embedded family: small LLaMA models trained by this project, and what they stand in for.

May import runner and recording. A new member belongs in ``family.py``, a new kind of text in ``domains/``.
"""
