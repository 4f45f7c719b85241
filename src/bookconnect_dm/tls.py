"""Whom we trust over TLS, and the certificate that somebody's server shows.

In charge of: the authorities that count, asking for a certificate, and when it ends.
Knows about: TLS, and how it begins on PostgreSQL's port.
Does not know: whose server it is, or what is asked there.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from datetime import datetime
from typing import Final, Literal

from cryptography import x509

__all__ = ["certificate_end", "https_context"]

WAIT_S: Final = 10.0
_SSL_REQUEST: Final = struct.pack("!II", 8, 80_877_103)
_WILLING: Final = b"S"


def https_context() -> ssl.SSLContext:
    """How we check a server over https, whoever of us asks.

    By SSL_CERT_FILE or SSL_CERT_DIR, else by the authorities that come with the package (certifi);
    those of the machine do not count: a small container has none.
    """
    import httpx

    return httpx.create_ssl_context()


async def certificate_end(
    host: str, port: int, kind: Literal["postgresql", "https"]
) -> datetime | None:
    """When the certificate at an address ends; None where PostgreSQL there offers no TLS.

    That of https is checked as a server of ours does; PostgreSQL's is looked at only, since its
    authority may be known to libpq alone. Raises OSError (ssl.SSLError is one) and TimeoutError.
    """
    context = https_context()
    if kind == "postgresql":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(WAIT_S):
        reader, writer = await asyncio.open_connection(
            host, port, ssl=context if kind == "https" else None
        )
        try:
            if kind == "postgresql":
                writer.write(_SSL_REQUEST)
                if await reader.read(1) != _WILLING:
                    return None
                await writer.start_tls(context, server_hostname=host)
            found = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509.load_der_x509_certificate(found).not_valid_after_utc
        finally:
            writer.transport.abort()  # there is nothing to say goodbye to
