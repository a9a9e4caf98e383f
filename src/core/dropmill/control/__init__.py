"""The agent's control surface: an HTTP API on a Unix socket, its limits against slow clients, and what it needs of the agent.

`server.ControlServer` is the supervised child, `agent_view.AgentView` what the agent offers it, `sockets` how both ends find
each other. The API over TCP, the console's pages, metrics and the event stream have their place here.
"""
