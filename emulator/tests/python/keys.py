"""Keys through the vendor's client: signing, verifying, exporting, foreign and ephemeral keys."""

import hashlib
import os
import tempfile

import ecdsa
import zymkey
from zymkey.exceptions import VerificationError

client = zymkey.client
assert client is not None, "zymkey.client opened no device"

CURVES = {"nistp256": ecdsa.NIST256p, "secp256r1": ecdsa.NIST256p, "secp256k1": ecdsa.SECP256k1}


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except AssertionError as error:
        assert "bad return code -1" in str(error), error
        return True
    return False


# Factory keys, and one of each type.
assert client.get_slot_alloc_list() == (list(range(16)), 528)
for name, curve in CURVES.items():
    slot = client.gen_key_pair(name)
    public = bytes(client.get_public_key(slot))
    assert len(public) == 64 and public == bytes(client.get_ecdsa_public_key(slot))
    other = ecdsa.VerifyingKey.from_string(public, curve=curve)
    for message in ("", "a text", "x" * 10_000):
        signature = client.sign(message, slot)
        assert len(signature) == 64
        assert client.verify(message, signature, pubkey_slot=slot)
        assert other.verify_digest(bytes(signature), hashlib.sha256(message.encode()).digest())
        assert not client.verify("another text", signature, raise_exception=False, pubkey_slot=slot)
        try:
            client.verify("another text", signature, pubkey_slot=slot)
            raise SystemExit("a wrong signature verified")
        except VerificationError:
            pass
    signature, recovery = client.sign("a text", slot, return_recid=True)
    assert recovery.value in (0, 1)
    digest = hashlib.sha256(b"a text").digest()
    candidates = ecdsa.VerifyingKey.from_public_key_recovery_with_digest(
        bytes(signature), digest, curve, hashfunc=hashlib.sha256
    )
    assert public in [key.to_string() for key in candidates]
    signature = client.sign_digest(hashlib.sha256(b"a digest"), slot)
    assert client.verify_digest(hashlib.sha256(b"a digest"), signature, pubkey_slot=slot)

slot = client.gen_key_pair("ed25519")
assert len(client.get_public_key(slot)) == 32
assert client.verify("a text", client.sign("a text", slot), pubkey_slot=slot)
slot = client.gen_key_pair("x25519")
assert len(client.get_public_key(slot)) == 32
assert refused(client.sign, "a text", slot)

# Public keys in PEM.
with tempfile.TemporaryDirectory() as directory:
    path = os.path.join(directory, "key.pem")
    client.create_public_key_file(path, 0)
    with open(path) as file:
        pem = file.read()
    assert ecdsa.VerifyingKey.from_pem(pem).to_string() == bytes(client.get_public_key(0))
    client.create_ecdsa_public_key_file(path, 0)
    with open(path) as file:
        assert file.read() == pem

# The foreign store.
theirs = ecdsa.SigningKey.generate(ecdsa.NIST256p)
foreign = client.store_foreign_public_key("nistp256", bytearray(theirs.verifying_key.to_string()))
assert client.get_slot_alloc_list(foreign=True) == ([foreign], 128)
signature = bytearray(theirs.sign_digest(hashlib.sha256(b"theirs").digest()))
assert client.verify("theirs", signature, pubkey_slot=foreign, foreign=True)
assert not client.verify("ours", signature, raise_exception=False, pubkey_slot=foreign, foreign=True)
client.disable_public_key_export(foreign, foreign=True)
assert refused(client.get_public_key, foreign, foreign=True)
client.remove_key(foreign, foreign=True)

# The ephemeral key.
assert refused(client.get_public_key, client.EPHEMERAL_KEY_SLOT)
client.gen_ephemeral_key_pair("nistp256")
assert len(client.get_public_key(client.EPHEMERAL_KEY_SLOT)) == 64
client.invalidate_ephemeral_key()
assert refused(client.get_public_key, client.EPHEMERAL_KEY_SLOT)

# Removing.
slot = client.gen_key_pair("nistp256")
client.remove_key(slot)
assert refused(client.get_public_key, slot) and refused(client.remove_key, slot) and refused(client.remove_key, 0)
slot = client.gen_key_pair("nistp256")
client.disable_public_key_export(slot)
assert refused(client.get_public_key, slot)
