"""Partitions: training and test ids, built in or from a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from dygait import untrusted
from dygait.config.schema import PartitionLists
from dygait.data.stores.concat import prefixed_id
from dygait.errors import UserError
from dygait.synthetic.settings import is_address, parse_address


@dataclass(frozen=True)
class Partition:
    """Training ids, test ids, and, if a dataset lists them, the keys `id-type-view` of probes and of the gallery."""

    name: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    probe: tuple[str, ...] | None = None
    gallery: tuple[str, ...] | None = None

    @property
    def lists(self) -> PartitionLists:
        """The keys of probes and of the gallery, as `dygait.evaluation.evaluate` takes them."""
        return PartitionLists(probes=_sorted(self.probe), gallery=_sorted(self.gallery))


def _sorted(keys: tuple[str, ...] | None) -> list[str] | None:
    return None if keys is None else sorted(keys)


def _numbers(start: int, stop: int, step: int = 1, digits: int = 5) -> tuple[str, ...]:
    return tuple(f"{number:0{digits}d}" for number in range(start, stop, step))


ALL = "all"
"""The rule that trains on every id on disk and tests none, for training without labels."""

BUILT_IN_PARTITIONS: dict[str, Callable[[], Partition]] = {
    "CASIA-B": lambda: Partition("CASIA-B", _numbers(1, 75, digits=3), _numbers(75, 125, digits=3)),
    "OUMVLP": lambda: Partition("OUMVLP", _numbers(1, 10306, 2), (*_numbers(2, 10307, 2), "10307")),
    "GREW": lambda: Partition(
        "GREW", tuple(f"{number}train" for number in _numbers(1, 20001)), (*_numbers(1, 6001), "probe")
    ),
    ALL: lambda: Partition(ALL, (), ()),  # the ids are known with the data
}


def load_partition(spec: str | None, dataset_name: str) -> Partition:
    """Return a built-in partition, or one from a JSON file.

    Args:
        spec: the path of `{"TRAIN_SET": [...], "TEST_SET": [...], "PROBE_SET": [...], "GALLERY_SET": [...]}`, in which
            unused sets may be absent; a name in `BUILT_IN_PARTITIONS`; an address of SynGait; or None, for the built-in
            partition of the dataset.
        dataset_name: the name of the dataset.

    Raises:
        UserError: there is no such partition or file, or the file is invalid.
    """
    if spec is None or spec in BUILT_IN_PARTITIONS:
        name = spec or dataset_name
        if name in BUILT_IN_PARTITIONS:
            return BUILT_IN_PARTITIONS[name]()
        raise UserError(
            f"data_cfg.dataset_partition: {name} has no built-in partition; give the path of its JSON file "
            f"(built in: {', '.join(BUILT_IN_PARTITIONS)})"
        )
    if is_address(spec):
        ids = parse_address(spec).partition()
        return Partition(spec, tuple(ids["TRAIN_SET"]), tuple(ids["TEST_SET"]))
    try:
        content = untrusted.parse_json(untrusted.read_bytes(spec))
    except FileNotFoundError:
        hint = f"; --set data_cfg.dataset_partition=null for the built-in partition of {dataset_name}"
        hint *= dataset_name in BUILT_IN_PARTITIONS
        raise UserError(f"data_cfg.dataset_partition: no such file: {spec}{hint}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"data_cfg.dataset_partition: {spec} is not readable JSON: {error}") from None
    if not isinstance(content, dict) or not {"TRAIN_SET", "TEST_SET"} & content.keys():
        raise UserError(
            f"data_cfg.dataset_partition: {spec} must contain TRAIN_SET, to train, and TEST_SET, to test: lists of ids"
        )
    sets: dict[str, tuple[str, ...]] = {}
    for key in ("TRAIN_SET", "TEST_SET", "PROBE_SET", "GALLERY_SET"):
        values = content.get(key, [])
        if not isinstance(values, list) or not all(isinstance(v, str) and v for v in values):
            raise UserError(f"data_cfg.dataset_partition: {key} in {spec} must be a list of strings")
        sets[key] = tuple(values)
    both = sorted({*sets["TRAIN_SET"]} & {*sets["TEST_SET"]})
    if both:
        raise UserError(f"data_cfg.dataset_partition: {spec}: {len(both)} ids are in both sets, such as {both[0]}")
    probe, gallery = (sets[key] if key in content else None for key in ("PROBE_SET", "GALLERY_SET"))
    return Partition(str(spec), sets["TRAIN_SET"], sets["TEST_SET"], probe, gallery)


def with_all_ids(partition: Partition, spec: str | list[str] | None, ids: Sequence[str]) -> Partition:
    """Add the ids on disk to the training ids, for each root whose entry of `dataset_partition` is `all`."""
    if isinstance(spec, list):
        prefixes = tuple(prefixed_id(number, "") for number, entry in enumerate(spec, 1) if entry == ALL)
    else:
        prefixes = ("",) if spec == ALL else ()
    return replace(partition, train=(*partition.train, *(name for name in ids if name.startswith(prefixes))))


def coverage(partition: Partition, ids_on_disk: list[str]) -> list[str]:
    """Return a description of the ids that are only in the partition or only on disk."""
    disk = set(ids_on_disk)
    lines = []
    for name, ids in (("train", partition.train), ("test", partition.test)):
        missing = [i for i in ids if i not in disk]
        if missing:
            lines.append(f"{len(missing)} of {len(ids)} {name} ids are not on disk ({_shortened(missing)})")
    unused = sorted(disk - set(partition.train) - set(partition.test))
    if unused:
        lines.append(f"{len(unused)} ids on disk are in neither set ({_shortened(unused)})")
    return lines


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
