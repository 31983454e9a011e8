"""Finds the machines that train together, from TF_CONFIG or from the variables that Slurm sets for each task."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from resnet_tf.errors import UserError

# These ports are below those that Linux uses for outgoing connections, 32768 and above.
_FIRST_PORT, _LAST_PORT = 12000, 32000
_TASKS_PER_NODE = 16


@dataclass(frozen=True)
class Cluster:
    """All workers, as one of them sees them; the first worker is the chief.

    Args:
        addresses: Address of each worker, "host:port".
        index: Number of the worker that this process is, from 0.
    """

    addresses: tuple[str, ...]
    index: int


def cluster_of(name: str) -> Cluster | None:
    """Returns the workers that the environment names, or None if the strategy does not join them.

    Args:
        name: Name of the strategy.

    Raises:
        UserError: The environment's variables cannot be understood.
    """
    return find_cluster(os.environ) if name in ("auto", "multiworker") else None


def find_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Returns the workers that the environment names, or None if it names no more than one.

    Args:
        environment: Environment variables, `os.environ`. TF_CONFIG takes precedence over Slurm's variables, because
            someone set it on purpose.

    Raises:
        UserError: The variables cannot be understood.
    """
    if environment.get("TF_CONFIG", "").strip():
        cluster = _from_tf_config(environment["TF_CONFIG"])
    elif int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        cluster = _from_slurm(environment)
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def _from_tf_config(text: str) -> Cluster:
    """Reads TensorFlow's own format, which Kubernetes' training operator writes too; a chief, if any, is the first."""
    try:
        content = json.loads(text)
        jobs = {name: tuple(addresses) for name, addresses in content["cluster"].items()}
        kind, number = content["task"]["type"], int(content["task"]["index"])
        chiefs, workers = jobs.pop("chief", ()), jobs.pop("worker", ())
        index = {"chief": 0, "worker": len(chiefs)}[kind] + number
        addresses = (*chiefs, *workers)
        if jobs or not 0 <= index < len(addresses):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            'TF_CONFIG must be {"cluster": {"worker": ["host:port", …]}, "task": {"type": "worker", "index": N}}, '
            f"received {text!r}"
        ) from error
    return Cluster(addresses, index)


def _from_slurm(environment: Mapping[str, str]) -> Cluster:
    """Reads Slurm's variables.

    TensorFlow's `SlurmClusterResolver` is not used because it sorts hosts by name, which puts n10 before n9 and mixes
    up the ranks.
    """
    names = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID", "SLURM_NODEID")
    missing = [name for name in names if name not in environment]
    if missing:
        raise UserError(
            f"Slurm started several tasks, but {missing[0]} is not set; start them with srun, or set TF_CONFIG"
        )
    job, nodes, tasks, rank, node = (environment[name] for name in names)
    # Two jobs on one node must not use the same port.
    port = _FIRST_PORT + int(job) * _TASKS_PER_NODE % (_LAST_PORT - _FIRST_PORT)
    places = [
        (number, f"{host}:{port + place}")
        for number, (host, count) in enumerate(zip(expand_hosts(nodes), expand_tasks(tasks), strict=True))
        for place in range(count)
    ]
    if places[int(rank)][0] != int(node):
        raise UserError(
            f"the task {rank} of Slurm's step runs on node {node}; start the step with --distribution=block"
        )
    return Cluster(tuple(address for _, address in places), int(rank))


def expand_hosts(text: str) -> list[str]:
    """Returns each host of a list in Slurm's notation, such as "gpu[01-03,7],login".

    Raises:
        UserError: The text is not such a list.
    """
    hosts: list[str] = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        matched = re.fullmatch(r"([^\[\]]*)(?:\[([\d,-]+)\](.*))?", part)
        if matched is None:
            raise UserError(f"Slurm's list of nodes is not understood: {text!r}; set TF_CONFIG")
        before, ranges, after = matched.groups()
        hosts += [before] if ranges is None else [f"{before}{number}{after}" for number in _expand_ranges(ranges)]
    return hosts


def expand_tasks(text: str) -> list[int]:
    """Returns the number of tasks on each node from Slurm's notation, such as "2(x3),1"."""
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text):
        counts += [int(count)] * int(times or 1)
    return counts


def _expand_ranges(text: str) -> list[str]:
    """Returns each number of ranges such as "01-03,7", with its leading zeros."""
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]
    return numbers
