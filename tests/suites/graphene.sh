#!/bin/sh
# Puts graphene-pk11 (npm) into DIR/node_modules, with what it needs:
#
#     graphene.sh DIR
#
# The packages are fetched without npm, which Debian packages with several hundred others, and the one addon is compiled
# without node-gyp, which fetches headers from nodejs.org. What is there already is kept.
set -eu

mkdir -p "$1"
cd "$1"
# One at a time.
exec 9>lock
flock 9

# NAME VERSION SHA-512, as in npm's integrity field
fetch() {
    [ -d "node_modules/$1" ] && return
    curl --fail --silent --show-error --location --retry 3 --output package.tgz \
        "https://registry.npmjs.org/$1/-/$1-$2.tgz"
    found=$(openssl dgst -sha512 -binary package.tgz | openssl base64 -A)
    [ "$found" = "$3" ] || { echo "$1 $2 is not what it was: $found" >&2; exit 1; }
    rm -rf unpacked
    mkdir -p unpacked node_modules
    tar -xzf package.tgz -C unpacked --strip-components=1
    rm package.tgz
    mv unpacked "node_modules/$1"
}

fetch graphene-pk11 2.3.6 'ol9Pf7XDv5UTjh1DPqtmQVZQqUheiXBzQVXQWRCLWq78+brKQB0Kum/s0NGEcsd/5NQQG8MFA2U/KNujEoC1fQ=='
fetch pkcs11js 2.1.7 'hstUuhkFoISF8BmTVRtaZzbF09WjE39K3gzZzUrI8WtRu4cYl4gakkd06I4Kq36kR/mkwVw2T2y3kHXk6JvuHQ=='
fetch tslib 2.8.1 'oJFu94HQb+KVduSUQL7wnpmqnfmLsOA/nAh6b6EH0wCEoK0/mPeXU6c3wKDV83MkOuHPRHtSXKKU99IBazS/2w=='
fetch node-api-headers 1.9.0 '2oNILP4jXwRB4ywnYKjVk1YyJ96n2D4EOVJO6S3oYZ5PtbJrw3Yt9TpAuX3nBLMuzn74rnfGQrv13pS9vC+YiA=='

# As pkcs11js/binding.gyp has it.
release=node_modules/pkcs11js/build/Release
if [ ! -e $release/pkcs11.node ]; then
    mkdir -p $release
    source=node_modules/pkcs11js/src
    g++ -shared -fPIC -O1 -std=c++17 -DNAPI_DISABLE_CPP_EXCEPTIONS -DNODE_GYP_MODULE_NAME=pkcs11 \
        -DBUILDING_NODE_EXTENSION -Inode_modules/pkcs11js/includes -Inode_modules/node-api-headers/include \
        $source/dl.cpp $source/common.cpp $source/main.cpp -o $release/pkcs11.tmp
    mv $release/pkcs11.tmp $release/pkcs11.node
fi
