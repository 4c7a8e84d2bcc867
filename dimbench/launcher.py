"""Which of several processes this one is, as whoever started them says it in the environment; alone where nobody does.

| launcher | rank | processes | rank on its machine | processes of a machine |
| --- | --- | --- | --- | --- |
| torchrun, accelerate | RANK | WORLD_SIZE | LOCAL_RANK | LOCAL_WORLD_SIZE |
| Open MPI | OMPI_COMM_WORLD_RANK | ..._SIZE | ..._LOCAL_RANK | ..._LOCAL_SIZE |
| srun | SLURM_PROCID | SLURM_STEP_NUM_TASKS, SLURM_NTASKS | SLURM_LOCALID | SLURM_STEP_TASKS_PER_NODE |

The innermost decides: torchrun inside srun or mpirun, mpirun inside an allocation of Slurm. The script of a batch job
and the shell of an allocation have Slurm's variables too, and no twin: they are no step that srun started.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

from dimbench.errors import UsageError

SPECIAL_STEPS = [str(0xFFFFFFF0 + k) for k in range(16)]  # Slurm's of batch scripts, interactive shells and the like
DIGITS = r"\d{1,9}"  # nobody starts more processes
FIRST_PORT, PORTS = 20_000, 12_000  # below those that the system gives away


@dataclass(frozen=True)
class Launch:
    """Process `rank` of `world`, number `local` of the `beside` on its machine; `name` is who started them."""

    rank: int = 0
    world: int = 1
    local: int = 0
    beside: int = 1
    name: str = ""
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def first(self) -> bool:
        return self.rank == 0


def launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """Who this process is among its twins. UsageError where the variables contradict each other."""
    slurm, mpi = _slurm(environment), _open_mpi(environment)
    outer = mpi or slurm
    if "RANK" in environment:
        found = _torch(environment)
        if outer and found.world < outer.world:
            raise UsageError(
                f"{outer.name} started {outer.world} processes and each is told WORLD_SIZE={found.world}, so that they "
                "would all do the same; give torchrun --nnodes and --rdzv-endpoint, or start no torchrun"
            )
        return found
    told = _number(environment, "WORLD_SIZE") if "WORLD_SIZE" in environment else None
    if told not in (None, 1, outer.world if outer else None):
        said = f"{outer.name} started {outer.world}" if outer else "there is no RANK"
        raise UsageError(f"WORLD_SIZE={told} and {said}; set both RANK and WORLD_SIZE, or neither")
    return outer or Launch()


def _torch(environment: Mapping[str, str]) -> Launch:
    if "WORLD_SIZE" not in environment:
        raise UsageError(f"RANK={environment['RANK']} and no WORLD_SIZE; set both, or neither")
    world = _number(environment, "WORLD_SIZE")
    local = _number(environment, "LOCAL_RANK") if "LOCAL_RANK" in environment else 0
    beside = _number(environment, "LOCAL_WORLD_SIZE") if "LOCAL_WORLD_SIZE" in environment else world
    return _checked(Launch(_number(environment, "RANK"), world, local, beside, "torchrun"), "RANK")


def _open_mpi(environment: Mapping[str, str]) -> Launch | None:
    name = "OMPI_COMM_WORLD_"
    if f"{name}RANK" not in environment:
        return None
    rank, world, local, beside = (
        _number(environment, name + key) for key in ("RANK", "SIZE", "LOCAL_RANK", "LOCAL_SIZE")
    )
    return _met(_checked(Launch(rank, world, local, beside, "mpirun"), f"{name}RANK"), environment)


def _slurm(environment: Mapping[str, str]) -> Launch | None:
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID"))
    if "SLURM_PROCID" not in environment or (step and step in SPECIAL_STEPS):
        return None
    if step is None and environment["SLURM_PROCID"] == "0" and "SLURM_JOB_ID" in environment:
        return None  # the script of a batch job
    size = "SLURM_STEP_NUM_TASKS" if "SLURM_STEP_NUM_TASKS" in environment else "SLURM_NTASKS"
    world = _number(environment, size)
    beside = _first_count(environment.get("SLURM_STEP_TASKS_PER_NODE", "")) or world
    found = Launch(_number(environment, "SLURM_PROCID"), world, _number(environment, "SLURM_LOCALID"), beside, "srun")
    return _met(_checked(found, "SLURM_PROCID"), environment)


def _checked(found: Launch, rank: str) -> Launch:
    if not 0 <= found.rank < found.world:
        raise UsageError(f"{rank}={found.rank} of {found.world} processes; ranks go from 0 to {found.world - 1}")
    if not 0 <= found.local < found.beside:
        raise UsageError(
            f"{found.name} calls this process number {found.local} of the {found.beside} on its machine; numbers go "
            f"from 0 to {found.beside - 1}"
        )
    return found


def _met(found: Launch, environment: Mapping[str, str]) -> Launch:
    """With the address at which the first of them is met; torchrun says it to torch."""
    nodes = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", ""))
    several = found.beside < found.world
    address = environment.get("MASTER_ADDR") or (_first_host(nodes) if several else "127.0.0.1")
    if not address:
        raise UsageError(
            f"{found.name} started processes on several machines and MASTER_ADDR is not set; set it to the name of the "
            "first machine"
        )
    alike = _start(environment) or ("" if several else str(os.getppid()))  # for all of them, another in each start
    own = FIRST_PORT + crc32(alike.encode()) % PORTS
    port = _number(environment, "MASTER_PORT") if "MASTER_PORT" in environment else own
    if not 0 < port < 2**16:
        raise UsageError(f"MASTER_PORT={port} is no port; give one from 1 to {2**16 - 1}, or leave it out")
    return Launch(found.rank, found.world, found.local, found.beside, found.name, address, port)


def _start(environment: Mapping[str, str]) -> str:
    """What the launcher calls this start; a script between it and each of the processes hides who their parent is."""
    job, step = environment.get("SLURM_JOB_ID"), environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID"))
    return environment.get("PMIX_NAMESPACE") or (f"{job}.{step or 0}" if job else "")


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "")
    if not re.fullmatch(DIGITS, text, re.ASCII):
        given = f"{name}={text[:30]!r} is no whole number below a billion" if text else f"{name} is not set"
        raise UsageError(f"{given}; start the processes with torchrun, srun or mpirun, which set it")
    return int(text)


def _first_count(text: str) -> int:
    """ "2(x3),1" -> 2: Slurm's count of tasks on the first machine."""
    found = re.match(DIGITS, text, re.ASCII)
    return int(found[0]) if found else 0


def _first_host(nodes: str) -> str:
    """ "gpu[03-05,09],login1" -> "gpu03"."""
    found = re.match(r"([^\[,]+)(?:\[(\w+))?", nodes)
    return found[1] + (found[2] or "") if found else ""
