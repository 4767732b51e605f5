"""Keys derived on the device against those of bip_utils."""

import base64
import hashlib
import hmac

import zymkey
from bip_utils import (
    Bip32Slip10Ed25519,
    Bip32Slip10Nist256p1,
    Bip32Slip10Secp256k1,
    Bip39MnemonicValidator,
    Bip39SeedGenerator,
    CardanoIcarusSeedGenerator,
)
from bip_utils.cardano.bip32 import CardanoIcarusBip32

client = zymkey.client
HARDENED = 1 << 31


def public_of(node):
    raw = node.PublicKey().RawUncompressed().ToBytes()
    # The curves of 32 bytes come with a byte in front.
    return raw[1:]


def check(key_type, words, strategy, seed, library, paths, generator_key=b""):
    name = f"derivation {len(client.get_slot_alloc_list()[0])}"
    master = client.restore_wallet_master_seed(key_type, bytearray(generator_key), name, strategy, words)
    for path in paths:
        slot, node = master, library.FromSeed(seed)
        for index, hardened in path:
            try:
                address = client.get_wallet_node_addr(slot)[0] + f"/{index}" + ("'" if hardened else "")
                slot = client.get_wallet_key_slot(address, name)
            except AssertionError:
                slot = client.gen_wallet_child_key(slot, index, hardened)
            node = node.ChildKey(index | HARDENED if hardened else index)
        assert bytes(client.get_public_key(slot)) == public_of(node), (key_type, path)
        code = node.ChainCode().ToBytes()
        if path[-1][1]:
            client.remove_key(slot)
            parent = client.get_wallet_key_slot(address.rsplit("/", 1)[0], name)
            slot, returned = client.gen_wallet_child_key(parent, *path[-1], return_chain_code=True)
            assert bytes(returned) == code
    client.remove_key(master)


HARD = [[(0, True)], [(2**31 - 1, True)], [(44, True), (60, True), (0, True)], [(n, True) for n in range(8)]]
SOFT = [[(0, False)], [(44, True), (60, True), (0, True), (0, False), (5, False)], [(1, False), (2, True), (3, False)]]

for round in range(4):
    strategy = zymkey.RecoveryStrategyBIP39(passphrase="" if round % 2 else "dGVzdA==")
    slot, words = client.gen_wallet_master_seed("nistp256", bytearray(), "words", strategy)
    client.remove_key(slot)
    assert Bip39MnemonicValidator().IsValid(words)
    seed = Bip39SeedGenerator(words).Generate(base64.b64decode(strategy.passphrase).decode())
    check("secp256k1", words, strategy, seed, Bip32Slip10Secp256k1, HARD + SOFT)
    check("nistp256", words, strategy, seed, Bip32Slip10Nist256p1, HARD + SOFT)
    check("ed25519", words, strategy, seed, Bip32Slip10Ed25519, HARD)

    # How the emulator mixes the master generator key in is its own choice; that it does is the vendor's word.
    mixed = hmac.new(b"generator", seed, hashlib.sha512).digest()
    check("nistp256", words, strategy, mixed, Bip32Slip10Nist256p1, HARD, b"generator")

    cardano = zymkey.RecoveryStrategyBIP39(variant="cardano")
    check("ed25519", words, cardano, CardanoIcarusSeedGenerator(words).Generate(), CardanoIcarusBip32, HARD + SOFT)
    slot = client.restore_wallet_master_seed("ed25519", bytearray(), "cardano", cardano, words)
    child = client.gen_wallet_child_key(slot, 1852, True)
    assert client.verify("a text", client.sign("a text", child), pubkey_slot=child)
    client.remove_key(slot)

# Ed25519 has hardened children only.
slot = client.gen_wallet_master_seed("ed25519", bytearray(), "ed25519")
try:
    client.gen_wallet_child_key(slot, 0, False)
    raise SystemExit("a child that SLIP-0010 does not define")
except AssertionError:
    pass
