#!/usr/bin/env bash
# Shows that an installed smelt needs nothing but its runtime libraries: a smallest Debian is made in a folder, the
# packages that hold those libraries are put in by name, the installed tree is laid over it, and the program runs there.
#
#   bare.sh MODEL.gguf      as root, on Debian or Ubuntu with debootstrap; works in $BUILD/bare, some 300 MB
#
# Not part of make test: it takes root and the network.  Ends 0 when everything in there ran.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}
model=${1:?usage: tools/bare.sh MODEL.gguf}
here=$build/bare
root=$here/root
for tool in debootstrap dpkg chroot; do
    command -v $tool >/dev/null || { echo "bare: $tool is missing" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "bare: only root can make another root folder" >&2; exit 2; }

rm -rf "$here"
mkdir -p "$here"
meson install -C "$build" --quiet --destdir "$PWD/$here/tree"
program=$(cd "$here/tree" && find . -path '*/bin/smelt' -type f)

# Libraries the program loads, the packages they are in; libc is in every Debian.
packages=$(ldd "$here/tree/$program" | awk '$2 == "=>" { print $3 }' | while read -r lib; do
    dpkg -S "*$(readlink -f "$lib" | sed 's,^/usr,,')" | cut -d: -f1
done | sort -u | grep -v '^libc6$')
suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)
echo "bare: $suite, with $(echo "$packages" | tr '\n' ' ')"
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$here/debootstrap.log" 2>&1 ||
    { tail -n 20 "$here/debootstrap.log"; exit 1; }
before=$(du -sm "$root" | cut -f1)
# shellcheck disable=SC2086
chroot "$root" apt-get install -y --no-install-recommends $packages >"$here/apt.log" 2>&1 ||
    { tail -n 20 "$here/apt.log"; exit 1; }
after=$(du -sm "$root" | cut -f1)
cp -a "$here/tree/." "$root/"
cp -L "$model" "$root/tmp/model.gguf"

inside() {
    chroot "$root" env -i PATH=/usr/local/bin:/usr/bin:/bin LC_ALL=C.UTF-8 "$@"
}
! inside ldd "$program" | grep 'not found'
inside smelt --version
inside smelt --help >/dev/null
inside smelt run -q /tmp/model.gguf --temp 0 -n 24 -p "Name the planets."
inside smelt convert -q /tmp/model.gguf /tmp/Model.mlpackage -c 256 | tail -n 1
inside smelt run -q /tmp/Model.mlpackage --temp 0 -n 24 -p "Name the planets."
echo "bare: the smallest Debian takes $before MB, the libraries $((after - before)) MB, smelt $(du -sm "$here/tree" | cut -f1) MB"
