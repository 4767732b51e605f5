"""The vendor's wallet SDK: an Ethereum keyring on a wallet of the device."""

import zymkey
from Crypto.Hash import keccak
from eth_account import Account as EthereumAccount
from web3 import Web3
from zymbitwalletsdk import EthConnect, ZymbitEthKeyring, ZymbitKeyringManager

manager = ZymbitKeyringManager()
slot, words = manager.create_keyring(ZymbitEthKeyring, "sdk wallet", bytearray())
keyring = manager.get_keyring(wallet_name="sdk wallet")
assert keyring.master_slot == slot
accounts = [keyring.add_account(0), *keyring.add_accounts(2), *keyring.add_accounts_list([9, 11])]
assert [account.path[-2:] for account in accounts] == ["/0", "/1", "/2", "/9", "11"]

# The words give the same addresses to somebody else's wallet.
EthereumAccount.enable_unaudited_hdwallet_features()
for account, index in zip(accounts, (0, 1, 2, 9, 11)):
    theirs = EthereumAccount.from_mnemonic(words, account_path=f"m/44'/60'/0'/0/{index}")
    assert account.address == theirs.address

# Often enough to meet a high and a low s.
for n in range(12):
    digest = keccak.new(digest_bits=256)
    digest.update(b"message %d" % n)
    v, r, s = keyring.sign_message(digest, address=accounts[1].address)
    recovered = EthereumAccount._recover_hash(digest.digest(), vrs=(v, r, s))
    assert recovered == accounts[1].address

transaction = EthConnect.create_transaction(chain_id=11155111, nonce=3, to=accounts[0].address, value=1)
signed = keyring.sign_transaction(transaction, address=accounts[1].address)
raw = EthConnect.rlp_serialize_transaction(signed)
assert EthereumAccount.recover_transaction(raw) == accounts[1].address

# Opened again, it finds its accounts by their node addresses.
again = ZymbitEthKeyring(wallet_name="sdk wallet")
assert [account.address for account in again.get_accounts()] == [account.address for account in accounts]
assert keyring.remove_account(address=accounts[4].address)
assert manager.remove_keyring(wallet_name="sdk wallet", remove_master=True)
assert zymkey.client.get_slot_alloc_list()[0] == list(range(16))
