"""
Whether a certificate is for a host: RFC 6125, read as strictly as Go does, which etcd and its tools are written in.

Only what a subjectAltName says counts. A ``*`` stands for one whole label, the first, and never for all there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any


def address_of(host: str) -> Any:
    """The IP address that *host* is, as ``ipaddress`` has it; ``None`` if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def is_for(host: str, names: Iterable[str], addresses: Iterable[Any]) -> bool:
    """
    Whether a certificate is for *host*.

    :param host: a name, or an IP address.
    :param names: the names that the certificate is for ...
    :param addresses: ... and the addresses, as ``ipaddress`` has them.
    """
    address = address_of(host)
    if address is not None:
        return address in list(addresses)
    return any(_matches(name, host) for name in names)


def _matches(pattern: str, host: str) -> bool:
    wanted, labels = pattern.lower().split("."), host.lower().split(".")
    if len(wanted) != len(labels) or "" in labels or "*" in host:
        return False
    if wanted[0] == "*" and len(wanted) > 1:
        return wanted[1:] == labels[1:]
    return wanted == labels
