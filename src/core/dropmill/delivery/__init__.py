"""Delivery: lanes, one a destination, which lease items from the queue, send them and settle each lease exactly once.

`lane` is what the agent runs. `courier` works the transport, `ledger` the queue; `gate`, `breaker` and `backoff` say when,
`verdicts` what an answer means, `scrub` what may be kept of it, `board` and `status` what people see.
"""
