"""The peer of `bench_worker`: a bare process that answers each frame on its socket with one of the same size. No plugin, no file,
no limits, no validation; what a worker costs beyond this is the price of those."""

from __future__ import annotations

import json
import socket
import struct
import sys

PREFIX = struct.Struct("!II")


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    stream = channel.makefile("rb")
    while prefix := stream.read(PREFIX.size):
        header_size, body_size = PREFIX.unpack(prefix)
        header = json.loads(stream.read(header_size))
        body = stream.read(body_size)
        text = json.dumps({"n": header["n"], "size": body_size}).encode()
        channel.sendall(PREFIX.pack(len(text), len(body)) + text + body)


main()
