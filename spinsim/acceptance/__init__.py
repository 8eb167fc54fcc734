"""How many proposed tokens the target would accept: a fixed field, modelled or recorded.

May import scenario, workload and recording. A new acceptance model is a module here; ``for_scenario.py``
picks it.
"""
