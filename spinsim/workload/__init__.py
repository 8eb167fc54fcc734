"""Requests: what arrives, when, how long, and from which public trace.

May import scenario, recording and errors. A new distribution belongs in ``lengths.py``, a new trace in
``formats/``.
"""
