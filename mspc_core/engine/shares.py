"""Who takes part in a job of several processes, and which part of a piece of work is whose. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mspc_core.engine.peers import PeerLost, Peers, patience
from mspc_core.errors import InputError


class Group:
    """Process-wide, as torch's own process group is: who the others are, and whether work is shared right now."""

    peers: Peers | None = None
    sharing = False


@contextmanager
def step(name: str, **details: Any) -> Iterator[None]:
    """Leader: have the others take part in what follows (`mspc_core.following` knows the steps by name).

    If it fails here, the others give it up, too; ends when all of them have finished it.
    """
    peers = Group.peers
    if peers is None:
        yield
        return
    peers.tell({"step": name, **details})
    number = peers.step
    try:
        with taking_part():
            yield
    except InputError:
        peers.tell({"step": "abandon"})
        peers.wait_done(number)
        raise
    peers.wait_done(number)


@contextmanager
def taking_part() -> Iterator[None]:
    """Share the work inside the block, where there are other processes."""
    before, Group.sharing = Group.sharing, Group.peers is not None
    try:
        yield
    finally:
        Group.sharing = before


@contextmanager
def alone() -> Iterator[None]:
    """Work as a single process inside the block, within a shared step."""
    before, Group.sharing = Group.sharing, False
    try:
        yield
    finally:
        Group.sharing = before


def members() -> int:
    """How many processes work on this job, whether they share what is under way or not."""
    return Group.peers.size if Group.peers else 1


def size() -> int:
    """How many processes share the work that is under way; 1 where it is not shared."""
    return Group.peers.size if Group.sharing and Group.peers else 1


def number() -> int:
    """This process's place among them, from 0."""
    return Group.peers.number if Group.sharing and Group.peers else 0


def leads() -> bool:
    """Is this the process whose word counts, or the only one?"""
    return number() == 0


def turn_of(task: int) -> bool:
    """Does this process do the task of that number, where each of a few tasks is done by one process?"""
    return task % size() == number()


def share(count: int) -> range:
    """This process's block of `count` things; blocks are in order of the processes, and differ by one at most."""
    return range(count * number() // size(), count * (number() + 1) // size())


def batches(count: int, step: int) -> range:
    """Where this process's batches of a pass over `count` samples start: whole batches, one block of them."""
    own = share(-(-count // step))
    return range(own.start * step, own.stop * step, step)


def own_rows(count: int, step: int) -> int:
    """How many of `count` samples are in this process's batches: all, unless several share the pass."""
    own = batches(count, step)
    return min(own.stop, count) - own.start if len(own) else 0


def meet() -> None:
    """Wait for the others by signs of life: one may be much slower, and an exchange of data waits only so long."""
    if Group.peers:
        Group.peers.meet()


@contextmanager
def collective() -> Iterator[None]:
    """torch reports a lost or silent process as a RuntimeError of many wordings; they go into the log."""
    try:
        yield
    except RuntimeError as error:
        if "timed out" in str(error).lower() or "timeout" in str(error).lower():
            raise PeerLost(f"Another process of this job has not answered for {patience():.0f} s.") from error
        raise PeerLost("The connection to another process of this job broke.") from error
