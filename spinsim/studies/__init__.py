"""The questions behind the commands, one module each: simulate, run, replay, compare, sweep and more.

May import lab, results, profiling and both worlds. A new command's work belongs here, its options in the API.
"""
