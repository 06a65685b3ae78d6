"""Statistics over all processes, when other processes do not take part."""

from __future__ import annotations

import pytest
import torch.distributed as dist

from didact.machine.distributed import World, alone, connected


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A group of one process, which passes for one of two."""
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    yield
    dist.destroy_process_group()


def test_where_no_processes_are_connected_this_one_is_alone():
    assert connected() == World()


@pytest.mark.usefixtures("group")
def test_an_evaluation_waits_for_nobody():
    assert connected().size == 2
    with alone():
        assert connected() == World()
        with alone():
            pass
        assert connected() == World()
    assert connected().size == 2
