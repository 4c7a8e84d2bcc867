"""The processes that a launcher started, which share out the work; without a launcher there is one."""

from __future__ import annotations

import os
import platform
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dimbench import __version__, results, units
from dimbench.errors import DimbenchError, UsageError
from dimbench.launcher import Launch, launch
from dimbench.progress import say, stepping

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")

PATIENCE = 1800.0  # seconds: compiling a large network takes many minutes, in which nothing is said
MOST_PATIENCE = 1e6  # eleven days
JOINING = timedelta(minutes=5)  # until all have started
ENDED = "ended/{}"  # why a rank ended early
_SHORTEST, _LATER = 0.0005, 1.1  # seconds before the first look for the others, and how much longer each later pause is
_GRACE = 2.0  # seconds that the first rank gets to say why all of them end


def shared_out(items: Sequence[T], take: Callable[[], int]) -> Iterator[T]:
    """The items whose numbers `take` gives to whoever asks next, so that a slow or lost one holds up no more than the
    item in its hand."""
    while (number := take()) < len(items):
        yield items[number]


def silent(done: float) -> None:
    """The bar of a process that shows none."""


class Watch:
    """How long each of the others has said nothing new. By the clock of the one who waits: theirs may be apart."""

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.patience, self.clock = patience, clock
        self.last: dict[int, tuple[bytes, float]] = {}

    def silent(self, said: Mapping[int, bytes]) -> list[int]:
        """Those who have said the same for longer than there is patience."""
        now = self.clock()
        for rank, word in said.items():
            if rank not in self.last or self.last[rank][0] != word:
                self.last[rank] = (word, now)
        return [rank for rank in said if now - self.last[rank][1] > self.patience]


@dataclass(frozen=True)
class Store:
    """One of torch's, kept at `address`, of which every call ends: its own wait for ever where that machine hangs, and
    hear no signal meanwhile. Then this process ends."""

    store: Any
    address: str
    patience: float

    def add(self, name: str, amount: int) -> int:
        return int(self._asked(lambda: self.store.add(name, amount)))

    def set(self, name: str, value: str) -> None:
        self._asked(lambda: self.store.set(name, value))

    def get(self, name: str) -> bytes:
        return bytes(self._asked(lambda: self.store.get(name)))

    def check(self, names: Sequence[str]) -> bool:
        return bool(self._asked(lambda: self.store.check(list(names))))

    def _asked(self, call: Callable[[], T]) -> T:
        alarm = threading.Timer(self.patience, self._give_up)
        alarm.daemon = True
        alarm.start()
        try:
            return call()
        finally:
            alarm.cancel()

    def _give_up(self) -> None:
        say(
            f"dimbench: rank 0 on {self.address} has not answered for {units.duration(self.patience)}, the time-out "
            "($DIMBENCH_PATIENCE, in seconds); what is drawn is kept: end it, and run again to go on"
        )
        os._exit(1)


@dataclass
class Ranks:
    """This process among its twins; they meet at `store` and, for what is large, in a group of gloo.

    Every rank has to call what exchanges anything (all but `beat` and `device`) in the same order.
    """

    launch: Launch = field(default_factory=Launch)
    store: Any = None  # a Store, but where this process is alone
    lasting: Any = None  # a store that is still there when the launcher starts all of them again
    patience: float = PATIENCE
    lost: set[int] = field(default_factory=set)  # those that hang, for which nobody waits any more
    calls: int = 0
    beats: int = 0
    last_beat: float = 0.0

    @property
    def rank(self) -> int:
        return self.launch.rank

    @property
    def world(self) -> int:
        return self.launch.world

    @property
    def first(self) -> bool:
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the items, decided beforehand."""
        return items[self.rank :: self.world]

    def turns(self, items: Sequence[T]) -> Iterator[T]:
        """The items that this process gets when it asks for the next one: those of a slow one are left to others."""
        if self.world == 1:
            return iter(items)
        name = f"turns/{self._call()}"

        def take() -> int:
            with _store_of_others():
                return self.store.add(name, 1) - 1

        return shared_out(items, take)

    @contextmanager
    def once(self, what: str) -> Iterator[bool]:
        """Inside, whether `what` is for this process to store or print: for the first, unless it did so before the
        launcher started all of them again."""
        mine = self.first and not (self.lasting and self.lasting.check([f"once/{what}"]))
        yield mine
        if mine and self.lasting:
            self.lasting.set(f"once/{what}", "")

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Callable[[float], None]]:
        """A progress bar of the first process; the others show none."""
        with stepping(what, total) if self.first else nullcontext(silent) as progress:
            yield progress

    def device(self, name: str) -> str:
        """`cuda` means a GPU of its own for each process of a machine. UsageError where there are not enough."""
        if name != "cuda" or self.world == 1:
            return name
        import torch

        seen = torch.cuda.device_count()
        if seen == 1:
            return "cuda:0"  # as a launcher leaves each its own; `joined` looks whether it is
        if self.launch.local >= seen:
            raise UsageError(
                f"rank {self.rank} is number {self.launch.local} on {platform.node()}, where torch sees {seen or 'no'} "
                f"NVIDIA GPUs; start {f'{seen} processes' if seen else 'none'} there, or give --device cpu"
            )
        return f"cuda:{self.launch.local}"

    def beat(self) -> None:
        """Tell the others that this process goes on; to be called often."""
        if self.world > 1 and time.monotonic() - self.last_beat > 1:
            self.last_beat = time.monotonic()
            self.beats += 1
            with _store_of_others():
                self.store.set(f"beat/{self.rank}", str(self.beats))

    def wait(self) -> None:
        """Return when all have come here. DimbenchError where one has ended, or has not beaten for too long."""
        if self.world == 1:
            return
        name, watch, pause = f"met/{self._call()}/", Watch(self.patience), _SHORTEST
        absent = list(range(self.world))
        with _store_of_others():
            self.store.set(f"{name}{self.rank}", "")
            while absent := [rank for rank in absent if not self.store.check([f"{name}{rank}"])]:
                self._check_alive(absent, watch)
                time.sleep(pause)
                pause = min(_LATER * pause, 0.25)

    def _check_alive(self, absent: Sequence[int], watch: Watch) -> None:
        for rank in absent:
            if self.store.check([ENDED.format(rank)]):
                if rank == 0:
                    raise SystemExit(1)  # it says why itself
                why = self.store.get(ENDED.format(rank)).decode()
                raise DimbenchError(f"rank {rank} has ended early ({why}); what is drawn is kept: run again to go on")
        for rank in watch.silent({rank: self.store.get(f"beat/{rank}") for rank in absent}):
            host = self.store.get(f"host/{rank}").decode()
            self.lost.add(rank)
            raise DimbenchError(
                f"rank {rank} on {host} has done nothing for {units.duration(self.patience)}, the time-out "
                "($DIMBENCH_PATIENCE, in seconds); what is drawn is kept: end it, and run again to go on"
            )

    def agree(self, make: Callable[[], T]) -> T:
        """What `make` returns in the first process, in all of them."""
        made = make() if self.first else None
        return self.told(made, 0)  # type: ignore[return-value]

    def told(self, value: T, by: int) -> T:
        """What rank `by` calls the value, in all of them."""
        if self.world == 1:
            return value
        import torch.distributed as dist

        self.wait()
        values = [value]
        with _group_of_others():
            dist.broadcast_object_list(values, by)
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """Everyone's value, in all of them."""
        if self.world == 1:
            return [value]
        import torch.distributed as dist

        self.wait()
        values: list[Any] = [None] * self.world
        with _group_of_others():
            dist.all_gather_object(values, value)
        return values

    def handed(self, value: T, by: int) -> T:
        """What rank `by` holds, in the first process; the others keep theirs."""
        if by == 0 or self.rank not in (0, by):
            return value
        import torch.distributed as dist

        values = [value]
        with _group_of_others():
            if self.first:
                dist.recv_object_list(values, by)
            else:
                dist.send_object_list(values, 0)
        return values[0]

    def total(self, part: Tensor) -> Tensor:
        """The sum of everyone's tensor, all of one shape, in place."""
        if self.world > 1:
            import torch.distributed as dist

            self.wait()
            with _group_of_others():
                dist.all_reduce(part)
        return part

    def least(self, part: Tensor) -> Tensor:
        """The least of everyone's tensor, number by number, in place."""
        if self.world > 1:
            import torch.distributed as dist

            self.wait()
            with _group_of_others():
                dist.all_reduce(part, dist.ReduceOp.MIN)
        return part

    def check_same(self, own: Mapping[str, Any]) -> None:
        """Raise UsageError where what decides the figures is not the same in all of them, as where files of one name
        differ from machine to machine."""
        first, *others = self.gathered(dict(own))
        for rank, found in enumerate(others, 1):
            for name in {**first, **found}:
                if found.get(name) != first.get(name):
                    raise UsageError(
                        f"{name} is {first.get(name)} on rank 0 and {found.get(name)} on rank {rank}; give all ranks "
                        "the same files and packages"
                    )

    def all_see(self, folder: Path) -> bool:
        """Whether what one process writes there is there for all, as a file shows that is there for a moment."""
        if self.world == 1:
            return True
        marker = self.agree(lambda: _marked(folder))
        seen = all(self.gathered((folder / marker.name).exists()))
        if self.first:
            marker.unlink(missing_ok=True)
        return seen

    def _call(self) -> int:
        self.calls += 1
        return self.calls


ALONE = Ranks()
_here = ALONE


def here() -> Ranks:
    """This process among those it has joined; alone before."""
    return _here


@contextmanager
def joined() -> Iterator[Ranks]:
    """Inside, the process works with its twins. UsageError where they were started unlike each other or share a GPU;
    what ends one early is told to the others. Inside another `joined` it is the same."""
    global _here
    found = launch()
    if found.world == 1 or _here.world > 1:
        yield _here
        return
    patience = _patience()
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # or it says in a hundred lines what is said here in one
    with _together():
        store, lasting = _met(found, patience)
    _here = Ranks(found, Store(store, found.address, patience), lasting, patience)
    try:
        _check_alike(_here)
        yield _here
        _here.wait()
    except BaseException as error:
        _tell(_here, error)
        raise
    finally:
        _left(_here)
        _here = ALONE


def _patience() -> float:
    """Of the environment, else the usual one."""
    said = os.environ.get("DIMBENCH_PATIENCE", f"{PATIENCE:g}")
    with suppress(ValueError):
        if 1 <= float(said) <= MOST_PATIENCE:
            return float(said)
    raise UsageError(
        f"DIMBENCH_PATIENCE={said!r} is no number of seconds from 1 to {MOST_PATIENCE:.0f}; give one, such as "
        f"{PATIENCE:g}, or leave it out"
    )


def _met(found: Launch, patience: float) -> tuple[Any, Any]:
    """The store of this start, and one for all starts where the launcher keeps such."""
    import torch.distributed as dist

    store: Any
    lasting: Any = None
    if found.name == "torchrun":
        lasting, *_ = next(iter(dist.rendezvous("env://", found.rank, found.world, timeout=JOINING)))
        store = dist.PrefixStore(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}-{found.world}", lasting)
    else:
        store = dist.TCPStore(found.address, found.port, found.world, found.first, JOINING, wait_for_workers=False)
    store.set(f"beat/{found.rank}", "0")
    store.set(f"host/{found.rank}", platform.node())
    if not _come(store, [f"host/{rank}" for rank in range(found.world)], JOINING.total_seconds()):
        raise RuntimeError("some did not come")
    time_out = timedelta(seconds=patience)
    dist.init_process_group("gloo", store=store, rank=found.rank, world_size=found.world, timeout=time_out)
    return store, lasting


def _come(store: Any, keys: Sequence[str], seconds: float) -> bool:
    """Whether all of the keys come within so many seconds. Unlike in the store's own way to wait, signals are heard."""
    end = time.monotonic() + seconds
    while not store.check(list(keys)):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _check_alike(ranks: Ranks) -> None:
    import torch

    versions = {"dimbench": __version__, "torch": torch.__version__, "Python": platform.python_version()}
    if commit := results.describe_machine()["commit"]:
        versions["commit"] = commit
    versions["code"] = results.code()
    own = sys.argv[1:]
    every = ranks.gathered((own, versions, _gpu(ranks, own)))
    words, first_versions, _ = every[0]
    for rank, (other, theirs, _) in enumerate(every):
        for name in (name for name in first_versions if name in theirs):
            if theirs[name] != first_versions[name]:
                raise UsageError(
                    f"rank 0 runs {name} {first_versions[name]} and rank {rank} {theirs[name]}; install the same "
                    "on all machines"
                )
        if other != words:
            raise UsageError(f"{_difference(words, other, rank)}; give all ranks the same command")
    holders: dict[Any, int] = {}
    for rank, (*_, gpu) in enumerate(every):
        if gpu is not None and holders.setdefault(gpu, rank) != rank:
            raise UsageError(
                f"rank {rank} has no GPU of its own but the one of rank {holders[gpu]}, {gpu}; start fewer processes "
                "on that machine"
            )


def _difference(words: Sequence[str], others: Sequence[str], rank: int) -> str:
    """Where two command lines part, by the option before it."""
    place = next(
        (k for k, (a, b) in enumerate(zip(words, others, strict=False)) if a != b), min(len(words), len(others))
    )
    option = next((word for word in reversed(words[:place]) if word.startswith("--")), "")

    def said(line: Sequence[str]) -> str:
        word = line[place] if place < len(line) else "nothing more"
        return word if word.startswith("--") or not option else f"{option} {word}"

    return f"rank 0 was given {said(words)} and rank {rank} {said(others)}"


def _gpu(ranks: Ranks, words: Sequence[str]) -> str | None:
    """Which GPU the command line gives this rank; one that is not there is refused elsewhere."""
    import torch

    named = next((found[1] for word in words if (found := re.fullmatch(r"(?:--device=)?(cuda(?::\d+)?)", word))), None)
    if named is None or not torch.cuda.is_available():
        return None
    device = torch.device(ranks.device(named))
    if device.index >= torch.cuda.device_count():
        return None
    return str(torch.cuda.get_device_properties(device).uuid)


def _marked(folder: Path) -> Path:
    marker = folder / f".seen-by-all-{platform.node()}-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    marker.touch()
    return marker


def _tell(ranks: Ranks, error: BaseException) -> None:
    """Leave word of why this process ends; what the first one says as well is said by it alone."""
    said = str(error) or type(error).__name__
    with suppress(RuntimeError):
        ranks.store.set(ENDED.format(ranks.rank), said)
        if not isinstance(error, DimbenchError):
            return
        if ranks.first:
            time.sleep(_GRACE / 4)  # or the launcher would end it for the others' sake before it has spoken
            return
        if _come(ranks.store, [ENDED.format(0)], _GRACE) and ranks.store.get(ENDED.format(0)).decode() == said:
            ranks.store.set(f"left/{ranks.rank}", "")  # so that the first one speaks now
            time.sleep(_GRACE)
            raise SystemExit(error.exit_code) from None


def _left(ranks: Ranks) -> None:
    """The first process keeps the store, and goes last."""
    import torch.distributed as dist

    with suppress(RuntimeError):
        ranks.store.set(f"left/{ranks.rank}", "")
        if ranks.first:
            others = [f"left/{rank}" for rank in range(ranks.world) if rank not in ranks.lost]
            _come(ranks.store, others, 2 * _GRACE)
        dist.destroy_process_group()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise DimbenchError(
            f"the processes did not find each other within {units.duration(JOINING.total_seconds())} "
            f"({str(error).splitlines()[0][:120]}); look whether all were started, and whether MASTER_ADDR and "
            "MASTER_PORT name a free port of the first one's machine"
        ) from None


@contextmanager
def _group_of_others() -> Iterator[None]:
    try:
        yield
    except RuntimeError:
        raise DimbenchError(
            "another process of this run ended early or hangs; what is drawn is kept: run again to go on"
        ) from None


_store_of_others = _group_of_others
