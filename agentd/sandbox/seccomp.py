"""The system calls that no coding agent needs, made into a filter when a sandbox starts."""

from __future__ import annotations

import errno
import os
from functools import cache

import pyseccomp  # type: ignore[import-untyped]  # ships no types

from agentd.errors import ConfigurationError

DENIED = (
    *("unshare", "setns", "mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("move_mount", "open_tree", "mount_setattr", "ptrace", "process_vm_readv", "process_vm_writev", "memfd_create"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register", "keyctl", "add_key", "request_key", "bpf"),
    *("perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load", "init_module", "finit_module"),
    *("delete_module", "reboot", "swapon", "swapoff", "open_by_handle_at", "acct", "quotactl", "syslog"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "vhangup", "lookup_dcookie", "fanotify_init"),
)
CLONE_NEW = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET"""
TIOCSTI, TIOCLINUX = 0x5412, 0x541C


@cache
def filter_bytes() -> bytes:
    """The filter as BPF. Raises ConfigurationError when libseccomp is not there."""
    try:
        rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    except (RuntimeError, OSError) as error:
        raise ConfigurationError(f"libseccomp cannot be used ({error}); install it (Debian: libseccomp2)") from error
    deny = pyseccomp.ERRNO(errno.EPERM)
    for name in DENIED:
        rules.add_rule(deny, name)
    for flag in CLONE_NEW:
        rules.add_rule(deny, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # Its flags stand in memory, where no filter sees them; the C library then uses clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    for request in (TIOCSTI, TIOCLINUX):
        # The kernel looks at the lower half only.
        rules.add_rule(deny, "ioctl", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xFFFFFFFF, request))
    descriptor = os.memfd_create("agentd-seccomp")
    with os.fdopen(descriptor, "rb") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
