"""Which process of several this is, by the variables of each launcher."""

from __future__ import annotations

import pytest

from dimbench.errors import UsageError
from dimbench.launcher import Launch, launch

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
STEP = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_STEP_NODELIST": "gpu[03-04]",
}  # fmt: skip
BATCH = {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_LOCALID": "0"}
SALLOC = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8"}
INTERACTIVE = {**STEP, "SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
MPI = {
    "OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 1, 0, 1)),
        (TORCHRUN, (3, 8, 1, 2)),
        (STEP, (5, 8, 1, 4)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"}, (1, 2, 1, 2)),
        (MPI, (2, 4, 2, 4)),
        # Torchrun on each machine, which srun or mpirun started; mpirun in a step of Slurm.
        ({**STEP, **TORCHRUN, "SLURM_NTASKS": "4", "SLURM_PROCID": "1"}, (3, 8, 1, 2)),
        ({**STEP, **MPI}, (2, 4, 2, 4)),
        ({**STEP, "WORLD_SIZE": "8"}, (5, 8, 1, 4)),
        # No twin, though the variables are there.
        (BATCH, (0, 1, 0, 1)),
        (SALLOC, (0, 1, 0, 1)),
        (INTERACTIVE, (0, 1, 0, 1)),
        ({**BATCH, **TORCHRUN}, (3, 8, 1, 2)),
        ({"WORLD_SIZE": "1"}, (0, 1, 0, 1)),
    ],
)
def test_each_launcher_is_understood(environment: dict[str, str], expected: tuple[int, ...]) -> None:
    found = launch(environment)
    assert (found.rank, found.world, found.local, found.beside) == expected


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"RANK": "0"}, "no WORLD_SIZE"),
        ({"WORLD_SIZE": "4"}, "no RANK"),
        ({**STEP, "WORLD_SIZE": "4"}, "WORLD_SIZE=4 and srun started 8"),
        ({**TORCHRUN, "RANK": "8"}, "RANK=8 of 8"),
        ({**TORCHRUN, "WORLD_SIZE": "eight"}, "'eight'"),
        ({**TORCHRUN, "RANK": "9" * 5000}, "'999999999999999999999999999999' is no whole number below a billion"),
        ({**TORCHRUN, "LOCAL_RANK": "2"}, "number 2 of the 2"),
        ({**STEP, "RANK": "0", "WORLD_SIZE": "1"}, "srun started 8 processes and each is told WORLD_SIZE=1"),
        ({"SLURM_PROCID": "1", "SLURM_LOCALID": "0"}, "SLURM_NTASKS is not set"),
        ({**STEP, "MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port; give one from 1 to 65535"),
        ({**MPI, "OMPI_COMM_WORLD_LOCAL_SIZE": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, "MASTER_ADDR is not set"),
    ],
)
def test_what_contradicts_itself_is_one_sentence(environment: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        launch(environment)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("nodes", "first"), [("gpu[03-05,09],login1", "gpu03"), ("a1", "a1"), ("n[1,7]", "n1"), ("x,y[1-2]", "x")]
)
def test_ranks_of_several_machines_meet_on_the_first(nodes: str, first: str) -> None:
    found = launch({**STEP, "SLURM_STEP_NODELIST": nodes})
    other = launch({**STEP, "SLURM_STEP_NODELIST": nodes, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    assert (found.address, found.port) == (other.address, other.port)
    assert found.address == first
    assert launch({**STEP, "MASTER_ADDR": "head", "MASTER_PORT": "1234"}) == Launch(5, 8, 1, 4, "srun", "head", 1234)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (
            {**STEP, "SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_STEP_TASKS_PER_NODE": "2"},
            {"SLURM_STEP_ID": "1"},
        ),
        ({**MPI, "PMIX_NAMESPACE": "prterun-host-12@1"}, {"PMIX_NAMESPACE": "prterun-host-13@1"}),
        ({**MPI, **SALLOC, "PMIX_NAMESPACE": "12"}, {"PMIX_NAMESPACE": "13"}),
    ],
)
def test_ranks_of_one_start_meet_though_each_has_a_script_of_its_own_for_parent(
    own: dict[str, str], other: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = []
    for parent in (1, 2):
        monkeypatch.setattr("os.getppid", lambda parent=parent: parent)
        ports.append(launch({**own, "SLURM_LOCALID": "0"}).port)
    assert ports[0] == ports[1] != launch({**own, "SLURM_LOCALID": "0", **other}).port
