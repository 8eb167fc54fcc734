"""``spinsim validate``: a plan of cells, their live half, their simulated half, and how far apart they are.

May import the other studies, lab and results. A new measure of agreement belongs in ``agreement.py``.
"""
