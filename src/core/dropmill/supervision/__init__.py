"""Running the agent's background parts, restarting what fails, and stopping all of it on time.

Import from the modules; this package imports nothing, so that `supervision.signals` can be loaded before anything heavy.
"""
