//! What a compiler looked for and didn't find appears, or what it found becomes another: the next compile sees it.
//!
//! Each test runs a script in a mount namespace of its own, in which it may lay over the system's directories, as root. A
//! script compiles until it hits, changes something outside of the sources, and compares with the compiler alone.

use anyhow::Result;
use pumphouse_tests::process::succeed;
use pumphouse_tests::program::program;
use std::process::Command;

/// What the scripts have in common: `overlay DIRECTORY` lets one be changed; `prime COMMAND…` compiles until that is a hit, so
/// that all is remembered that can be; `same COMMAND…` compares; `dump NAME` is the object.
///
/// `settle` waits for time itself: what has just changed is asked for again in any case.
const TOOLS: &str = r#"
set -eu -o pipefail
mkdir "$T/layers" "$T/w"; mount -t tmpfs layers "$T/layers"; cd "$T/w"; S=a.c
trap '"$P" stop >/dev/null' EXIT
overlay() {
    local name; name=$(echo "$1" | tr / _); mkdir -p "$T/layers/upper$name" "$T/layers/work$name"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$T/layers/upper$name,workdir=$T/layers/work$name" "$1"
}
settle() { sleep 0.1; }
hits() { "$P" stats | sed -n 's/^ *local hits *\([0-9]*\).*/\1/p'; }
prime() {
    settle; "$P" "$@" -c $S -o a.o 2>/dev/null; settle; "$P" "$@" -c $S -o a.o 2>/dev/null
    local before; before=$(hits); "$P" "$@" -c $S -o a.o 2>/dev/null
    [ "$(hits)" -gt "$before" ] || { echo "no hit: $*"; "$P" stats; exit 1; }
}
same() {
    local code=0 other=0; rm -f a.o plain.o
    "$@" -c $S -o a.o 2>plain.err || code=$?; [ ! -e a.o ] || mv a.o plain.o
    "$P" "$@" -c $S -o a.o 2>own.err || other=$?
    [ $code = $other ] || { echo "exit codes $code and $other: $*"; cat own.err; exit 1; }
    [ $code != 0 ] || cmp a.o plain.o || { echo "another object: $*"; exit 1; }
    cmp own.err plain.err || { echo "another message: $*"; exit 1; }
}
changed() { cmp -s plain.o "$1" && { echo "nothing changed: the test can't fail"; exit 1; } || true; }
"#;

fn check(script: &str) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("watched-").tempdir()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "bash", "-c"]).arg([TOOLS, script].concat());
    command.env("T", directory.path().canonicalize()?).env("P", program()?);
    command.env("PUMPHOUSE_DIR", directory.path().join("state")).env_remove("PUMPHOUSE_REMOTE");
    succeed(&mut command).map(drop)
}

#[test]
fn a_newer_gcc_appears_beside_clang() -> Result<()> {
    check(
        r"
overlay /usr/lib/gcc; overlay /usr/include/c++; overlay /usr/include/x86_64-linux-gnu
S=a.cpp; printf '#include <own.h>\nint f() { return V; }\n' >a.cpp
version=$(gcc -dumpversion); own=/usr/include/c++/$version; gcc=/usr/lib/gcc/x86_64-linux-gnu/$version
echo '#define V 12' >$own/own.h
prime clang++; cp a.o old.o
mkdir -p /usr/lib/gcc/x86_64-linux-gnu/99 /usr/include/c++/99 /usr/include/x86_64-linux-gnu/c++/99
cp $gcc/crtbegin.o /usr/lib/gcc/x86_64-linux-gnu/99
echo '#define V 99' >/usr/include/c++/99/own.h
same clang++; changed old.o; prime clang++
echo '#define V 98' >/usr/include/c++/99/own.h; same clang++
",
    )
}

#[test]
fn a_library_of_clang_appears() -> Result<()> {
    check(
        r"
overlay /usr/lib/llvm-14
S=a.cpp; printf '#if __has_include(<own.h>)\n#include <own.h>\n#else\n#define V 1\n#endif\nint f() { return V; }\n' >a.cpp
echo -stdlib=libc++ >own.cfg; place=/usr/lib/llvm-14/include/c++
for flags in -stdlib=libc++ --config=./own.cfg -stdlib=libc++,-Wa,-I.; do
    flags=${flags//,-W/ -W}; flags=${flags/--config=/--config }; rm -rf $place; prime clang++ $flags; cp a.o old.o
    mkdir -p $place/v1; echo '#define V 2' >$place/v1/own.h
    same clang++ $flags; changed old.o; prime clang++ $flags
    echo '#define V 3' >$place/v1/own.h; same clang++ $flags
done
",
    )
}

/// A library that marks what the assembler writes.
const LIBRARY: &str = r#"
echo 'int f(void) { return 1; }' >a.c
library=$(ldd /usr/bin/as | awk '/libbfd/ { print $3 }'); name=$(basename "$library")
mark() { sed 's/\.shstrtab/.shstrtaX/' "$library" >"$1/$name"; }
"#;

#[test]
fn a_library_appears_in_the_library_path() -> Result<()> {
    check(&format!(
        "{LIBRARY}{}",
        r"
mkdir first second; export LD_LIBRARY_PATH=$PWD/first:$PWD/absent:$PWD/second
for place in second absent first; do
    prime gcc; mkdir -p $place; mark $place; same gcc; readelf -SW a.o | grep -q shstrtaX; prime gcc
    rm $place/$name; same gcc; readelf -SW a.o | grep -q shstrtab
done
# An empty entry is the working directory.
export LD_LIBRARY_PATH=$PWD/first:
prime gcc; mark .; same gcc; readelf -SW a.o | grep -q shstrtaX
# The same command from another directory finds nothing there.
prime gcc; mkdir other; cp a.c other; cd other; same gcc; readelf -SW a.o | grep -q shstrtab; prime gcc
mark .; same gcc; readelf -SW a.o | grep -q shstrtaX
"
    ))
}

#[test]
fn a_library_appears_where_the_system_looks_first() -> Result<()> {
    check(&format!(
        "{LIBRARY}{}",
        r"
overlay /usr/lib/x86_64-linux-gnu
prime gcc; mkdir -p /usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v2; mark /usr/lib/x86_64-linux-gnu/glibc-hwcaps/x86-64-v2
ldconfig; same gcc; prime gcc
"
    ))
}

/// Two assemblers, and gcc as a program that runs `as` from somewhere.
const ASSEMBLERS: &str = r#"
echo 'int f(void) { return 1; }' >a.c
cat >as.c <<X
#include <unistd.h>
int main(int count, char **from) {
    char *to[500]; int n = 0; to[n++] = "as"; to[n++] = "--defsym"; to[n++] = MARK;
    for (int i = 1; i < count; i++) to[n++] = from[i];
    to[n] = 0; execv("/usr/bin/as", to); return 1;
}
X
gcc -DMARK='"ONE=1"' as.c -o one; gcc -DMARK='"TWO=1"' as.c -o two
"#;

#[test]
fn an_assembler_appears_in_a_relative_directory_of_the_path() -> Result<()> {
    check(&format!(
        "{ASSEMBLERS}{}",
        r"
mkdir first; export PATH=near:$PATH
prime gcc; cp a.o old.o; mkdir -p near; cp one near/as; same gcc; changed old.o
cp a.c first; (cd first; same gcc; prime gcc; mkdir near; cp ../two near/as; same gcc; changed ../old.o)
rm -r near; same gcc; prime gcc
"
    ))
}

#[test]
fn an_assembler_appears_where_a_variable_leads() -> Result<()> {
    check(&format!(
        "{ASSEMBLERS}{}",
        r"
export COMPILER_PATH=near:$PWD/far
prime gcc; cp a.o old.o; mkdir far; cp one far/as; same gcc; changed old.o; rm far/as; prime gcc
mkdir near; cp two near/as; same gcc; changed old.o; rm near/as; prime gcc
mkdir other; cp a.c other; cd other; same gcc; mkdir near; cp ../one near/as; same gcc
"
    ))
}

#[test]
fn an_assembler_that_runs_another_is_never_believed() -> Result<()> {
    check(&format!(
        "{ASSEMBLERS}{}",
        r#"
mkdir bin real; cp one real/as; export PATH=$PWD/bin:$PATH
printf '#!/bin/sh\nexec %s/real/as "$@"\n' "$PWD" >script; chmod +x script
for kind in script one; do
    cp $kind bin/as
    for command in gcc "clang -fno-integrated-as -B$PWD/bin" "gcc -B$PWD/bin"; do
        cp one real/as; same $command; same $command; cp a.o old.o
        [ $kind = one ] || { cp two real/as; same $command; changed old.o; }
    done
done
# They are refused by name.
"$P" stats | grep -E '^ *tool +15 '
"#
    ))
}

#[test]
fn specs_appear_beside_the_compiler_proper() -> Result<()> {
    check(
        r#"
overlay /usr/lib/gcc
printf '#ifdef FOO\n#include "foo.h"\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c; echo '#define V 1' >foo.h
place=$(dirname "$(gcc -print-prog-name=cc1)")
prime gcc; cp a.o old.o
gcc -dumpspecs | sed '/^\*cpp:/{n;s/^/-DFOO /}' >$place/specs
same gcc; changed old.o; same gcc; cp a.o old.o
echo '#define V 2' >foo.h; same gcc; changed old.o
rm $place/specs; same gcc
"#,
    )
}

#[test]
fn specs_appear_where_libraries_are_looked_for() -> Result<()> {
    check(
        r#"
printf '#ifdef FOO\n#include "foo.h"\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c; echo '#define V 1' >foo.h
for variable in LIBRARY_PATH LPATH; do
    for place in "$PWD/lib" near; do
        export $variable=/absent:$place; mkdir $place
        prime gcc; cp a.o old.o
        gcc -dumpspecs | sed '/^\*cpp:/{n;s/^/-DFOO /}' >specs; mv specs $place
        same gcc; changed old.o; same gcc; cp a.o old.o
        echo '#define V 2' >foo.h; same gcc; changed old.o
        rm -r $place; same gcc; unset $variable; echo '#define V 1' >foo.h; prime gcc
    done
done
"#,
    )
}

#[test]
fn a_variable_that_names_another_root_of_gcc_is_followed() -> Result<()> {
    check(
        r"
printf '#if __has_include(<own.h>)\n#include <own.h>\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c
for pair in GCC_ROOT:lib/gcc/x86_64-linux-gnu/$(gcc -dumpversion)/include BINUTILS_ROOT:x86_64-linux-gnu/include; do
    export ${pair%%:*}=$PWD/root; place=root/${pair#*:}
    prime gcc; cp a.o old.o
    mkdir -p $place; echo '#define V 1' >$place/own.h; same gcc; changed old.o
    prime gcc; cp a.o old.o; echo '#define V 2' >$place/own.h; same gcc; changed old.o
    rm -r root; same gcc; unset ${pair%%:*}
done
",
    )
}

#[test]
fn a_configuration_file_appears_beside_clang() -> Result<()> {
    check(
        r#"
overlay /usr/lib/llvm-14/bin
printf '#ifdef FOO\n#include "foo.h"\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c; echo '#define V 1' >foo.h
mkdir bin; ln -s /usr/bin/clang bin/x86_64-pc-linux-gnu-clang; own=$PWD/bin/x86_64-pc-linux-gnu-clang
prime $own; cp a.o old.o
echo '-DFOO' >/usr/lib/llvm-14/bin/x86_64-pc-linux-gnu-clang.cfg
same $own; changed old.o; prime $own; cp a.o old.o
echo '#define V 2' >foo.h; same $own; changed old.o
"#,
    )
}

#[test]
fn a_plugin_is_followed_by_its_short_name() -> Result<()> {
    check(
        r#"
overlay /usr/lib/gcc
echo 'int f(void) { return 1; }' >a.c
cat >plugin.c <<X
#include <unistd.h>
int plugin_is_GPL_compatible;
int plugin_init(void *a, void *b) { write(2, WORD, 4); return 0; }
X
place=$(gcc -print-file-name=plugin); place=$(dirname "$(gcc -print-prog-name=cc1)")/plugin; mkdir -p $place
for word in one two; do gcc -w -shared -fPIC -DWORD="\"$word\\n\"" plugin.c -o $word.so; done
cp one.so $place/own.so; prime gcc -fplugin=own; same gcc -fplugin=own; grep -q one own.err
cp two.so $place/own.so; same gcc -fplugin=own; grep -q two own.err
rm $place/own.so; same gcc -fplugin=own
"#,
    )
}

#[test]
fn a_list_of_a_sanitizer_appears() -> Result<()> {
    check(
        r"
place=$(clang -print-resource-dir); overlay $place; rm -rf $place/share
echo 'int g; int *f(int *p) { return p + *p; }' >a.c
for pair in address:asan_ignorelist.txt memory:msan_ignorelist.txt; do
    flag=-fsanitize=${pair%:*} list=$place/share/${pair#*:}
    prime clang $flag; cp a.o old.o; mkdir -p $place/share; echo 'fun:f' >$list
    same clang $flag; changed old.o; prime clang $flag; echo 'fun:g' >$list; same clang $flag
    rm -r $place/share; same clang $flag
done
",
    )
}

#[test]
fn a_system_root_gets_its_first_headers() -> Result<()> {
    check(
        r#"
printf '#if __has_include(<own.h>)\n#include <own.h>\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c
for command in "gcc --sysroot=$PWD/s" "gcc -isysroot $PWD/s" "clang --sysroot=$PWD/s" "gcc --sysroot s" \
    "gcc -Bs/" "aarch64-linux-gnu-gcc --sysroot=s" "gcc -iprefix s/ -iwithprefix usr/include"; do
    rm -rf s; mkdir s; prime $command; cp a.o old.o
    mkdir -p s/usr/include s/include; echo '#define V 1' >s/usr/include/own.h; echo '#define V 1' >s/include/own.h
    same $command; changed old.o; prime $command; cp a.o old.o
    echo '#define V 2' >s/usr/include/own.h; echo '#define V 2' >s/include/own.h; same $command; changed old.o
    prime $command; mkdir -p s/usr/local/include; echo '#define V 3' >s/usr/local/include/own.h; same $command
done
"#,
    )
}

#[test]
fn directories_of_the_compiler_s_own_appear_and_cease_to_be_duplicates() -> Result<()> {
    check(
        r#"
overlay /usr/local; overlay /usr/lib/gcc; overlay /usr/lib/gcc-cross; overlay /usr/include
printf '#if __has_include(<own.h>)\n#include <own.h>\n#else\n#define V 0\n#endif\nint f(void) { return V; }\n' >a.c
for command in gcc clang; do
    rm -rf /usr/local/include; prime $command; cp a.o old.o
    mkdir /usr/local/include; echo '#define V 1' >/usr/local/include/own.h; same $command; changed old.o
    # A link to a directory that is searched anyway, and then a directory of its own.
    rm -r /usr/local/include; ln -s ../include /usr/local/include; prime $command
    rm /usr/local/include; mkdir /usr/local/include; echo '#define V 2' >/usr/local/include/own.h; same $command; changed old.o
    rm -r /usr/local/include
done
for command in gcc aarch64-linux-gnu-gcc; do
    place=$(dirname "$($command -print-prog-name=cc1)")
    rm -rf $place/include-fixed; prime $command; cp a.o old.o
    mkdir $place/include-fixed; echo '#define V 3' >$place/include-fixed/own.h; same $command; changed old.o
done
"#,
    )
}

#[test]
fn headers_of_equal_content_become_one_file() -> Result<()> {
    check(
        r#"
mkdir x y; printf '#pragma once\nint CAT(v, __COUNTER__);\n' >x/h.h; cp x/h.h y/h.h; touch -d 2001-01-01 y/h.h
printf '#define CAT2(a, b) a##b\n#define CAT(a, b) CAT2(a, b)\n#include "x/h.h"\n#include "y/h.h"\n' >a.c
prime clang; cp a.o old.o
mount --bind x/h.h y/h.h; same clang; changed old.o; umount y/h.h; same clang; prime clang
mount --bind x y; same clang; changed old.o; umount y; same clang; prime clang
for round in 1 2; do
    ln -f x/h.h y/h.h; same clang; changed old.o
    rm y/h.h; cp x/h.h y/h.h; same clang; prime clang
done
# Without the pragma, debug information hangs on it.
printf 'static const char *CAT(v, __COUNTER__) = __FILE__;\n' >x/h.h; cp x/h.h y/h.h
echo 'const char *f(int a) { return a ? v0 : v1; }' >>a.c
prime clang -g; cp a.o old.o; ln -f x/h.h y/h.h; same clang -g; changed old.o
"#,
    )
}

#[test]
fn translations_appear() -> Result<()> {
    check(
        r#"
overlay /usr/share/locale
printf '#warning one\nint f(void) { return 1; }\n' >a.c
export LC_ALL=C.UTF-8 LANGUAGE=xx
prime gcc
mkdir -p /usr/share/locale/xx/LC_MESSAGES
domain=gcc-$(gcc -dumpversion)
printf 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\nmsgid "warning: "\nmsgstr "achtung: "\n' >x.po
msgfmt x.po -o /usr/share/locale/xx/LC_MESSAGES/$domain.mo
same gcc; grep -q achtung own.err; prime gcc
sed -i s/achtung/obacht/ x.po; msgfmt x.po -o /usr/share/locale/xx/LC_MESSAGES/$domain.mo
same gcc; grep -q obacht own.err
"#,
    )
}

#[test]
fn files_that_come_and_go_beside_what_was_looked_for_end_no_memory() -> Result<()> {
    check(
        r#"
echo 'int f(void) { return 1; }' >a.c
mkdir bin; export PATH=$PWD/bin:bin:$PATH
for command in gcc clang; do
    prime $command; "$P" stats --zero >/dev/null 2>&1 || true
    before=$(hits)
    for number in 1 2 3 4 5; do touch bin/$number $number.o /tmp/watched.$$; "$P" $command -c a.c -o a.o; rm /tmp/watched.$$; done
    [ $(($(hits) - before)) = 5 ]
done
"#,
    )
}

#[test]
fn where_nothing_can_be_traced_lists_serve() -> Result<()> {
    // Whoever is traced already can't be traced by us.
    check(
        r#"
echo 'int f(void) { return 1; }' >a.c
strace -f -o /dev/null -e trace=none "$P" daemon >daemon.out 2>&1 & daemon=$!
until [ -S "$PUMPHOUSE_DIR/daemon.sock" ] || "$P" stats >/dev/null 2>&1 && [ -n "$(hits)" ]; do kill -0 $daemon; done
prime gcc; prime clang; same gcc; same clang
grep -rq "can't be traced" daemon.out "$PUMPHOUSE_DIR"
"#,
    )
}
