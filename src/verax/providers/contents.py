"""The content of an answer out of its transfer coding, in a way that never loses what came.

A body that calls itself compressed and is not, or breaks off, is taken as far as it goes.
"""

import zlib

GZIP_HEAD = b"\x1f\x8b"


class Content:
    """Takes the raw chunks of one body and gives them back decoded.

    Args:
        coding: the Content-Encoding; what is not gzip or deflate passes through.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding.strip().lower()
        self._head = b""
        self._decoder: zlib._Decompress | None = None
        self._plain = self._coding not in ("gzip", "x-gzip", "deflate")

    def take(self, chunk: bytes) -> bytes:
        """The decoded bytes that this chunk brings."""
        if self._plain:
            return chunk
        if self._decoder is None:
            self._head += chunk
            if len(self._head) < 2:
                return b""
            chunk, self._head = self._head, b""
            bits = self._window_bits(chunk)
            if bits is None:
                self._plain = True
                return chunk
            self._decoder = zlib.decompressobj(bits)
        return self._decoded(chunk)

    def rest(self) -> bytes:
        """What is left at the end."""
        return self._head or (self._decoder.flush() if self._decoder else b"")

    def _window_bits(self, head: bytes) -> int | None:
        if head.startswith(GZIP_HEAD):
            return 16 + zlib.MAX_WBITS
        zlib_head = head[0] & 0x0F == 8 and (head[0] * 256 + head[1]) % 31 == 0
        if self._coding == "deflate":
            return zlib.MAX_WBITS if zlib_head else -zlib.MAX_WBITS
        return None

    def _decoded(self, chunk: bytes) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decompress(chunk)
        except zlib.error:
            self._plain = True  # nothing that follows can be decoded
            return b""
