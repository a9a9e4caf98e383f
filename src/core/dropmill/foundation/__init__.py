"""What everything else stands on: clock, randomness, durable files, failpoints, ids and the error base class.

Nothing here knows of folders, queues or plugins.
"""
