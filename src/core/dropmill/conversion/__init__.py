"""From a claimed file to finished reports: selection, worker processes, and what becomes of the file.

`dispatcher.Dispatcher` is the supervised child, `pool.ConversionPool` what it converts with, `once.convert_once` the same for a
single file without a queue. What runs inside a worker process is `worker`; it imports nothing else of the agent.
"""
