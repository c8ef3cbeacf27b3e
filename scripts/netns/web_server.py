"""The laboratory's web server: GET and PUT of files in one directory, and GET /whoami, which says who is asking.

Both families on port 80. Its log on stderr is the evidence for address translation: the address that it saw.
"""

import http.server
import os
import shutil
import socket
import sys

directory = os.path.abspath(sys.argv[1])


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments):
        super().__init__(*arguments, directory=directory)

    def caller(self):
        return self.client_address[0].removeprefix("::ffff:")

    def do_GET(self):
        if self.path != "/whoami":
            super().do_GET()
            return
        answer = (self.caller() + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_PUT(self):
        left = int(self.headers["Content-Length"])
        with open(os.path.join(directory, os.path.basename(self.path)), "wb") as file:
            while left > 0 and (chunk := self.rfile.read(min(left, 1 << 20))):
                file.write(chunk)
                left -= len(chunk)
        self.send_response(201 if left == 0 else 400)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def copyfile(self, source, outputfile):
        shutil.copyfileobj(source, outputfile, 1 << 20)

    def log_message(self, format, *arguments):
        print(self.caller(), format % arguments, file=sys.stderr, flush=True)


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


Server(("::", 80), Handler).serve_forever()
