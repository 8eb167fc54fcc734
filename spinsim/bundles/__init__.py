"""A paper's work in one file: named parts, each a command; their folders, and a bundle that others check.

Imports the lab, results and studies. A new kind of part is a line in spinsim/api/study_files.py.
"""
