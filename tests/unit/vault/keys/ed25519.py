"""Ed25519 as RFC 8032 writes it down, for signatures that no key file here could make: those of hardware keys."""

from __future__ import annotations

import base64
import hashlib
import struct

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
_Y = 4 * pow(5, P - 2, P) % P
Point = tuple[int, int, int, int]


def _x(y: int, sign: int) -> int:
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P)
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    return P - x if x % 2 != sign else x


BASE: Point = (_x(_Y, 0), _Y, 1, _x(_Y, 0) * _Y % P)


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def _times(n: int, p: Point) -> Point:
    q: Point = (0, 1, 1, 0)
    while n:
        if n & 1:
            q = _add(q, p)
        p, n = _add(p, p), n >> 1
    return q


def _pack(p: Point) -> bytes:
    z = pow(p[2], P - 2, P)
    return (p[1] * z % P | (p[0] * z % P & 1) << 255).to_bytes(32, "little")


def _half(seed: bytes) -> tuple[int, bytes]:
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little")
    return a & ((1 << 254) - 8) | 1 << 254, h[32:]


def public(seed: bytes) -> bytes:
    return _pack(_times(_half(seed)[0], BASE))


def sign(seed: bytes, data: bytes) -> bytes:
    a, prefix = _half(seed)
    r = int.from_bytes(hashlib.sha512(prefix + data).digest(), "little") % L
    point = _pack(_times(r, BASE))
    h = int.from_bytes(hashlib.sha512(point + public(seed) + data).digest(), "little") % L
    return point + ((r + h * a) % L).to_bytes(32, "little")


# --- as OpenSSH's hardware keys use it (PROTOCOL.sshsig, PROTOCOL.u2f) ---

KIND = b"sk-ssh-ed25519@openssh.com"
APPLICATION = b"ssh:"


def _text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def hardware_key(seed: bytes) -> str:
    """The public key's line."""
    return f"{KIND.decode()} {base64.b64encode(_key(seed)).decode()}"


def _key(seed: bytes) -> bytes:
    return _text(KIND) + _text(public(seed)) + _text(APPLICATION)


def hardware_signature(seed: bytes, namespace: str, data: bytes, flags: int) -> str:
    """What such a key signs: ``flags`` 1 for touch, 4 for PIN or fingerprint."""
    told = b"SSHSIG" + _text(namespace.encode()) + _text(b"") + _text(b"sha512") + _text(hashlib.sha512(data).digest())
    counter = bytes([flags]) + struct.pack(">I", 7)
    made = sign(seed, hashlib.sha256(APPLICATION).digest() + counter + hashlib.sha256(told).digest())
    inner = _text(KIND) + _text(made) + counter
    blob = b"SSHSIG" + struct.pack(">I", 1) + _text(_key(seed)) + _text(namespace.encode()) + _text(b"")
    text = base64.b64encode(blob + _text(b"sha512") + _text(inner)).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n"


def _point(data: bytes) -> Point | None:
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = _x(y, sign)
    good = y < P and (y * y - x * x - 1 - D * x * x * y * y) % P == 0
    return (x, y, 1, x * y % P) if good else None


def verify(key: bytes, signature: bytes, data: bytes) -> bool:
    a, r, s = _point(key), _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or len(signature) != 64:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + data).digest(), "little") % L
    return _pack(_times(s, BASE)) == _pack(_add(r, _times(h, a)))


def read_text(data: bytes) -> tuple[bytes, bytes]:
    """The first length-prefixed string, and what follows it."""
    (length,) = struct.unpack_from(">I", data)
    return data[4 : 4 + length], data[4 + length :]


def good_signature(armored: str, namespace: bytes, data: bytes, keys: list[str]) -> bool:
    """An SSH signature by one of these ``ssh-ed25519`` keys, checked without OpenSSH."""
    lines = armored.strip().split("\n")[1:-1]
    raw = base64.b64decode("".join(lines))
    key, rest = read_text(raw[10:])
    space, rest = read_text(rest)
    _, rest = read_text(rest)
    algorithm, rest = read_text(rest)
    kind, inner = read_text(read_text(rest)[0])
    known = [base64.b64decode(line.split()[1]) for line in keys]
    if key not in known or space != namespace or algorithm not in (b"sha512", b"sha256") or kind != b"ssh-ed25519":
        return False
    digest = hashlib.new(algorithm.decode(), data).digest()
    told = b"SSHSIG" + _text(space) + _text(b"") + _text(algorithm) + _text(digest)
    return verify(read_text(read_text(key)[1])[0], read_text(inner)[0], told)
