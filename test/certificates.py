"""
Certificates for servers and clients of tests.

Made with ``cryptography`` itself, which is there wherever TLS is: what makes them more easily makes none without a
subjectAltName, and none that its owner has signed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Optional

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@attrs.frozen
class Certificate:
    """
    A certificate and its key.

    :ivar certificate: in PEM (``bytes``).
    :ivar key: in PEM (``bytes``).
    :ivar begin: when it becomes valid.
    :ivar end: when it is no longer.
    """

    certificate: bytes
    key: bytes = attrs.field(repr=False)
    begin: datetime
    end: datetime


def write(path: Path, *content: bytes) -> str:
    """Writes that to a file, and returns its path."""
    path.write_bytes(b"".join(content))
    return str(path)


def pem_of(key: Any, password: bytes = b"") -> bytes:
    """A private key, encrypted if there is a password."""
    form = serialization.PrivateFormat.PKCS8
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, how))


class Authority:
    """
    Signs certificates.

    :param name: its CommonName, under which only one authority must go.
    :param by: the authority that has signed its own; it itself by default.
    :param end: when its own is no longer valid, from now.
    """

    def __init__(self, name: str = "tests", by: Optional[Authority] = None, end: timedelta = DAY) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = _named(name)
        self.own = (by or self).sign(self._key, self.name, [x509.BasicConstraints(True, None)], -2 * DAY, end)

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.own.certificate

    def issue(
        self,
        *hosts: str,
        name: str = "",
        begin: timedelta = -DAY,
        end: timedelta = DAY,
        usages: Sequence[Any] = (SERVER, CLIENT),
    ) -> Certificate:
        """
        A certificate for these hosts; for none it has no subjectAltName.

        :param name: its CommonName, if it has any.
        :param begin: when it becomes valid, from now.
        :param end: when it is no longer, from now.
        :param usages: what for.
        """
        extensions: list[Any] = [x509.ExtendedKeyUsage(usages)]
        if hosts:
            extensions.append(x509.SubjectAlternativeName([_general(host) for host in hosts]))
        return self.sign(ec.generate_private_key(ec.SECP256R1()), _named(name), extensions, begin, end)

    def sign(self, key: Any, owner: x509.Name, extensions: list[Any], begin: timedelta, end: timedelta) -> Certificate:
        """A certificate for the owner of *key*."""
        now = datetime.now(timezone.utc).replace(microsecond=0)
        builder = (
            x509.CertificateBuilder()
            .subject_name(owner)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        signed = builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        return Certificate(signed, pem_of(key), now + begin, now + end)


class SelfSigned(Authority):
    """A server that is its own authority, for one host."""

    def __init__(self, host: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = _named(host)
        extensions: list[Any] = [x509.SubjectAlternativeName([_general(host)]), x509.BasicConstraints(True, None)]
        self.own = self.sign(self._key, self.name, extensions, -DAY, DAY)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
