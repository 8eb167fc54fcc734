"""What a round's context says about each drafter, and the choice that follows from it.

Here live the calibrated survival of proposals (:mod:`.survival`), the kinds of text that requests are taken
to be of (:mod:`.kinds`), what a trial would tell of them (:mod:`.trials`), and the choice of drafters and
lengths for one round (:mod:`.round_choice`), which the selector ``contextual``, its oracles and any planner
of rounds share. :mod:`.ahead` keeps choices that were made before their round; :mod:`.judged`,
:mod:`.lasting` and :mod:`.request_rows` keep what was seen of requests. May import the cost protocol,
``policies.base`` and ``policies.beliefs``.
"""
