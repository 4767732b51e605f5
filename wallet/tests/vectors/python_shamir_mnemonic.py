#!/usr/bin/env python3
"""Compares our SLIP-0039 with the reference implementation.

    pip install shamir-mnemonic==0.3.0
    python3 python_shamir_mnemonic.py vectors > python-shamir-mnemonic.json
    cargo run -q -p holdfast-wallet --example slip39-shares | python3 python_shamir_mnemonic.py check

"vectors" writes sets of shares made by it; "check" combines the shares that our own code has made.
"""
import json
import random
import sys

from shamir_mnemonic import combine_mnemonics, shamir

# Group threshold and (member threshold, member count) of each group.
SCHEMES = [
    (1, [(1, 1)]),
    (1, [(2, 3)]),
    (1, [(16, 16)]),
    (2, [(1, 1), (1, 1), (3, 5), (2, 6)]),
    (3, [(2, 2), (3, 16), (1, 1), (5, 7), (4, 4)]),
    (16, [(1, 1)] * 15 + [(2, 16)]),
]


def enough(rng, group_threshold, groups, shares):
    """As many shares of as many groups as are needed, in random order."""
    chosen = []
    for index in rng.sample(range(len(groups)), group_threshold):
        chosen += rng.sample(shares[index], groups[index][0])
    rng.shuffle(chosen)
    return chosen


def vectors():
    rng = random.Random("holdfast")
    shamir.RANDOM_BYTES = rng.randbytes
    result = []
    for number, (group_threshold, groups) in enumerate(SCHEMES):
        for length in (16, 18, 22, 32, 64):
            secret = rng.randbytes(length)
            passphrase = rng.choice(["", "TREZOR", " !\"#~ with spaces "])
            exponent = rng.choice([0, 0, 1, 2]) if number else 5
            extendable = rng.random() < 0.5
            shares = shamir.generate_mnemonics(
                group_threshold, groups, secret, passphrase.encode(), extendable, exponent
            )
            result.append({
                "secret": secret.hex(),
                "passphrase": passphrase,
                "extendable": extendable,
                "iteration_exponent": exponent,
                "shares": enough(rng, group_threshold, groups, shares),
            })
    json.dump(result, sys.stdout, indent=1)
    print()


def check():
    rng = random.Random()
    count = 0
    for made in json.load(sys.stdin):
        groups = [(group["threshold"], len(group["shares"])) for group in made["groups"]]
        shares = [group["shares"] for group in made["groups"]]
        for _ in range(3):
            chosen = enough(rng, made["group_threshold"], groups, shares)
            secret = combine_mnemonics(chosen, made["passphrase"].encode())
            assert secret.hex() == made["secret"], made
            count += 1
    assert count > 0
    print(f"{count} sets of shares give their secret")


{"vectors": vectors, "check": check}[sys.argv[1]]()
