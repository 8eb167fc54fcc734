"""A first scenario for the user's own question: target, drafts, GPUs and traffic become a commented YAML.

May import scenario files, workload, costs and lab. A new answer belongs in ``answers.py``, and its line
of YAML in ``text.py``.
"""
