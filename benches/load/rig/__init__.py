"""The rig of the load harness: processes, peers, generators, cases and tables.

Python's standard library only. What is measured, and how often, is said by the programs above.
"""
