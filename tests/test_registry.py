from typing import Any

import pytest
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from dygait.config_problems import Problem, below
from dygait.errors import UserError
from dygait.registry import Registry, parameters_of


@with_config(ConfigDict(extra="forbid", strict=True))
class Size(TypedDict):
    height: int
    width: int


class Brush:
    def __init__(self, width: int, colour: str = "red", size: Size | None = None, ratio: float = 1.0) -> None:
        self.width, self.colour, self.size, self.ratio = width, colour, size, ratio


class Careful:
    def __init__(self, low: int = 0, high: int = 1) -> None:
        if low >= high:
            raise ValueError(f"low: must be below high, got {low}")
        if high > 100:
            raise ValueError("too high")
        self.low, self.high = low, high


class Handle:
    def __init__(self, tool: dict[str, Any]) -> None:
        with below("tool"):
            self.tool = TOOLS.build(tool)


TOOLS: Registry[type] = Registry("tool")
TOOLS.add("Careful", Careful)


@pytest.fixture
def tools() -> Registry[type]:
    registry: Registry[type] = Registry("tool")
    registry.register("Brush", "Paintbrush")(Brush)
    registry.add("Careful", Careful)
    registry.add("Handle", Handle)
    return registry


class TestNames:
    def test_get_by_name_and_alias(self, tools: Registry[type]) -> None:
        assert tools.get("Brush") is Brush
        assert tools.get("Paintbrush") is Brush
        assert tools.resolve("Paintbrush") == "Brush"
        assert tools.names() == ["Brush", "Careful", "Handle"]
        assert "Brush" in tools
        assert "Paintbrush" in tools
        assert "Chisel" not in tools

    @pytest.mark.parametrize("names", [("Brush",), ("Paintbrush",), ("New", "Brush"), ("New", "Paintbrush")])
    def test_a_name_is_registered_once(self, tools: Registry[type], names: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match=r"the tool '(Brush|Paintbrush)' is registered twice"):
            tools.register(*names)(Careful)
        assert tools.get("Brush") is Brush

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("Brsh", "unknown tool 'Brsh'; did you mean 'Brush'? (valid: Brush, Careful, Handle)"),
            ("brush", "unknown tool 'brush'; did you mean 'Brush'? (valid: Brush, Careful, Handle)"),
            ("Xyzzy", "unknown tool 'Xyzzy' (valid: Brush, Careful, Handle)"),
        ],
    )
    def test_an_unknown_name_lists_the_valid_ones(self, tools: Registry[type], name: str, message: str) -> None:
        with pytest.raises(UserError) as caught:
            tools.get(name)
        assert str(caught.value) == message


class TestBuild:
    def test_keywords_reach_the_constructor(self, tools: Registry[type]) -> None:
        brush = tools.build({"type": "Brush", "width": 3, "size": {"height": 1, "width": 2}})
        assert (brush.width, brush.colour, brush.size) == (3, "red", {"height": 1, "width": 2})
        assert tools.build({"type": "Paintbrush"}, width=4).width == 4

    @pytest.mark.parametrize(
        ("spec", "path", "message"),
        [
            ({"type": "Brush"}, ("width",), "this key is required"),
            ({"type": "Brush", "width": 1, "color": "blue"}, ("color",), "unknown key; did you mean 'colour'?"),
            ({"type": "Brush", "width": "3"}, ("width",), "input should be a valid integer, got '3'"),
            (
                {"type": "Brush", "width": 1, "size": {"height": 1, "widht": 2, "width": 2}},
                ("size", "widht"),
                "unknown key; did you mean 'width'?",
            ),
            ({"type": "Careful", "low": 5}, ("low",), "must be below high, got 5"),
            ({"type": "Careful", "high": 101}, ("type",), "Careful: too high"),
            ({"type": "Handle", "tool": {"type": "Careful", "low": 5}}, ("tool", "low"), "must be below high, got 5"),
            ({"width": 1}, ("type",), "name the tool: one of Brush, Careful, Handle"),
        ],
    )
    def test_problems_are_reported_and_nothing_is_built(
        self, tools: Registry[type], spec: dict[str, Any], path: tuple[str, ...], message: str
    ) -> None:
        assert tools.check(spec) == [Problem(path, message)]
        with pytest.raises(UserError) as caught:
            tools.build(spec)
        assert str(caught.value) == f"{'.'.join(path)}: {message}"

    def test_a_whole_number_is_a_float(self, tools: Registry[type]) -> None:
        assert tools.check({"type": "Brush", "width": 1, "ratio": 2}) == []

    def test_the_specification_is_not_changed(self, tools: Registry[type]) -> None:
        spec = {"type": "Brush", "width": 3}
        tools.build(spec)
        assert spec == {"type": "Brush", "width": 3}

    def test_another_key_may_hold_the_name(self) -> None:
        registry: Registry[type] = Registry("model", key="model")
        registry.add("Brush", Brush)
        assert registry.build({"model": "Brush", "width": 2}).width == 2
        assert registry.check({"type": "Brush"}) == [Problem(("model",), "name the model: one of Brush")]


def test_parameters_of() -> None:
    schema = parameters_of(Brush, skip=("colour",))
    assert list(schema.model_fields) == ["width", "size", "ratio"]
    assert schema.model_fields["width"].is_required()
    assert not schema.model_fields["ratio"].is_required()
