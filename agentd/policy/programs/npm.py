"""npm, npx and pnpm. Their scripts are opaque; their own options that choose a shell or a program are refused.

Options are accepted by name, since npm (nopt) completes abbreviations: `--script-s=./e` is `--script-shell`.
"""

from __future__ import annotations

from agentd.policy.allowlist import CommandRules
from agentd.policy.paths import check_inside
from agentd.policy.script import Call, Refused, Word

_OPTIONS_WORDS = """
-D -E -P -O -S -w -F -r -f -s -q -v -h -y -d -a -l --save-dev --save-exact --save --save-prod --save-optional
--no-save --dev --prod --production --frozen-lockfile --no-frozen-lockfile --lockfile-only --json --silent --quiet
--verbose --loglevel --no-audit --audit --no-fund --fund --ignore-scripts --workspace --workspaces --if-present
--omit --include --prefer-offline --offline --yes --no --package --depth --all --long --version --help --filter
--recursive --parallel --force --legacy-peer-deps --strict-peer-deps --no-optional --dry-run --no-color --color
--progress --no-progress --only --parseable --package-lock-only --no-package-lock --stream --no-bail --bail
--workspace-root --audit-level --latest --install-strategy --no-update-notifier --include-workspace-root
"""
_OPTIONS = frozenset(_OPTIONS_WORDS.split())
_VALUED = {
    "npm": frozenset(["-w", "--workspace"]),
    "npx": frozenset(["-p", "--package"]),
    "pnpm": frozenset(["-F", "--filter"]),
}
"""Options whose value may be the next word, whatever it is."""

_SYSTEM_WORDS = """
7z apk apt apt-get as at awk aws az base64 bash batch bc bun busybox bzip2 c99 cargo cc chattr chgrp chmod chown chroot
clang cmake cpan cpio crontab curl cut dash dd deno dig dmesg dnf docker doas dpkg dpkg-deb ed egrep emacs env ex expect
expr fd file find flock ftp g++ gawk gcc gcloud gdb gem gh git-shell go gpg gunzip gzip helm host hostname id install
ionice ip java javac jq kill killall ksh kubectl ld less ln logger logname lua mail make man mawk mknod more mount nano
nawk nc ncat netcat nginx nice nohup nslookup nsenter openssl passwd patch perl php ping pip pip3 pkill podman poetry
ps psql python python2 rbash readlink rg rsync ruby run-parts rustc scp screen script sed service setpriv setsid sftp
shred shuf socat sort split sqlite3 ssh ssh-add ssh-agent ssh-keygen stdbuf strace strings su sudo systemctl tail tar
tclsh tcpdump tee telnet test time timeout tmux top tr truncate ul umount uniq unshare unzip uv uvx vi view vim wall
watch wget which whoami xargs xz yum zip zsh zstd
"""
_SYSTEM = frozenset(_SYSTEM_WORDS.split())
"""Programs of a system that npm would start from /usr/bin, which is its own folder where node came with the system."""

_NPM_WORDS = """
test t tst run run-script rum urn start stop restart install i add ci clean-install uninstall remove rm un update
up upgrade outdated ls list ll la view info show audit fund why explain root bin prefix pack version dedupe ddp
prune rebuild rb doctor ping query search exec x config get init
"""
_NPM = frozenset(_NPM_WORDS.split())
_PNPM_WORDS = """
test t run start stop install i add remove rm uninstall un update up upgrade list ls ll outdated audit why root
bin store fetch import rebuild rb prune dedupe licenses exec config get build lint typecheck type-check format
check-types dev
"""
_PNPM = frozenset(_PNPM_WORDS.split())


def check_npm(call: Call, rules: CommandRules) -> None:
    """npm SUBCOMMAND ..."""
    operands = _operands(call, call.words[1:], everywhere=True)
    if not operands:
        return
    name = _subcommand(call, operands[0], _NPM)
    if name in ("exec", "x") and len(operands) > 1:
        _check_started(call, operands[1:], rules, bare=True)
    elif name == "config" and [word.text for word in operands[1:2]] not in ([], ["get"], ["list"], ["ls"]):
        raise Refused("npm config may only be read (get, list): settings can name programs")
    elif name == "init" and len(operands) > 1:
        raise Refused("npm init with a name downloads and runs a package; use declared dependencies")


def check_npx(call: Call, rules: CommandRules) -> None:
    """npx PACKAGE ...: what follows the package is the package's."""
    operands = _operands(call, call.words[1:], everywhere=False)
    if operands:
        _check_started(call, operands, rules, bare=True)


def check_pnpm(call: Call, rules: CommandRules) -> None:
    """pnpm SUBCOMMAND ...; a name that is none would be looked for among all programs, so only known ones."""
    words = list(call.words[1:])
    while len(words) > 1 and words[0].text in ("-C", "--dir"):
        check_inside(words[1], rules, "pnpm -C")
        words = words[2:]
    operands = _operands(call, tuple(words), everywhere=True)
    if not operands:
        return
    if ":" in operands[0].text and operands[0].is_static:
        return
    name = _subcommand(call, operands[0], _PNPM)
    if name == "exec":
        _check_started(call, operands[1:], rules, bare=False)
    elif name == "config" and [word.text for word in operands[1:2]] not in (["get"], ["list"]):
        raise Refused("pnpm config may only be read (get, list): settings can name programs")


def _subcommand(call: Call, word: Word, allowed: frozenset[str]) -> str:
    if not word.is_static or word.text not in allowed:
        raise Refused(f"{call.name} '{word}' is not allowed; use {call.name} run SCRIPT for scripts of the project")
    return word.text


def _check_started(call: Call, words: list[Word] | tuple[Word, ...], rules: CommandRules, *, bare: bool) -> None:
    """`bare`: a name is looked for among packages first, and then only in the folder of npm's global programs."""
    if not words:
        raise Refused(f"{call.name}: there is no program to run")
    name = words[0]
    if not name.is_static or name.text.startswith((".", "/", "~")):
        raise Refused(f"{call.name}: '{name}' must be the plain name of a package")
    if name.text in rules.names or name.text in _SYSTEM or not bare:
        raise Refused(f"{call.name}: run '{name}' itself, or with npx if it is a package's program")


def _operands(call: Call, words: tuple[Word, ...], *, everywhere: bool) -> list[Word]:
    """Words that are no options; `everywhere`: options are looked for until `--`, else until the first operand."""
    operands: list[Word] = []
    before = ""
    for number, word in enumerate(words):
        is_value = before in _VALUED.get(call.name, ()) and not word.text.startswith("-") and word.is_static
        before = word.text
        if is_value:
            continue
        if word.text == "--" and word.is_static:
            return operands + list(words[number + 1 :])
        if word.may_be_option:
            raise Refused(f"{call.name}: '{word}' may become an option; write it out")
        if not word.text.startswith("-"):
            operands.append(word)
            if not everywhere:
                return operands + list(words[number + 1 :])
        elif word.text.split("=")[0] not in _OPTIONS and not (call.name == "npx" and word.text == "-p"):
            raise Refused(
                f"{call.name} {word.text.split('=')[0]}: this option is not allowed; options of a script go after --"
            )
        elif word.text.split("=")[0] in ("--package", "-p") and word.dynamic:
            raise Refused(f"{call.name}: '{word}' is not known before it runs; write it out")
    return operands
