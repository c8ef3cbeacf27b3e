"""Moves data between two machines in both directions at once, and checks what arrives.

    exchange.py serve ADDRESS PORT              says "serving"
    exchange.py tcp ADDRESS PORT MEGABYTES      that much in each direction over one connection; compares SHA-256
    exchange.py udp ADDRESS PORT DATAGRAMS      of random sizes, each with its own checksum, returned by the server

The contents are random. Status 1 if anything arrives changed or, with TCP, does not arrive. Of the datagrams half must come
back: they are carried on a network that may lose some, and one that is longer than the MTU is lost with any of its parts.
They carry no UDP checksum over IPv4, so that it is the tunnel that is tested.
"""

import hashlib
import random
import socket
import struct
import sys
import threading
import time
import zlib

CHUNK = 1 << 18
LONGEST_DATAGRAM = 20000  # more than two packets at every MTU
LENGTH = struct.Struct(">Q")
HEAD = struct.Struct(">II")  # number, CRC-32 of what follows
SO_NO_CHECK = 11
SO_RCVBUFFORCE = 33


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def exchange(connection, length):
    """Sends `length` random bytes and receives as many: (hash of the sent ones, hash of the received ones)."""
    sent = hashlib.sha256()

    def send():
        block = random.randbytes(8 << 20)
        left = length
        while left:
            start = random.randrange(len(block) - CHUNK)
            part = block[start : start + min(left, CHUNK)]
            connection.sendall(part)
            sent.update(part)
            left -= len(part)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    received = hashlib.sha256()
    left = length
    while left:
        part = connection.recv(min(left, CHUNK))
        if not part:
            raise ConnectionError(f"{length - left} of {length} bytes arrived")
        received.update(part)
        left -= len(part)
    sender.join()
    return sent.digest(), received.digest()


def serve_tcp(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            (length,) = LENGTH.unpack(connection.recv(LENGTH.size, socket.MSG_WAITALL))
            connection.sendall(b"".join(exchange(connection, length)))


def serve(address, port):
    listener = socket.create_server((address, port), family=family(address))
    echo = socket.socket(family(address), socket.SOCK_DGRAM)
    echo.bind((address, port))
    prepare(echo)
    threading.Thread(target=serve_tcp, args=(listener,), daemon=True).start()
    print("serving", flush=True)
    while True:
        datagram, source = echo.recvfrom(65535)
        echo.sendto(datagram, source)


def tcp(address, port, megabytes):
    length = int(megabytes) << 20
    with socket.create_connection((address, port)) as connection:
        connection.sendall(LENGTH.pack(length))
        since = time.monotonic()
        sent, received = exchange(connection, length)
        took = time.monotonic() - since
        theirs = connection.recv(len(received + sent), socket.MSG_WAITALL)
    if theirs != received + sent:
        sys.exit("the hashes differ")
    print(f"{megabytes} MB each way at {length * 8 / took / 1e6:.0f} Mbit/s each way")


def udp(address, port, datagrams):
    sock = socket.socket(family(address), socket.SOCK_DGRAM)
    prepare(sock)
    sock.settimeout(0.06)
    good = 0
    for number in range(int(datagrams)):
        # The server's answers pace the sender: what is tested are bytes, not queues.
        content = random.randbytes(random.choice((random.randrange(1500), random.randrange(LONGEST_DATAGRAM))))
        sock.sendto(HEAD.pack(number, zlib.crc32(content)) + content, (address, port))
        good += answered(sock, number)
    sock.settimeout(0.5)
    while good < int(datagrams) and answered(sock, number):
        good += 1
    if good * 2 < int(datagrams):
        sys.exit(f"only {good} of {datagrams} datagrams came back")
    print(f"{good} of {datagrams} datagrams came back as they were")


def answered(sock, sent):
    """Whether a datagram came back in time. One that is not what was sent ends the program."""
    try:
        datagram = sock.recv(65535)
    except socket.timeout:
        return 0
    number, crc = HEAD.unpack_from(datagram)
    if number > sent or crc != zlib.crc32(datagram[HEAD.size :]):
        sys.exit("a datagram came back changed")
    return 1


def prepare(sock):
    """Room for what waits while this process does not run, and no checksums."""
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)


what, address, port, *amount = sys.argv[1:]
{"serve": serve, "tcp": tcp, "udp": udp}[what](address, int(port), *amount)
