#!/usr/bin/env python3
"""Writes python-mnemonic.json: words of every length and seeds with passphrases that NFKD changes.

    pip install mnemonic==0.21 && python3 python_mnemonic.py > python-mnemonic.json
"""
import json
import random
import sys

from mnemonic import Mnemonic

PASSPHRASES = ["", "TREZOR", "Ünïcödé ﬁ Å", "㍍ガバヴァぱばぐゞちぢ十人十色"]

rng = random.Random("holdfast")
english = Mnemonic("english")
vectors = []
for length in (16, 20, 24, 28, 32):
    for passphrase in PASSPHRASES:
        entropy = rng.randbytes(length)
        words = english.to_mnemonic(entropy)
        seed = Mnemonic.to_seed(words, passphrase)
        vectors.append({"entropy": entropy.hex(), "words": words, "passphrase": passphrase, "seed": seed.hex()})
json.dump(vectors, sys.stdout, indent=1, ensure_ascii=False)
print()
