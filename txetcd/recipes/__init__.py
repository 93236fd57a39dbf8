"""
What is built on the verbs of a client, and on nothing else.
"""
