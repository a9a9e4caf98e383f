"""The report: its JSON Schema, its ids, and how a converter's document becomes a finished, validated payload.

Everything here runs in a worker process (and in the author's kit); the agent itself neither builds nor validates a report.
"""
