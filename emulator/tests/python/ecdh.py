"""ECDH and its key derivation functions through the vendor's client, against Python's own."""

import hashlib
import hmac

import ecdsa
import zymkey

client = zymkey.client


def hkdf(digest, secret, salt, info, length):
    key = hmac.new(salt or bytes(digest().digest_size), secret, digest).digest()
    output, block = b"", b""
    for n in range(1, -(-length // digest().digest_size) + 1):
        block = hmac.new(key, block + info + bytes([n]), digest).digest()
        output += block
    return output[:length]


for name, curve in {"nistp256": ecdsa.NIST256p, "secp256k1": ecdsa.SECP256k1}.items():
    slot = client.gen_key_pair(name)
    peer = ecdsa.SigningKey.generate(curve)
    ours = ecdsa.VerifyingKey.from_string(bytes(client.get_public_key(slot)), curve=curve)
    secret = ecdsa.ECDH(curve, peer, ours).generate_sharedsecret_bytes()
    public = list(peer.verifying_key.to_string())
    assert bytes(client.ecdh(slot, public)) == secret

    # The peer's key in the foreign store, and in the device's own.
    foreign = client.store_foreign_public_key(name, bytearray(public))
    assert bytes(client.ecdh(slot, foreign)) == secret
    own = client.gen_key_pair(name)
    assert client.ecdh(slot, own, peer_pubkey_slot_is_foreign=False) == client.ecdh(
        own, slot, peer_pubkey_slot_is_foreign=False
    )

    salt, info = list(b"a salt"), list(b"some info")
    for length in (16, 32, 100):
        for function, digest in (("rfc5869-sha256", hashlib.sha256), ("rfc5869-sha512", hashlib.sha512)):
            for peer_key in (public, foreign):
                derived = client.ecdh(slot, peer_key, function, salt, info, derived_key_size=length)
                assert bytes(derived) == hkdf(digest, secret, b"a salt", b"some info", length)
            derived = client.ecdh(slot, public, function, derived_key_size=length)
            assert bytes(derived) == hkdf(digest, secret, b"", b"", length)
        for function, digest in (("pbkdf2-sha256", "sha256"), ("pbkdf2-sha512", "sha512")):
            derived = client.ecdh(slot, public, function, salt, num_iterations=77, derived_key_size=length)
            assert bytes(derived) == hashlib.pbkdf2_hmac(digest, secret, b"a salt", 77, length)

client.gen_ephemeral_key_pair("x25519")
slot = client.gen_key_pair("x25519")
assert client.ecdh(-1, list(client.get_public_key(slot))) == client.ecdh(slot, list(client.get_public_key(-1)))
