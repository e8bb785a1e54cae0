"""The benchmark against OpenGait, without OpenGait itself: our training step from its weights."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dygait.config import load_config
from dygait.modeling import build_model
from dygait.modeling.opengait_names import in_opengait_names
from helpers.experiments import REPOSITORY
from helpers.scripts import load_script, run_script

GAITSET = REPOSITORY / "tests" / "assets" / "opengait" / "gaitset.yaml"


@pytest.fixture
def script() -> Any:
    return load_script("benchmark_opengait")


def test_no_checkout(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no checkout of OpenGait"):
        run_script(script, [str(tmp_path)], monkeypatch)


def test_our_step(script: Any, tmp_path: Path) -> None:
    """The first losses follow from the weights in the file, have OpenGait's names, and change with each step."""
    config = load_config(GAITSET, warn=lambda _: None)
    model = build_model(config.model_cfg.model_dump(exclude_none=True), "CASIA-B")
    torch.save({"model": in_opengait_names(model, model.state_dict())}, tmp_path / "weights.pt")
    steps = [script.our_step(GAITSET, script.CASES["GaitSet"], (2, 2, 3), tmp_path / "weights.pt") for _ in range(2)]
    first, repeated, second = steps[0](), steps[1](), steps[1]()
    assert first == repeated != second
    assert {"triplet/loss", "gradient_norm"} <= first.keys()
