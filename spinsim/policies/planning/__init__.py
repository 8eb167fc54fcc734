"""Plans of the steady cycle: drafts, lengths, depth and composition chosen together.

To be read in this order:

- ``survival``: what a proposal of each draft and length is expected to commit for each request;
- ``cycle``: how long a cycle takes in which every request has a round, and ``corrections`` of that by
  what was measured, from the rounds that ``beginnings`` finds steady;
- ``search``: the plan of most tokens per second, of these two;
- ``information`` and ``trials``: what trying another draft is worth, by a request and by a few of them.

Selector, length, pipeline and composition called ``planned``, each in the package of its kind, carry plans
out; when plans are made is in ``selectors/by_plan.py`` and ``selectors/planned.py``. May import the cost
protocol and ``policies.base``.
"""
