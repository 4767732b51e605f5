"""What the vendor's tutorial "Working with the Zymbit Hardware Wallet" does, call by call."""

import zymkey

client = zymkey.client
generator_key = bytearray(b"3xampleM@sterK3Y")
name = "MyExampleWallet"

strategy = zymkey.RecoveryStrategyBIP39(passphrase="aGk=")
master, words = client.gen_wallet_master_seed("secp256k1", generator_key, name, strategy)
assert len(words.split()) == 24

child = client.gen_wallet_child_key(master, 3, True)
public = client.get_public_key(child)
assert client.get_wallet_node_addr(child) == ("m/3'", name, master)
assert client.get_wallet_node_addr(master) == ("m", name, master)
assert client.get_wallet_key_slot("m/3'", name, master) == child
assert client.get_wallet_key_slot("m/3'", wallet_name=name) == child
assert client.get_wallet_key_slot("m/3'", master_seed_slot=master) == child
for arguments in (("m/4'", name), ("m/3", name), ("m/3'", "NoSuchWallet")):
    try:
        client.get_wallet_key_slot(*arguments)
        raise SystemExit(f"found {arguments}")
    except AssertionError:
        pass

try:
    client.get_public_key(master)
    raise SystemExit("a master seed's public key was exported")
except AssertionError:
    pass
try:
    client.gen_wallet_master_seed("nistp256", bytearray(), name)
    raise SystemExit("two wallets of one name")
except AssertionError:
    pass

signature = client.sign("a text", child)
client.remove_key(master)
assert child not in client.get_slot_alloc_list()[0], "removing the master removes its children"

# The seed comes back, its children do not: they are generated again and are the same.
restored = client.restore_wallet_master_seed("secp256k1", generator_key, name, strategy, words)
used = client.get_slot_alloc_list()[0]
assert [slot for slot in used if slot > 15] == [restored]
child = client.gen_wallet_child_key(restored, 3, True)
assert client.get_public_key(child) == public
assert client.verify("a text", signature, pubkey_slot=child)
client.remove_key(restored)

# Another passphrase, another generator key or another curve gives another key, and no error.
for curve, key, passphrase in (
    ("secp256k1", generator_key, ""),
    ("secp256k1", bytearray(), "aGk="),
    ("nistp256", generator_key, "aGk="),
):
    strategy = zymkey.RecoveryStrategyBIP39(passphrase=passphrase)
    restored = client.restore_wallet_master_seed(curve, key, name, strategy, words)
    assert client.get_public_key(client.gen_wallet_child_key(restored, 3, True)) != public
    client.remove_key(restored)

# The workaround of the vendor's FAQ for the affected firmware.
seed = client.gen_wallet_master_seed("secp256k1", "", "wallet_name")
slot = client.gen_wallet_child_key(seed, 0, False)
assert len(client.get_public_key(slot)) == 64
client.remove_key(slot)
assert client.get_wallet_node_addr(seed)[0] == "m"
client.remove_key(seed)
assert client.get_slot_alloc_list()[0] == list(range(16))
