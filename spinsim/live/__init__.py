"""The world of real time: lanes, clock, and models in memory.

May import engine, runner, family and costs. Never imports ``simulated``.
"""

import os

# By default the streams of a process share 8 queues of a GPU, and a kernel can then wait for what another
# lane queued before it. CUDA reads this when it starts, so it is set before anything here can start it.
os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
