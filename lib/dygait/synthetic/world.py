"""The world that SynGait shows: knobs of people, wardrobe, cameras, frame rate and segmentation.

One frozen model per section of `data_cfg.syngait`. Every default is what the presets `quick` and `full` show, so a knob
that is not turned changes no picture; `presets.py` has the worlds of the presets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import Self

from dygait.config_problems import SettingsError, validation_problems

Count = Annotated[int, Field(ge=0, le=99)]
Share = Annotated[float, Field(ge=0, le=1)]


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("give the smaller number first")
    return value


Range = Annotated[
    tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], Strict(False), AfterValidator(_ordered)
]
"""The least and the most of what is drawn uniformly."""


class Knobs(BaseModel):
    """A section: hashable, and written with the keys alone that were given."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, protected_namespaces=(), allow_inf_nan=False, validate_default=True
    )

    @model_serializer(mode="wrap")
    def _given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}


class People(Knobs):
    """The subjects, and how much one differs from another and from himself."""

    differ: Literal["both", "gait", "body"] = Field(
        "both",
        description="In what subjects differ: `gait`: only in how they walk and hold themselves, with one body and one "
        "set of clothes for all; `body`: only in body and clothes, with one gait for all; `both`. With `gait` or "
        "`body`, all have the same bag.",
    )
    walks: Annotated[tuple[Count, Count, Count], Strict(False)] = Field(
        (6, 2, 2), description="How many walks each subject has of the types `nm`, `bg` and `cl`; at least one in all."
    )
    variety: float = Field(
        1.0, ge=0, le=2, description="Factor on the spread of bodies and gaits between subjects; 0: all are alike."
    )
    within: float = Field(
        1.0, ge=0, le=5, description="Factor on the spread between walks of one subject: gait, speed, heading, offset."
    )
    gait_variety: float = Field(
        1.0, ge=0, le=2, description="Factor on the spread of gaits between subjects alone, besides `variety`."
    )
    calibrated: float = Field(
        0.0,
        ge=0,
        le=1.5,
        description="How far the mean body and gait are moved to the mean of real silhouettes: narrower, sloping "
        "shoulders, larger heads, shorter arms and feet, quicker and longer steps; 1: all the way.",
    )
    dimorphism: float = Field(
        0.0,
        ge=0,
        le=2,
        description="How far bodies and gaits of women and men, half of the subjects each, are apart; 1: as published.",
    )
    children: Share = Field(0.0, description="Share of children of 4 to 16 years: stature, proportions, cadence.")
    old: Share = Field(0.0, description="Share of people of 65 to 88: shorter and slower steps, stooped.")
    heavy: Share = Field(0.0, description="Share of overweight people, 1.5 to 3.5 standard deviations of build.")
    impaired: Share = Field(
        0.0, description="Share of gaits changed by illness: limp, stiff knee, waddling, shuffling, drop foot."
    )

    @property
    def types(self) -> tuple[str, ...]:
        """The names of the walks of a subject."""
        counts = zip(("nm", "bg", "cl"), self.walks, strict=True)
        return tuple(f"{kind}-{number:02d}" for kind, count in counts for number in range(1, count + 1))


class Wardrobe(Knobs):
    """What subjects wear and carry. All but `outfits` need `outfits` of at least 1."""

    outfits: int = Field(
        0,
        ge=0,
        le=50,
        description="How many outfits each subject owns: the first is worn in `nm` and `bg`, one of the others in each "
        "walk of `cl`. 0: as in CASIA-B, everyday clothes, with a bag in `bg` and in a coat in `cl`.",
    )
    coats: Share = Field(
        0.0, description="Probability that an outfit has a jacket or a coat; half of it for the first."
    )
    long_coats: Share = Field(0.0, description="Share of the coats that reach to the knees or the shins.")
    open_coats: Share = Field(0.0, description="Share of the coats that are open, and flap.")
    skirts: Share = Field(
        0.0,
        description="Probability that a woman's outfit is a skirt or a dress, of any length; a man's: a tenth of it.",
    )
    shorts: Share = Field(0.0, description="Probability that trousers are short.")
    bare_arms: Share = Field(0.0, description="Probability that sleeves are short.")
    hats: Share = Field(0.0, description="Probability of a cap, a hat, a woollen hat or a hood.")
    heels: Share = Field(0.0, description="Probability that a woman's shoes have high heels.")
    boots: Share = Field(0.0, description="Probability of boots.")
    carried: Share = Field(
        0.0,
        description="Probability that something is carried in a walk of `cl`, as it always is in `bg`: a backpack, a "
        "bag on a shoulder, in a hand or across, a box in both arms, a trolley, an umbrella.",
    )
    umbrellas: Share = Field(0.0, description="Share of what is carried that is an open umbrella.")
    hands: Share = Field(
        0.0, description="Probability, in every walk, of a phone at the ear or in front, or of pockets."
    )


class Cameras(Knobs):
    """Where the cameras are, and where the subjects walk. A camera is drawn for each sequence."""

    anywhere: Share = Field(
        0.0, description="Share of the sequences seen from any direction, instead of the one that their view names."
    )
    deviation: float = Field(
        0.0, ge=0, le=45, description="Standard deviation of the direction from the one that the view names, degrees."
    )
    mirrored: Share = Field(0.0, description="Share of the sequences seen from the other side, walking to the right.")
    height: Range | None = Field(None, description="Of the camera above the ground, metres. Null: 0.9 to 1.6, by view.")
    distance: Range | None = Field(
        None, description="Of the camera from the nearest point of the walk, metres, at least 2.2. Null: about 6.4 m."
    )
    pitch: float = Field(40.0, ge=0, le=80, description="The most degrees by which a camera looks down; bounds height.")
    roll: float = Field(0.0, ge=0, le=20, description="Standard deviation of the camera's rotation, degrees.")
    aim: float = Field(
        0.0, ge=0, le=2, description="Standard deviation of the point that the camera aims at, metres beside the walk."
    )
    pixels: Range | None = Field(
        None,
        description="How tall a subject of 1.7 m is in the picture, by the lens: in pixels, in the middle of the walk. "
        "Null: about 100.",
    )
    curve: float = Field(
        0.0, ge=0, le=30, description="A walk is a curve, to the left or right, by up to so many degrees per metre."
    )
    metres: float = Field(
        4.0, gt=0, le=20, description="Length of the walk that is seen; who leaves it has fewer frames."
    )


class FrameRate(Knobs):
    """Frames per second."""

    per_second: Range = Field((25.0, 25.0), description="Drawn for each walk, uniformly on a logarithmic scale.")

    @field_validator("per_second")
    @classmethod
    def _possible(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 5 <= value[0] <= value[1] <= 120:
            raise ValueError("give two numbers between 5 and 120")
        return value


class Segmentation(Knobs):
    """How silhouettes are cut out of pictures, and normalised; drawn for each sequence."""

    subtraction: float = Field(
        1.0, ge=0, description="Weight of background subtraction: outlines ragged, holes, parts missing, specks."
    )
    network: float = Field(
        0.0,
        ge=0,
        description="Weight of networks: outlines smooth, gaps closed, parts missing, a bag missing, and late (mixed "
        "with the frame before).",
    )
    strength: Range = Field((1.0, 1.0), description="Of the faults of both: 0: few, 1: as in CASIA-B, 3: bad.")
    shadow: Share = Field(
        0.0, description="Share of the sequences cut out by subtraction in which the legs' shadows are taken for them."
    )
    smoothing: Share = Field(0.0, description="Share of the sequences that are smoothed by a median filter of 3 or 5.")
    motion_blur: Share = Field(
        0.0, description="Share of the sequences with long exposures, nearly to the next frame: what moves is blurred."
    )
    occlusion: Share = Field(
        0.0,
        description="Share of the sequences of which furniture, a post or the picture's edge hides a part for a time.",
    )
    box_error: float = Field(
        0.0,
        ge=0,
        le=0.2,
        description="Standard deviation of the errors of the box by which silhouettes are normalised (top, bottom, "
        "centre), as a part of the height.",
    )
    edge_specks: Share = Field(
        0.0, description="Share of the sequences with a speck above or below the body in some frames, which shrinks it."
    )
    binary: Share = Field(0.0, description="Share of the sequences whose normalised frames are two-valued.")

    @model_validator(mode="after")
    def _some_kind(self) -> Self:
        if self.subtraction + self.network <= 0:
            raise ValueError("subtraction and network: give at least one of them a positive weight")
        return self


class World(Knobs):
    """Knobs of SynGait's data, for the addresses in `dataset_root`; they replace those of the address's preset."""

    people: People = Field(People(), description="See `data_cfg.syngait.people`.")
    wardrobe: Wardrobe = Field(Wardrobe(), description="See `data_cfg.syngait.wardrobe`.")
    cameras: Cameras = Field(Cameras(), description="See `data_cfg.syngait.cameras`.")
    frame_rate: FrameRate = Field(FrameRate(), description="See `data_cfg.syngait.frame_rate`.")
    segmentation: Segmentation = Field(Segmentation(), description="See `data_cfg.syngait.segmentation`.")

    @property
    def is_plain(self) -> bool:
        """Whether cameras and segmentation are those of `quick` and `full`, whose pictures are defined to the pixel."""
        return self.cameras == Cameras() and self.segmentation == Segmentation()

    def replaced(self, changes: Mapping[str, Any]) -> World:
        """Return a world with some knobs replaced.

        Args:
            changes: section -> knob -> value, as in YAML.

        Raises:
            SettingsError: an unknown key or an invalid value.
        """
        own = self.model_dump()
        merged = own | {
            name: own.get(name, {}) | dict(new) if isinstance(new, Mapping) else new for name, new in changes.items()
        }
        try:
            return World.model_validate(merged)
        except ValidationError as error:
            raise SettingsError(validation_problems(error, World)) from None

    def differences(self, other: World) -> dict[str, str]:
        """Return the knobs whose values differ from another world's, as an address has them: `section.knob` -> text."""
        return {
            f"{section}.{key}": _text(value)
            for section in World.model_fields
            for key in getattr(self, section).__class__.model_fields
            if (value := getattr(getattr(self, section), key)) != getattr(getattr(other, section), key)
        }


def parse_knob(text: str) -> Any:
    """Return the value of a knob in an address: a number, a word, `true`, `false`, `none`, or a list with commas."""
    if "," in text:
        return [parse_knob(part) for part in text.split(",")]
    words = {"true": True, "false": False, "none": None}
    if text in words:
        return words[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
