"""The socket that a server listens to, which says that a port is busy before anything is loaded for it."""

import socket

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
