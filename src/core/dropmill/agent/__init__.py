"""The agent: builds every part from the settings and runs them; the one place that knows them all.

    exit_code = await run_agent(configuration, signals=signals)

`composition` puts the parts together and takes them through start and stop; `oversight` is what control sees of them and may
ask; `late` makes transports when their lane opens; `events` carries what happens to the log and to plugins.
"""

from __future__ import annotations

from dropmill.agent.composition import Agent, run_agent

__all__ = ["Agent", "run_agent"]
