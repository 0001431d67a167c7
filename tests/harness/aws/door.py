"""TLS in front of an endpoint, and a proxy for HTTPS: `python door.py PORT UPSTREAM_PORT DIRECTORY`.

Listens on 127.0.0.1 and dials nothing but the upstream there, whatever host is asked for. `CONNECT host:443` is answered and the TLS
within ended here; so is TLS without `CONNECT`. Certificates are made for the name asked for, by the authority in DIRECTORY/authority.pem.
`GET /seen` answers what was asked, in order.
"""

import datetime
import ipaddress
import json
import os
import socket
import ssl
import sys
import threading

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PORT, UPSTREAM, DIRECTORY = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
SEEN = []
CONTEXTS = {}
LOCK = threading.Lock()
# Any certificate is old enough, and lives longer than a test.
BEGIN = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=1)
END = BEGIN + datetime.timedelta(days=30)


def certificate(name, key, issuer, issuer_key, *extensions):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(issuer or subject, subject, key.public_key(), x509.random_serial_number(), BEGIN, END)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def pem(item):
    if hasattr(item, "public_bytes"):
        return item.public_bytes(serialization.Encoding.PEM)
    return item.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


AUTHORITY_KEY = ec.generate_private_key(ec.SECP256R1())
AUTHORITY = certificate(
    f"evenkeel test authority {PORT}", AUTHORITY_KEY, None, AUTHORITY_KEY, x509.BasicConstraints(ca=True, path_length=None)
)


def context(name):
    with LOCK:
        if name not in CONTEXTS:
            try:
                alternative = x509.IPAddress(ipaddress.ip_address(name))
            except ValueError:
                alternative = x509.DNSName(name)
            key = ec.generate_private_key(ec.SECP256R1())
            names = x509.SubjectAlternativeName([alternative])
            file = os.path.join(DIRECTORY, f"{len(CONTEXTS)}.pem")
            with open(file, "wb") as out:
                out.write(pem(key) + pem(certificate(name[:64], key, AUTHORITY.subject, AUTHORITY_KEY, names)))
            made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            made.load_cert_chain(file)
            made.set_alpn_protocols(["http/1.1"])
            CONTEXTS[name] = made
        return CONTEXTS[name]


def end_tls(connection, asked):
    seen = {"connect": asked, "name": None, "error": None}
    with LOCK:
        SEEN.append(seen)

    def named(tls, name, _):
        if name:
            seen["name"] = name
            tls.context = context(name)

    # What has no name was asked for by its address.
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(os.path.join(DIRECTORY, "0.pem"))
    own.sni_callback = named
    try:
        tls = own.wrap_socket(connection, server_side=True)
    except OSError as error:
        seen["error"] = str(error)
        return
    with tls, socket.create_connection(("127.0.0.1", UPSTREAM)) as upstream:
        back = threading.Thread(target=pump, args=(upstream, tls), daemon=True)
        back.start()
        pump(tls, upstream)
        back.join()


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve(connection):
    with connection:
        if connection.recv(1, socket.MSG_PEEK) == b"\x16":
            end_tls(connection, None)
            return
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(4096)
            if not data:
                return
            head += data
        method, target = head.split(b" ")[:2]
        if method == b"CONNECT":
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            end_tls(connection, target.decode())
        else:
            with LOCK:
                body = json.dumps(SEEN).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


context("127.0.0.1")
with open(os.path.join(DIRECTORY, "authority.pem"), "wb") as out:
    out.write(pem(AUTHORITY))
with socket.create_server(("127.0.0.1", PORT)) as listener:
    while True:
        accepted, _ = listener.accept()
        threading.Thread(target=serve, args=(accepted,), daemon=True).start()
