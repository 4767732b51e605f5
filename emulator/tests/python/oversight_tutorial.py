"""What the vendor's tutorial "Creating an Oversight (Read Only) Wallet" does, and what it says of such wallets."""

import zymkey

client = zymkey.client


def refused(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except AssertionError:
        return True
    return False


for curve in ("secp256k1", "nistp256"):
    name, oversight_name = f"wallet {curve}", f"oversight {curve}"
    master = client.gen_wallet_master_seed(key_type=curve, master_gen_key="", wallet_name=name)
    slot = client.gen_wallet_child_key(parent_key_slot=master, index=44, hardened=False)
    slot = client.gen_wallet_child_key(parent_key_slot=slot, index=60, hardened=False)
    slot = client.gen_wallet_child_key(parent_key_slot=slot, index=0, hardened=False)
    assert refused(client.gen_wallet_child_key, slot, 1, False, True), "a chain code of a node that is not hardened"
    node, chain_code = client.gen_wallet_child_key(parent_key_slot=slot, index=0, hardened=True, return_chain_code=True)
    assert len(chain_code) == 32
    public = client.get_public_key(node)

    arguments = dict(key_type=curve, pub_key=public, chain_code=chain_code, wallet_name=oversight_name)
    assert refused(client.gen_oversight_wallet, node_addr="m/44/60/0", **arguments), "not a hardened node"
    oversight = client.gen_oversight_wallet(node_addr="m/44/60/0/0'", **arguments)
    assert refused(client.gen_oversight_wallet, node_addr="m/44/60/0/0'", **arguments), "names are unique"
    assert client.get_wallet_node_addr(oversight) == ("m/44/60/0/0'", oversight_name, oversight)
    assert client.get_public_key(oversight) == public

    # The same children, without their private keys.
    for index in (0, 1, 2**31 - 1):
        ours = client.gen_wallet_child_key(node, index, False)
        theirs = client.gen_wallet_child_key(oversight, index, False)
        assert client.get_public_key(ours) == client.get_public_key(theirs)
        assert client.get_wallet_node_addr(theirs) == (f"m/44/60/0/0'/{index}", oversight_name, oversight)
        assert client.get_wallet_key_slot(f"m/44/60/0/0'/{index}", oversight_name) == theirs
        signature = client.sign("a text", ours)
        assert client.verify("a text", signature, pubkey_slot=theirs)
        assert refused(client.sign, "a text", theirs)
        assert refused(client.gen_wallet_child_key, oversight, index, True), "a hardened child of a public key"
    client.remove_key(oversight)
    assert theirs not in client.get_slot_alloc_list()[0]
    assert ours in client.get_slot_alloc_list()[0]
