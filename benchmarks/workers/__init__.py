"""
One process for each client that is measured, run by the interpreter of its own environment.

Nothing here imports more than the standard library and the client that the worker is named after.
"""
