"""What is done for XLA's sake: compiler options, native functions on a CPU, random numbers that are quick there.

Nothing here changes a result. Knows no physics and no learning.
"""
