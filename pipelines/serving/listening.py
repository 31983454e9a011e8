"""The socket that a server listens to, which says that a port is busy before anything is loaded, and its names."""

import socket
from ipaddress import ip_address

from resnet_tf.errors import UserError


def listening(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Args:
        host: Name or address of this machine.
        port: Number of the port; 0 takes a free one.

    Raises:
        UserError: The port is busy, or the address is none of this machine.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except (OSError, UnicodeError) as error:  # a name can be too long for a DNS label
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot serve at {host} port {port}: {reason}; --port 0 takes a free port") from error
    return listener


def names_of(host: str, listener: socket.socket) -> list[str]:
    """Returns the names and addresses that a browser finds a server at, the surest first.

    Args:
        host: Name or address that the server was told.
        listener: Socket that listens there. At 0.0.0.0 and ::, which stand for all addresses of this machine, no other
            machine finds it; its own address and its name are returned instead.
    """
    if not ip_address(listener.getsockname()[0]).is_unspecified:
        return [host]
    name = socket.gethostname()
    return [*_address_to_others(listener.family), name, f"{name}.local"]


def _address_to_others(family: int) -> list[str]:
    """Returns the address of this machine that others see; none where it is in no network."""
    elsewhere = "2001:db8::1" if family == socket.AF_INET6 else "192.0.2.1"  # for documents; nothing is sent there
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return [probe.getsockname()[0]]
    except OSError:
        return []
