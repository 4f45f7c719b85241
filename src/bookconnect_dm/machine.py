"""The machine under a PostgreSQL of our own: accounts, programs, processes, ports.

In charge of: whom PostgreSQL may run as, running its programs, and telling its processes apart.
Knows about: the operating system, Linux and macOS, as root or not.
Does not know: clusters, passwords, or what is in a database.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

__all__ = [
    "ROOT_FALLBACK",
    "Account",
    "MachineError",
    "give_to",
    "interruptible",
    "is_server_of",
    "kill_with_children",
    "pick_port",
    "program_version",
    "reachable_programs",
    "run_program",
    "secret_file",
    "unprivileged_account",
]

TIMEOUT_S = 60

# Where things go when root's folder is closed to the account that PostgreSQL runs as.
ROOT_FALLBACK = Path("/var/lib/bookconnect-dm")
# Accounts that a machine may already have for PostgreSQL (Debian, macOS), or else our own.
_ACCOUNTS = ("postgres", "_postgres", "bookconnect-dm")


class MachineError(RuntimeError):
    """A program failed, or the machine lacks something; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """Who PostgreSQL runs as; it refuses to run as root."""

    name: str
    uid: int
    gid: int

    def can_reach(self, path: Path) -> bool:
        """Tell whether every folder above `path` lets this account through."""
        return all(self._may_enter(folder) for folder in path.resolve().parents)

    def _may_enter(self, folder: Path) -> bool:
        status = folder.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & 0o100)
        if status.st_gid == self.gid:
            return bool(status.st_mode & 0o010)
        return bool(status.st_mode & 0o001)


def unprivileged_account() -> Account | None:
    """Return whom to run PostgreSQL as, or None when we are not root and it is ourselves."""
    if os.geteuid() != 0:
        return None
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            return _account(name)
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if useradd is None:
        raise MachineError(
            "PostgreSQL does not run as root: make an account named "
            f"{_ACCOUNTS[-1]}, or start this as another user"
        )
    run_program(
        [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ACCOUNTS[-1]]
    )
    return _account(_ACCOUNTS[-1])


def _account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)


def run_program(
    command: list[str],
    *,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    timeout_s: float | None = TIMEOUT_S,
    meanwhile: Callable[[], None] | None = None,
    keep_open: tuple[int, ...] = (),
) -> str:
    """Run a program to its end and return what it said; its own words become the error.

    `meanwhile` is called a few times a second; `keep_open` are locks that are to last as long as
    the program does, even where we are killed.
    """
    # Its output goes to a file: a started server inherits a pipe and would keep it open.
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        try:
            with subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.defpath, "LC_ALL": "C", **(env or {})},
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us: we stop the server in our own order
                pass_fds=keep_open,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            ) as process:
                status = _wait_for(process, timeout_s, meanwhile)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise MachineError(f"{Path(command[0]).name} did not run: {error}") from error
        output.seek(0)
        said = output.read().strip()
        if status != 0:
            raise MachineError(f"{Path(command[0]).name} failed: {said[-2000:]}")
        return said


def _wait_for(
    process: subprocess.Popen[bytes], timeout_s: float | None, meanwhile: Callable[[], None] | None
) -> int:
    """Wait for the end of a program, and end it where we are interrupted or it takes too long."""
    try:
        if meanwhile is None:
            return process.wait(timeout_s)
        deadline = time.monotonic() + (timeout_s or float("inf"))
        while time.monotonic() < deadline:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
            meanwhile()
        return process.wait(0)
    except BaseException:
        # With those that it has started: they would go on writing where we clear up.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a closed terminal and a plain `kill` end us as Ctrl-C does: in order, and once.

    What was ignored before, as `nohup` has it, stays so.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        for one in before:
            signal.signal(one, signal.SIG_IGN)
        raise KeyboardInterrupt

    handlers = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)}
    before = {one: how for one, how in handlers.items() if how is not signal.SIG_IGN}
    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def give_to(account: Account | None, folder: Path) -> None:
    """Make `account` the owner of `folder` with all that is in it, and close it to all others."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() else 0o600)
        if account is not None:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def program_version(program: Path) -> int:
    """Return the major version that a program of PostgreSQL tells."""
    try:
        said = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, check=True, timeout=10
        ).stdout
        return int(said.split("(PostgreSQL) ")[1].split(".")[0])
    except (OSError, subprocess.SubprocessError, IndexError, ValueError) as error:
        raise MachineError(f"There is no PostgreSQL in {program.parent}.") from error


@contextlib.contextmanager
def secret_file(secret: str, account: Account | None) -> Iterator[Path]:
    """Put a secret into a file that only the server's account can read, for a while."""
    descriptor, name = tempfile.mkstemp(prefix="bookconnect-dm-")
    path = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"{secret}\n")
        if account is not None:
            os.chown(path, account.uid, account.gid)
        yield path
    finally:
        path.unlink(missing_ok=True)


def reachable_programs(bin_dir: Path, account: Account | None) -> Path:
    """Return `bin_dir`, or a copy of it where `account` can get at it."""
    if account is None or account.can_reach(bin_dir / "postgres"):
        return bin_dir
    return _copy_programs(bin_dir)


def _copy_programs(bin_dir: Path) -> Path:
    """Copy a wheel's PostgreSQL out of a folder that only root may enter."""
    install, package = bin_dir.parents[0], bin_dir.parents[1]
    # The libraries that the wheel brings along are found from the programs, by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    name = hashlib.sha256(f"{bin_dir}:{install.stat().st_mtime_ns}".encode()).hexdigest()[:16]
    target = ROOT_FALLBACK / "programs" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            fresh = Path(folder) / name
            without = shutil.ignore_patterns("include")
            shutil.copytree(install, fresh / package.name / install.name, ignore=without)
            if libraries.exists():
                shutil.copytree(libraries, fresh / libraries.name)
            _open_to_all(fresh)
            with contextlib.suppress(OSError):  # another process was quicker: its copy is as good
                fresh.rename(target)
    return target / package.name / install.name / bin_dir.name


def _open_to_all(folder: Path) -> None:
    """Let everybody read what is in `folder`, and run what its owner may run."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def is_server_of(pid: int, pgdata: Path) -> bool:
    """Tell whether process `pid` is the server of `pgdata`; numbers are used again."""
    return str(pgdata) in _command_line(pid)


def _command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    if Path("/proc/self").exists():
        return ""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["/bin/ps", "-o", "command=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        ).stdout
    return ""


def _children_of(pid: int) -> list[int]:
    """Return the processes that `pid` started (Linux only; elsewhere they notice by themselves)."""
    with contextlib.suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
        return [int(child) for child in listed.split()]
    return []


def kill_with_children(pid: int) -> None:
    """Kill a process and its children without a chance to tidy up, and wait until it is gone."""
    for process in (pid, *_children_of(pid)):  # the parent first, or it starts others
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _wait_until_gone(pid)


def _wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if _command_line(pid) == "":  # a zombie that nobody has collected yet
            return
        time.sleep(0.01)
    raise MachineError(f"process {pid} does not go away")


def pick_port(wanted: int) -> int:
    """Return `wanted` while it is free on 127.0.0.1, else a port that is (0: any)."""
    for port in (wanted, 0):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise MachineError("there is no free port on 127.0.0.1")
