import copy
import os
import warnings
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from dygait import distributed
from dygait.errors import Interrupted, UserError
from dygait.modeling.layers import channels_last
from helpers.experiments import free_port
from helpers.processes import in_processes

CPU = torch.device("cpu")


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def _launched(_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("MASTER_PORT", str(free_port()))


class TestOneProcess:
    def test_collectives_return_their_input(self) -> None:
        assert (distributed.rank(), distributed.world_size(), distributed.local_processes()) == (0, 1, 1)
        assert distributed.is_main()
        rows = torch.arange(6.0).reshape(3, 2).requires_grad_()
        for result in (distributed.gather_with_gradient(rows), distributed.gather(rows)):
            assert result is rows
        assert distributed.all_gather_object("a") == ["a"]
        assert distributed.mean_over_processes({"a": 1.5}, CPU) == {"a": 1.5}
        distributed.barrier()

    def test_main_first_runs_once_and_lets_errors_through(self) -> None:
        calls: list[int] = []
        assert distributed.main_first(lambda: calls.append(1) or "done") == "done"
        assert calls == [1]

        def fail() -> None:
            raise UserError("fix it")

        with pytest.raises(UserError, match=r"^fix it$"):
            distributed.main_first(fail)

    @pytest.mark.usefixtures("_threads")
    def test_process_group_without_a_launcher_makes_no_group(self) -> None:
        with distributed.process_group() as device:
            assert not torch.distributed.is_initialized()
            assert device.type in ("cpu", "cuda")

    @pytest.mark.usefixtures("_launched")
    def test_a_gradient_in_another_layout_is_no_warning(self) -> None:
        """With channels-last maps, the gradient of a weight of one channel or pixel has other strides than it."""
        network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Conv2d(4, 3, 1), torch.nn.Conv2d(3, 2, 3))
        reference = copy.deepcopy(network)
        maps = channels_last(torch.rand(2, 1, 9, 8))
        torch.set_warn_always(True)
        try:
            with distributed.process_group() as device, warnings.catch_warnings():
                warnings.simplefilter("error")
                model = distributed.data_parallel(network, device)
                model(maps.to(device)).square().sum().backward()
                del model
        finally:
            torch.set_warn_always(False)
        reference(maps).square().sum().backward()
        for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)

    @pytest.mark.usefixtures("_launched")
    @pytest.mark.parametrize("context", ["raised", "raised while another was handled"])
    def test_objects_of_an_error_are_freed_first(self, monkeypatch: pytest.MonkeyPatch, context: str) -> None:
        """Freeing a network after the process group would end the group with the GIL held, which may deadlock."""
        references: list[weakref.ref[torch.nn.Module]] = []
        was_freed: list[bool] = []
        destroy = torch.distributed.destroy_process_group
        monkeypatch.setattr(
            torch.distributed, "destroy_process_group", lambda: (was_freed.append(references[0]() is None), destroy())
        )

        def work() -> None:
            network = torch.nn.Linear(1, 1)
            references.append(weakref.ref(network))
            raise Interrupted("saved")

        def work_and_clean_up() -> None:
            try:
                work()
            except Interrupted:
                raise UserError("no room") from None

        function, error = (work, Interrupted) if context == "raised" else (work_and_clean_up, UserError)
        with pytest.raises(error), distributed.process_group():
            function()
        assert was_freed == [True]


class TestEnvironment:
    def test_processes_of_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("WORLD_SIZE", "8")
        assert distributed.local_processes() == 8  # old launchers do not set LOCAL_WORLD_SIZE
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
        assert distributed.local_processes() == 4

    @pytest.mark.parametrize(
        ("gpus", "processes", "expected"), [(0, 1, "cpu"), (1, 2, "cpu"), (2, 2, "cuda:1"), (4, 2, "cuda:1")]
    )
    def test_a_gpu_only_where_every_process_has_one(
        self, monkeypatch: pytest.MonkeyPatch, gpus: int, processes: int, expected: str
    ) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        assert distributed.choose_device(1, processes) == torch.device(expected)


def failing_on(ranks: tuple[int, ...]) -> str:
    """Return the outcome of `main_first` with a function that fails on these ranks."""

    def work() -> int:
        if distributed.rank() in ranks:
            raise UserError(f"no data, says {distributed.rank()}")
        return distributed.rank()

    try:
        return f"returned {distributed.main_first(work)}"
    except UserError as error:
        return f"raised {error}"


def order_of_work(folder: str) -> bool:
    """Return whether this process, at its turn, found a file that rank 0 had written."""

    def work() -> bool:
        path = os.path.join(folder, "written-by-main")  # noqa: PTH118
        exists = os.path.exists(path)  # noqa: PTH110
        if distributed.is_main():
            with open(path, "w") as file:  # noqa: PTH123
                file.write("here")
        return exists

    return distributed.main_first(work)


def collective_results(folder: str) -> dict[str, Any]:
    rank, world = distributed.rank(), distributed.world_size()
    rows = (torch.arange(6.0, dtype=torch.float64).reshape(3, 2) + 10 * rank).requires_grad_()
    together = distributed.gather_with_gradient(rows)
    # The sum of cubes: its gradient differs between rows.
    (together**3).sum().backward()
    return {
        "rank": rank,
        "world": world,
        "is_main": distributed.is_main(),
        "rows": rows.detach(),
        "together": together.detach(),
        "gradient": rows.grad,
        "gathered": distributed.gather(rows),
        "labels": distributed.gather(torch.tensor([rank, 5])),
        "transposed": distributed.gather(torch.tensor([[1, 2], [3, 4]]).T + 10 * rank),
        "collected": distributed.all_gather_object(["a"] * rank),
        "mean": distributed.mean_over_processes({"b": float(rank), "a": 3.0}, CPU),
        "no error": failing_on(()),
        "main fails": failing_on((0,)),
        "main was first": order_of_work(folder),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    return in_processes(collective_results, 2, folder, str(folder))


class TestTwoProcesses:
    def test_gather(self, results: list[dict[str, Any]]) -> None:
        all_rows = torch.cat([s["rows"] for s in results])
        for s in results:
            assert torch.equal(s["together"], all_rows)
            # The full gradient of the loss of the whole batch with respect to the rows of this process.
            assert torch.equal(s["gradient"], 3 * s["rows"] ** 2)
            assert torch.equal(s["gathered"], all_rows)
            assert not s["gathered"].requires_grad
            assert s["labels"].tolist() == [0, 5, 1, 5]
            assert s["transposed"].tolist() == [[1, 3], [2, 4], [11, 13], [12, 14]]

    def test_objects_and_errors(self, results: list[dict[str, Any]]) -> None:
        assert [(s["rank"], s["world"], s["is_main"]) for s in results] == [(0, 2, True), (1, 2, False)]
        assert [s["collected"] for s in results] == [[[], ["a"]]] * 2
        assert [s["mean"] for s in results] == [{"a": 3.0, "b": 0.5}] * 2
        assert [s["no error"] for s in results] == ["returned 0", "returned 1"]
        assert [s["main was first"] for s in results] == [False, True]
        assert [s["main fails"] for s in results] == ["raised no data, says 0"] * 2
