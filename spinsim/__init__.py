"""spinsim: simulate and run schedules of speculative decoding with heterogeneous drafts.

``spinsim.api`` is the Python API.
"""

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name == "api":  # imported when it is asked for: ``spinsim --help`` does without
        from importlib import import_module

        return import_module("spinsim.api")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
