"""A name server of the laboratory: answers A questions from a file, and writes down who asked for what.

    name_server.py ADDRESS FILE       FILE has lines "NAME ADDRESS" and is read anew for each question

A name that is not in the file does not exist; questions of other types get an empty answer.
"""

import socket
import struct
import sys

address, zone = sys.argv[1:3]


def known():
    with open(zone) as file:
        return dict(line.lower().split() for line in file if line.strip())


def name_in(question):
    labels, at = [], 0
    while question[at]:
        labels.append(question[at + 1:at + 1 + question[at]].decode("ascii"))
        at += 1 + question[at]
    return ".".join(labels).lower(), at + 1


def answer(query):
    name, end = name_in(query[12:])
    question = query[12:12 + end + 4]
    kind = struct.unpack("!H", question[end:end + 2])[0]
    found = known().get(name)
    records = b""
    if found and kind == 1:
        records = struct.pack("!HHHIH", 0xC00C, 1, 1, 0, 4) + socket.inet_aton(found)
    status = 0x8180 if found else 0x8183
    header = query[:2] + struct.pack("!HHHHH", status, 1, 1 if records else 0, 0, 0)
    return name, kind, header + question + records


def main():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    print("serving", flush=True)
    while True:
        query, asker = server.recvfrom(512)
        name, kind, reply = answer(query)
        print(f"{asker[0]} asks for {name} type {kind}", flush=True)
        server.sendto(reply, asker)


main()
