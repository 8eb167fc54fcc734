"""The orchestrator: simpy processes, request life cycle, K/V accounting and records, for both worlds.

May import policies and operations. It knows worlds by the protocol in ``world.py`` only.
"""
