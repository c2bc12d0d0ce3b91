"""Addresses of senders: read, told apart, and found behind proxies. Asks no network."""

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def read(text: str) -> tuple[Network, ...]:
    """Addresses or networks, with commas between. Raises ValueError."""
    return tuple(
        ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip()
    )


def address(text: str) -> Address | None:
    """An address, also as proxies write one: with a port, in brackets, as IPv4 inside IPv6."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def client_of(peer: str, forwarded: Iterable[str], proxies: tuple[Network, ...]) -> str:
    """The address of who asks: the peer, or where that is a known proxy, the last one in
    X-Forwarded-For that is none. `forwarded` are the header's values in their order; what is no
    address ends the look, for only what our own proxies wrote is believed."""
    client = peer
    said = [part for value in forwarded for part in value.split(",")]
    while said:
        seen = address(client)
        if seen is None or not any(seen in each for each in proxies):
            break
        named = address(said.pop())
        if named is None:
            break
        client = str(named)
    return client


def counted_as(client: str) -> str:
    """What is counted together: an IPv4 address, the /64 of an IPv6 one, else the text."""
    found = address(client)
    if isinstance(found, ipaddress.IPv6Address) and not found.is_loopback:
        return str(ipaddress.ip_network((int(found), 64), strict=False))
    return str(found) if found else client[:64]
