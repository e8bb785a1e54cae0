from pydantic import BaseModel
from typing_extensions import TypedDict

from dygait.config_problems import nested_keys, suggest


class Size(TypedDict, total=False):
    height: int
    width: int


class Brush(BaseModel):
    size: Size | None


def test_suggest() -> None:
    assert suggest("marign", ["margin", "scale"]) == "; did you mean 'margin'?"
    assert suggest("GAITSET", ["GaitSet"]) == "; did you mean 'GaitSet'?"
    assert suggest("dygat", ["DyGait", "Dygait"]) == "; did you mean 'DyGait'?", "the name before its alias"
    assert suggest("quite another", ["margin", "scale"]) == ""
    assert suggest("a", []) == ""


def test_nested_keys() -> None:
    assert nested_keys(Brush, ()) == ["size"]
    assert sorted(nested_keys(Brush, ("size",))) == ["height", "width"]
