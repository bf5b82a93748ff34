"""The rig of the load harness: processes, peers, generators and tables.

Python's standard library only. Nothing here knows which case is being measured.
"""
