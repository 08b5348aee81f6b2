#!/bin/sh
# Writes the program's manual pages and shell completions below $MESON_INSTALL_DESTDIR_PREFIX.
#
#   install.sh SMELT MANDIR DATADIR      folders relative to the prefix
set -eu
smelt=$1
man=$MESON_INSTALL_DESTDIR_PREFIX/$2/man1
data=$MESON_INSTALL_DESTDIR_PREFIX/$3

files=$MESON_BUILD_ROOT/meson-logs/pages.txt # for make uninstall

mkdir -p "$man"
"$smelt" help --man >"$man/smelt.1"
for command in $("$smelt" help | sed -n 's/^  smelt \([a-z]*\) .*/\1/p'); do
    "$smelt" help --man "$command" >"$man/smelt-$command.1"
done

# folder of the shell, name of the script
while read -r shell folder name; do
    mkdir -p "$data/$folder"
    "$smelt" completions "$shell" >"$data/$folder/$name"
done <<END
bash bash-completion/completions smelt
zsh zsh/site-functions _smelt
fish fish/vendor_completions.d smelt.fish
END

printf '%s\n' "$man"/smelt*.1 "$data/bash-completion/completions/smelt" "$data/zsh/site-functions/_smelt" \
    "$data/fish/vendor_completions.d/smelt.fish" >"$files"
