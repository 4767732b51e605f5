import sys, zymkey
slot = int(sys.argv[1])
allocated, _ = zymkey.client.get_slot_alloc_list()
print(f"slot {slot} allocated: {slot in allocated}")
try:
    print("public key", zymkey.client.get_public_key(slot).hex())
    zymkey.client.sign("hello", slot=slot)
    print("signs")
except AssertionError as error:
    print("the device refuses it:", error)
