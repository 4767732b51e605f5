#!/usr/bin/env python3
"""Writes bip-utils.json: keys derived by bip_utils (PyPI) on every curve, to compare ours with.

    pip install bip_utils==2.12.3 && python3 bip_utils.py > bip-utils.json
"""
import json
import random
import sys

sys.path.pop(0)  # this file has the library's name

from bip_utils import (  # noqa: E402
    Bip32KeyIndex,
    Bip32Slip10Ed25519,
    Bip32Slip10Nist256p1,
    Bip32Slip10Secp256k1,
    CardanoIcarusBip32,
)

SCHEMES = {
    "secp256k1": Bip32Slip10Secp256k1,
    "p256": Bip32Slip10Nist256p1,
    "ed25519": Bip32Slip10Ed25519,
    "ed25519 (cardano)": CardanoIcarusBip32,
}
PATHS = ["m", "m/0'", "m/511'", "m/2147483647'", "m/44'/60'/0'/0/3", "m/1852'/1815'/0'/2/0", "m/7/8/9"]

rng = random.Random("holdfast")
vectors = []
for curve, scheme in SCHEMES.items():
    for length in (16, 20, 24, 28, 32, 64):
        seed = rng.randbytes(length)
        for path in PATHS:
            steps = path.split("/")[1:]
            if curve == "ed25519":
                steps = [step.rstrip("'") + "'" for step in steps]
            node = scheme.FromSeed(seed)
            for step in steps:
                index = int(step.rstrip("'"))
                node = node.ChildKey(Bip32KeyIndex.HardenIndex(index) if step.endswith("'") else index)
            key = node.PublicKey()
            public = key.RawCompressed().ToBytes()[1:] if "ed25519" in curve else key.RawUncompressed().ToBytes()[1:]
            vectors.append({
                "curve": curve,
                "seed": seed.hex(),
                "path": "/".join(["m", *steps]),
                "private": node.PrivateKey().Raw().ToHex(),
                "public": public.hex(),
                "chain_code": node.ChainCode().ToHex(),
            })
json.dump(vectors, sys.stdout, indent=1)
print()
