#!/bin/sh
# Puts pkcs11-provider, which OpenSSL 3 loads, into DIR/pkcs11.so:
#
#     pkcs11-provider.sh DIR
#
# Debian 12 has it in its backports; those are asked here without the system's own package lists being touched. What is
# there already is kept.
set -eu

mkdir -p "$1"
cd "$1"
# One at a time.
exec 9>lock
flock 9
[ -e pkcs11.so ] && exit

mkdir -p lists/partial cache/archives/partial
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
from=http://deb.debian.org/debian
signed='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
printf 'deb %s %s %s main\n' "$signed" "$from" "$release-backports" "$signed" "$from" "$release" >sources.list
apt_get() {
    apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$PWD/lists" \
        -o Dir::Cache="$PWD/cache" -o APT::Sandbox::User=root "$@"
}
apt_get update
apt_get download pkcs11-provider
rm -rf unpacked
dpkg -x pkcs11-provider_*.deb unpacked
cp unpacked/usr/lib/*/ossl-modules/pkcs11.so pkcs11.tmp
rm -rf unpacked lists cache pkcs11-provider_*.deb
mv pkcs11.tmp pkcs11.so
