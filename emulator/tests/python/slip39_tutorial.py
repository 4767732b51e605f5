"""What the vendor's tutorial "SLIP39 and Shamir's Wallet Recovery" does, call by call, and what it says of sessions."""

import shamir_mnemonic
import zymkey
from bip_utils import Bip32Slip10Secp256k1

client = zymkey.client
name = "MyExampleWallet"
strategy = zymkey.RecoveryStrategySLIP39(
    group_count=3, group_threshold=2, iteration_exponent=0, variant="", passphrase=""
)


def locked_up():
    for call in (
        lambda: client.gen_wallet_master_seed("secp256k1", "", "another"),
        lambda: client.gen_wallet_master_seed("secp256k1", "", "another", strategy),
        lambda: client.gen_wallet_child_key(other, 1, True),
    ):
        try:
            call()
            raise SystemExit("a wallet function worked while a SLIP39 session was open")
        except AssertionError:
            pass


other = client.gen_wallet_master_seed("nistp256", "", "other")

# Generation: three groups, 2 of 3, 3 of 3 with passwords, 1 of 1.
assert client.gen_wallet_master_seed("secp256k1", "", name, strategy) == 0
locked_up()
client.set_gen_SLIP39_group_info(group_index=0, member_count=3, member_threshold=2)
group_0 = []
for _ in range(3):
    answer, shard = client.add_gen_SLIP39_member_pwd()
    assert answer == -1 and len(shard.split()) == 33
    group_0.append(shard)
locked_up()
client.set_gen_SLIP39_group_info(group_index=1, member_count=3, member_threshold=3)
passwords = ["p@ssw0rd", "T3st", "h3LlO"]
group_1 = {}
for password in passwords:
    answer, group_1[password] = client.add_gen_SLIP39_member_pwd(password)
    assert answer == -1
client.set_gen_SLIP39_group_info(group_index=2, member_count=1, member_threshold=1)
master, last = client.add_gen_SLIP39_member_pwd()
assert master > 15
child = client.gen_wallet_child_key(master, 0, False)
public = client.get_public_key(child)

# Other people's SLIP39 and BIP32 agree, as far as the shards have no passwords, of which the standard knows nothing.
secret = shamir_mnemonic.combine_mnemonics([group_0[0], group_0[2], last], b"")
node = Bip32Slip10Secp256k1.FromSeed(secret).ChildKey(0)
assert node.PublicKey().RawUncompressed().ToBytes()[1:] == bytes(public)

# Restoration with the groups 0 and 1, in any order.
client.remove_key(master)
assert client.restore_wallet_master_seed("secp256k1", "", name, strategy) == -1
locked_up()
assert client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_0[2]) == -1
assert client.add_restore_SLIP39_mnemonic(mnemonic_sentence="not a shard at all") == -1
assert client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_0[2]) == -1, "the same again does not count"
assert client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_0[0]) == -1
for password in (passwords[0], passwords[2]):
    answer = client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_1[password], passphrase=password)
    assert answer == -1
wrong = client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_1[passwords[1]], passphrase="wrong")
assert wrong == -1
master = client.add_restore_SLIP39_mnemonic(mnemonic_sentence=group_1[passwords[1]], passphrase=passwords[1])
assert master > 15
assert client.get_wallet_node_addr(master) == ("m", name, master)
child = client.gen_wallet_child_key(master, 0, False)
assert client.get_public_key(child) == public
client.remove_key(master)

# Cancelling, in either kind of session.
client.gen_wallet_master_seed("secp256k1", "", name, strategy)
client.cancel_SLIP39_session()
client.restore_wallet_master_seed("secp256k1", "", name, strategy)
client.cancel_SLIP39_session()
assert client.gen_wallet_child_key(other, 1, True) > 15
try:
    client.cancel_SLIP39_session()
    raise SystemExit("cancelled a session that was not open")
except AssertionError:
    pass

# Limits: 16 groups of 16 members on this device, iteration exponents to 5.
for groups, threshold, exponent in ((17, 1, 0), (0, 0, 0), (2, 3, 0), (1, 1, 6), (1, 1, -1)):
    try:
        wrong = zymkey.RecoveryStrategySLIP39(groups, threshold, exponent)
        client.gen_wallet_master_seed("secp256k1", "", name, wrong)
        raise SystemExit(f"{groups} groups, threshold {threshold}, exponent {exponent} were accepted")
    except AssertionError:
        pass
everything = zymkey.RecoveryStrategySLIP39(16, 16, 1, passphrase="TREZOR")
client.gen_wallet_master_seed("nistp256", "", name, everything)
shards = []
for group in range(15, -1, -1):
    for count, threshold in ((17, 1), (2, 3), (0, 0)):
        try:
            client.set_gen_SLIP39_group_info(group, count, threshold)
            raise SystemExit(f"{threshold} of {count} members were accepted")
        except AssertionError:
            pass
    client.set_gen_SLIP39_group_info(group, 16, 2)
    for _ in range(16):
        answer, shard = client.add_gen_SLIP39_member_pwd()
        shards.append(shard)
    assert (answer == -1) == (group > 0)
public = client.get_public_key(client.gen_wallet_child_key(answer, 7, True))
client.remove_key(answer)
client.restore_wallet_master_seed("nistp256", "", name, everything)
for group in range(16):
    answer = client.add_restore_SLIP39_mnemonic(shards[group * 16 + 3])
    answer = client.add_restore_SLIP39_mnemonic(shards[group * 16 + (group if group != 3 else 0)])
assert client.get_public_key(client.gen_wallet_child_key(answer, 7, True)) == public
