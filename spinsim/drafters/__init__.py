"""Kinds of drafters: what a draft is, where it runs, what it costs and what it proposes.

A kind is one file, registered under the name that ``kind`` has in a scenario. Imports costs and acceptance.
A new kind is a class of :mod:`spinsim.drafters.base`, registered by :mod:`spinsim.drafters.registry`.
"""
