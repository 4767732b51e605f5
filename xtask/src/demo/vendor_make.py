import zymkey
slot = zymkey.client.gen_key_pair("secp256r1")
signature = zymkey.client.sign("hello", slot=slot)
good = zymkey.client.verify("hello", signature, raise_exception=False, pubkey_slot=slot)
print(f"slot {slot}, signature of {len(signature)} bytes, verified: {good}")
