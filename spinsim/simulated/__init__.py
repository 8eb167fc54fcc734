"""The world of predicted time: lanes whose operations take what the cost model says.

May import engine, costs and acceptance. Never imports ``live`` or ``runner``.
"""
