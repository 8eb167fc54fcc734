"""Plans of the steady cycle: drafts, lengths, depth and composition chosen together.

Here live the estimates and the search that the ``planned`` policies share (selector, length, pipeline and
composition, each in the package of its kind). May import the cost protocol and ``policies.base``.
"""
