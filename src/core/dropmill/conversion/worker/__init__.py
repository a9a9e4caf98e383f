"""What runs inside a worker process, and the two things that both ends of its pipe share: `frames` and `page`.

Nothing here imports the agent's modules (a test holds it to that): a worker is the Python interpreter, orjson, jsonschema_rs, the
plugin API, the report code, and whatever one distribution's converters import.
"""
