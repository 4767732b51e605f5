"""Locking data through the vendor's client, between buffers and files."""

import os
import tempfile

import zymkey
from zymkey.exceptions import VerificationError

client = zymkey.client

for key in ("zymkey", "cloud"):
    for plain in (b"attack at dawn", bytes(range(256)) * 400, b"x"):
        locked = client.lock(bytearray(plain), encryption_key=key)
        assert plain not in bytes(locked) or len(plain) == 1
        assert bytes(client.unlock(locked, encryption_key=key)) == plain
        assert client.lock(bytearray(plain), encryption_key=key) != locked, "the nonce is new each time"

        changed = bytearray(locked)
        changed[-1] ^= 1
        assert client.unlock(changed, encryption_key=key, raise_exception=False) is None
        try:
            client.unlock(locked, encryption_key="cloud" if key == "zymkey" else "zymkey")
            raise SystemExit("unlocked with the other key")
        except VerificationError:
            pass

        with tempfile.TemporaryDirectory() as directory:
            source, target, back = (os.path.join(directory, name) for name in ("source", "target", "back"))
            with open(source, "wb") as file:
                file.write(plain)
            client.lock(source, target, encryption_key=key)
            assert bytes(client.unlock(target, encryption_key=key)) == plain
            client.unlock(target, back, encryption_key=key)
            with open(back, "rb") as file:
                assert file.read() == plain
            locked = client.lock(source, encryption_key=key)
            client.unlock(locked, back, encryption_key=key)
            with open(back, "rb") as file:
                assert file.read() == plain
            client.lock(bytearray(plain), target, encryption_key=key)
            assert bytes(client.unlock(target, encryption_key=key)) == plain
            with open(target, "wb") as file:
                file.write(bytes(changed))
            try:
                client.unlock(target, back, encryption_key=key)
                raise SystemExit("a changed file unlocked")
            except AssertionError:
                pass
