"""
TLS: whom to trust, what to show, and whether the server is who it should be.

Twisted's own check of the host is not used: with some versions of it and of ``service-identity`` it takes a trusted
certificate that names no host for one of every host, and it tells nobody why OpenSSL refuses one.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any, Optional, Union

import attrs
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from zope.interface import implementer

from . import _clues
from ._check import what_came
from ._host import address_of, is_for

_log = Logger()

# --- what the user says


@attrs.frozen(init=False)
class TLS:
    """
    How the connections of a client are secured, if its URL is one with ``https://`` or ``grpcs://``.

    The server's certificate is always verified: it must be valid now, come from an authority that is trusted, and be
    for the host of the URL, by its subjectAltName. There is no way to switch that off.

    The files are in PEM. They are read when the client is made, and again before a new connection if they have changed
    meanwhile; what is wrong with them then is logged as a warning, once, and what was read before is used on.
    Connections that are open go on.

    :param ca_file: the path of the certificates to trust (``str`` or ``os.PathLike``), instead of those that the system
        trusts.
    :param cert_file: the path of the certificate to show to a server that wants one, followed by those of the
        authorities in between.
    :param key_file: the path of its private key, which must not be encrypted. Without it the key is in *cert_file*.
    :param server_name: the host name (or IP address) that the server's certificate is for (``str``), instead of the
        host of the URL. The server is told, too, where it is a name (SNI).
    :raises TypeError: for an argument of another type.
    :raises ValueError: for an empty one, a *key_file* without a *cert_file*, a *server_name* that is not in ASCII.

    :ivar ca_file: as given, as ``str``.
    :ivar cert_file: as given, as ``str``.
    :ivar key_file: as given, as ``str``.
    :ivar server_name: as given.
    """

    ca_file: Optional[str]
    cert_file: Optional[str]
    key_file: Optional[str]
    server_name: Optional[str]

    def __init__(
        self,
        ca_file: Union[str, os.PathLike[str], None] = None,
        cert_file: Union[str, os.PathLike[str], None] = None,
        key_file: Union[str, os.PathLike[str], None] = None,
        server_name: Optional[str] = None,
    ) -> None:
        if key_file is not None and cert_file is None:
            raise ValueError("key_file is the key of a cert_file, and none is given")
        self.__attrs_init__(
            _path("ca_file", ca_file), _path("cert_file", cert_file), _path("key_file", key_file), _name(server_name)
        )


def _path(argument: str, value: object) -> Optional[str]:
    if value is None:
        return None
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        raise TypeError(f"{argument} must be the path of a file (str or os.PathLike), not {what_came(value)}")
    if not path or "\0" in path:
        raise ValueError(f"{argument} must be the path of a file, not {path!r}")
    return path


def _name(value: object) -> Optional[str]:
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError(f"server_name must be a str, not {what_came(value)}")
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"server_name must be a host name in ASCII or an IP address, not {value!r}")
    return value


def reasons(error: BaseException) -> str:
    """Why OpenSSL failed, in the words of its *error*."""
    *_, last = error.args or ("",)
    # a list of where in its source, and why
    said = [str(entry[-1]) for entry in last] if isinstance(last, list) else [str(last)]
    return "; ".join(dict.fromkeys(filter(None, said))) or "no reason given"


# --- the files

_PARTIAL_CHAIN = 0x80000
"""``X509_V_FLAG_PARTIAL_CHAIN`` of OpenSSL, for which older versions of pyOpenSSL have no name."""


def _read(tls: TLS) -> SSL.Context:
    """
    All of it, made anew from the files.

    :raises ValueError: names the argument and the file.
    """
    context = CertificateOptions().getContext()
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    if tls.ca_file is None:
        _read_system(context)
    else:
        _read_authorities(context, tls.ca_file)
    if tls.cert_file is not None:
        _read_certificate(context, tls.cert_file)
        argument, path = ("key_file", tls.key_file) if tls.key_file is not None else ("cert_file", tls.cert_file)
        _read_key(context, argument, path)
        try:
            context.check_privatekey()
        except SSL.Error as error:
            told = f"{argument}: the private key in {path!r} is not that of the certificate in {tls.cert_file!r}"
            raise ValueError(told) from error
    return context


def _content(argument: str, path: str) -> bytes:
    # what OpenSSL says of a file that cannot be read depends on its version, and may be nothing
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{argument}: {path!r} cannot be read: {error.strerror}") from error


def _useless(argument: str, path: str, wanted: str, error: SSL.Error) -> ValueError:
    return ValueError(f"{argument}: {path!r} holds no {wanted} in PEM that can be used ({reasons(error)})")


def _read_system(context: SSL.Context) -> None:
    try:
        context.set_default_verify_paths()
    except SSL.Error as error:
        raise ValueError(f"the certificates that the system trusts cannot be read ({reasons(error)})") from error


def _read_authorities(context: SSL.Context, path: str) -> None:
    _content("ca_file", path)
    try:
        context.load_verify_locations(path)
    except SSL.Error as error:
        raise _useless("ca_file", path, "certificate", error) from error
    # what is named is trusted, also where it is no root, as Go has it
    store: Any = context.get_cert_store()
    store.set_flags(_PARTIAL_CHAIN)


def _read_certificate(context: SSL.Context, path: str) -> None:
    _content("cert_file", path)
    try:
        context.use_certificate_chain_file(path)
    except SSL.Error as error:
        raise _useless("cert_file", path, "certificate", error) from error


_ENCRYPTED = (b"BEGIN ENCRYPTED PRIVATE KEY", b"Proc-Type: 4,ENCRYPTED")


def _read_key(context: SSL.Context, argument: str, path: str) -> None:
    content = _content(argument, path)
    if any(mark in content for mark in _ENCRYPTED):
        # OpenSSL would ask at the terminal
        raise ValueError(f"{argument}: the private key in {path!r} is encrypted, and nobody is there to be asked how")
    try:
        context.use_privatekey_file(path)
    except SSL.Error as error:
        # a key of another certificate; if it is of another kind, OpenSSL does not mind yet
        if "mismatch" not in reasons(error):
            raise _useless(argument, path, "private key", error) from error


class _Files:
    """
    What the files say, read again when they have changed.

    :raises ValueError: if what they say is of no use: names the argument and the file.
    """

    def __init__(self, tls: TLS) -> None:
        self._tls = tls
        self._paths = [path for path in (tls.ca_file, tls.cert_file, tls.key_file) if path is not None]
        self._seen = self._look()
        # what the system trusts is much to read, and of no use to those who need no TLS
        self._context = _read(tls) if self._paths else None

    def context(self) -> SSL.Context:
        """What a new connection goes by."""
        seen = self._look()
        if self._context is None:
            self._context = _read(self._tls)
        elif seen != self._seen:
            # noted first, so that what is broken is read, and told, once
            self._seen = seen
            self._read_again()
        return self._context

    def _look(self) -> list[Optional[tuple[int, int, int]]]:
        return [_stamp(path) for path in self._paths]

    def _read_again(self) -> None:
        try:
            self._context = _read(self._tls)
        except ValueError as error:
            _log.warn("TLS: {problem}; what was read before is used on", problem=str(error))


def _stamp(path: str) -> Optional[tuple[int, int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


# --- the server


class Peer:
    """
    The server at the other end of a connection.

    :param host: who it must be: a host name, or an IP address.
    :param ca_file: where those are that are trusted; ``None`` if the system knows.
    :param cert_file: what is shown to it, if anything is.

    :ivar is_verified: whether it is known to be the one (``bool``).
    :ivar refusal: why it is not, in words; ``None`` as long as nothing speaks against it.
    """

    def __init__(self, host: str, ca_file: Optional[str], cert_file: Optional[str]) -> None:
        self._host = host
        self._ca_file = ca_file
        self.cert_file = cert_file
        self.is_verified = False
        self.refusal: Optional[str] = None

    def check(self, certificate: crypto.X509, code: int, depth: int, is_ok: bool) -> bool:
        """
        Judges one of its certificates, as OpenSSL goes through them from the authority's to its own.

        :param code: what OpenSSL has against it ...
        :param depth: how far from its own, which has 0.
        :param is_ok: ... and whether it has nothing.
        :returns: whether to go on.
        """
        try:
            if not is_ok:
                self.refusal = _clues.distrust(code, depth, _shown(certificate), self._ca_file)
            elif depth == 0:
                self.refusal = _mismatch(certificate.to_cryptography(), self._host)
        except Exception as error:
            # what is raised here would get lost in OpenSSL
            self.refusal = f"the server's certificate cannot be read: {' '.join(str(error).split())}"
        self.is_verified = depth == 0 and self.refusal is None
        return self.refusal is None


class _Connection(SSL.Connection):
    """A connection of OpenSSL that knows who is at the other end; what else could be kept in it belongs to Twisted."""

    def __init__(self, context: SSL.Context, peer: Peer) -> None:
        super().__init__(context, None)
        self.peer = peer


def _verify(connection: Any, certificate: crypto.X509, code: int, depth: int, is_ok: int) -> bool:
    peer: Peer = connection.peer
    return peer.check(certificate, code, depth, bool(is_ok))


def _mismatch(certificate: x509.Certificate, host: str) -> Optional[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _clues.NO_NAMES
    names, addresses = found.get_values_for_type(x509.DNSName), found.get_values_for_type(x509.IPAddress)
    if not names and not addresses:
        return _clues.NO_NAMES
    if is_for(host, names, addresses):
        return None
    return _clues.wrong_host(host, [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses])


def _shown(certificate: crypto.X509) -> _clues.Certificate:
    known = certificate.to_cryptography()
    # the attributes of cryptography for these have changed their names
    begin, end = _time(certificate.get_notBefore()), _time(certificate.get_notAfter())
    return _clues.Certificate(known.subject.rfc4514_string(), known.issuer.rfc4514_string(), begin, end)


def _time(stamp: Optional[bytes]) -> str:
    return f"{datetime.strptime((stamp or b'').decode('ascii'), '%Y%m%d%H%M%SZ')} UTC"


@implementer(IOpenSSLClientConnectionCreator)
class _Creator:
    """
    Makes the TLS of connections to a host.

    :param host: who it must be: a host name, or an IP address.
    :param alpn: what is to be spoken over it, as TLS calls it.
    """

    def __init__(self, files: _Files, tls: TLS, host: str, alpn: list[bytes]) -> None:
        self._files = files
        self._tls = tls
        self._host = host
        self._alpn = alpn

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        peer = Peer(self._host, self._tls.ca_file, self._tls.cert_file)
        connection = _Connection(self._files.context(), peer)
        if self._alpn:
            connection.set_alpn_protos(self._alpn)
        if address_of(self._host) is None:
            connection.set_tlsext_host_name(self._host.encode("ascii"))
        return connection


class Creators:
    """
    What Twisted needs to make connections with TLS.

    :param tls: what the user says.
    :param dialect: what is to be spoken over it.
    :raises TypeError: if *tls* is no :class:`TLS`.
    :raises ValueError: if what the files say is of no use: names the argument and the file.
    """

    def __init__(self, tls: TLS, dialect: _clues.Dialect) -> None:
        if not isinstance(tls, TLS):
            raise TypeError(f"tls must be a txetcd.TLS, not {what_came(tls)}")
        self._tls = tls
        self._files = _Files(tls)
        self._alpn = [dialect.alpn] if dialect.alpn else []

    def creator(self, host: str) -> IOpenSSLClientConnectionCreator:
        """
        For connections to *host*, unless the user says that it has another name.

        :raises ValueError: if what the system trusts cannot be read.
        """
        # now, as nobody would hear of it when there is a connection
        self._files.context()
        # the dot at the end of a name that is complete is for resolvers; no certificate has one
        name = (self._tls.server_name or host).rstrip(".")
        return _Creator(self._files, self._tls, name, self._alpn)


def peer_of(transport: Any) -> Peer:
    """The server at the other end of a connection with TLS that was made with :class:`Creators`."""
    peer: Peer = transport.getHandle().peer
    return peer
