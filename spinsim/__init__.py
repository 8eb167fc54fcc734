"""spinsim: simulate and run schedules of speculative decoding with heterogeneous drafts."""

__version__ = "0.1.0"
