"""keepalived's check: `check_sip.py ADDRESS` ends with 0 if one OPTIONS is answered with 200 within 0.8 s, else with 1.

Imports the standard library's socket alone, to start in a few milliseconds.
"""

import os
import socket
import sys

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], 5060))
    sock.settimeout(0.8)
    host, port = sock.getsockname()
    mark = os.urandom(8).hex()
    sock.send(
        f"OPTIONS sip:{sys.argv[1]}:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};rport;branch=z9hG4bK{mark}\r\n"
        f"From: <sip:check@{host}>;tag={mark}\r\nTo: <sip:{sys.argv[1]}>\r\nCall-ID: {mark}\r\nCSeq: 1 OPTIONS\r\n"
        "Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n".encode()
    )
    try:
        answered = sock.recv(2048).startswith(b"SIP/2.0 200 ")
    except OSError:
        answered = False
sys.exit(0 if answered else 1)
