"""A system bus of the laboratory with nobody behind it but systemd-resolved, which agrees to everything.

    bus.py SOCKET

Prints each call to resolved with its arguments. Just enough of the D-Bus specification for that, in place of a daemon and a
resolved that not every machine has.
"""

import os
import socket
import struct
import sys
import threading

ALIGNMENT = {"y": 1, "b": 4, "i": 4, "u": 4, "s": 4, "o": 4, "g": 1, "a": 4, "(": 8, "v": 1}
REPLIES = {"Hello": ("s", ":1.1"), "GetConnectionUnixProcessID": ("u", os.getpid())}


def aligned(at, kind):
    return -(-at // ALIGNMENT[kind]) * ALIGNMENT[kind]


def element(signature):
    """The first complete type of a signature, and the rest."""
    end = 1
    if signature[0] == "a":
        end = 1 + len(element(signature[1:])[0])
    elif signature[0] == "(":
        while signature[1:end].count("(") + 1 != signature[1:end].count(")"):
            end += 1
    return signature[:end], signature[end:]


def read(data, at, signature):
    """The values of a signature, and where they end."""
    values = []
    while signature:
        kind, signature = element(signature)
        at = aligned(at, kind[0])
        if kind in "ybiu":
            code = {"y": "B", "b": "I", "i": "i", "u": "I"}[kind]
            (value,) = struct.unpack_from("<" + code, data, at)
            at += struct.calcsize(code)
        elif kind in "sog":
            size, width = (data[at], 1) if kind == "g" else (struct.unpack_from("<I", data, at)[0], 4)
            value = data[at + width:at + width + size].decode()
            at += width + size + 1
        elif kind == "v":
            inner, at = read(data, at, "g")
            (value,), at = read(data, at, inner[0])
        elif kind[0] == "(":
            value, at = read(data, at, kind[1:-1])
        else:
            (size,) = struct.unpack_from("<I", data, at)
            at = aligned(at + 4, kind[1])
            end, value = at + size, []
            while at < end:
                (item,), at = read(data, at, kind[1:])
                value.append(item)
        values.append(value)
    return values, at


def text(string):
    return struct.pack("<I", len(string)) + string.encode() + b"\0"


def reply(serial, member):
    signature, value = REPLIES.get(member, ("", None))
    body = {"s": lambda: text(value), "u": lambda: struct.pack("<I", value), "": lambda: b""}[signature]()
    fields = b"\5\1u\0" + struct.pack("<I", serial)
    for code, kind, field in ((7, "s", "org.freedesktop.DBus"), (8, "g", signature)):
        if field:
            fields += b"\0" * (-len(fields) % 8) + bytes([code, 1]) + kind.encode() + b"\0"
            fields += bytes([len(field)]) + field.encode() + b"\0" if kind == "g" else text(field)
    head = struct.pack("<BBBBIII", ord("l"), 2, 1, 1, len(body), 1, len(fields)) + fields
    return head + b"\0" * (-len(head) % 8) + body


def converse(peer):
    stream = peer.makefile("rwb", buffering=0)
    stream.read(1)
    while (line := stream.readline().split()) != [b"BEGIN"]:
        answers = {b"AUTH": b"OK 00000000000000000000000000000000\r\n", b"NEGOTIATE_UNIX_FD": b"ERROR\r\n"}
        peer.sendall(answers.get(line[0], b"") if line else b"")
    buffered = peer.makefile("rb")
    while head := buffered.read(16):
        _, kind, _, _, body_size, serial, fields_size = struct.unpack("<BBBBIII", head)
        fields_size = -(-fields_size // 8) * 8
        data = head + buffered.read(fields_size + body_size)
        fields = dict(read(data, 12, "a(yv)")[0][0])
        arguments, _ = read(data[16 + fields_size:], 0, fields.get(8, ""))
        if fields.get(6) == "org.freedesktop.resolve1":
            print(fields[3], *arguments, flush=True)
        if kind == 1:
            peer.sendall(reply(serial, fields[3]))


def main():
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(sys.argv[1])
    server.listen()
    print("serving", flush=True)
    while True:
        peer, _ = server.accept()
        threading.Thread(target=converse, args=(peer,), daemon=True).start()


main()
