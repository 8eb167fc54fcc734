"""What a round's context says about each drafter, and the choice that follows from it.

Here live the calibrated survival of proposals (:mod:`.survival`) and the choice of drafters and lengths for
one round (:mod:`.round_choice`), which the selector ``contextual``, its oracles and any planner of rounds
share. May
import the cost protocol, ``policies.base`` and ``policies.beliefs``.
"""
