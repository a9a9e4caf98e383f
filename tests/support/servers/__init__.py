"""Real servers for tests, on private ports: nginx with DAV, a scripted HTTP server, certificates of an authority of our own."""

from __future__ import annotations

from support.servers.certificates import Authority, Certificate
from support.servers.nginx import Nginx
from support.servers.scripted import Reply, Request, ScriptedServer, Silence

__all__ = ["Authority", "Certificate", "Nginx", "Reply", "Request", "ScriptedServer", "Silence"]
