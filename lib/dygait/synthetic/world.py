"""The world that SynGait shows: knobs of people, wardrobe, cameras, frame rate and segmentation.

One frozen model per section of `data_cfg.syngait`. Every default is what the presets `quick` and `full` show, so a knob
that is not turned changes no picture; :data:`WILD` is the preset for training networks for real data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    model_serializer,
)

from dygait.registry import SettingsError, validation_problems

Count = Annotated[int, Field(ge=0, le=99)]
Share = Annotated[float, Field(ge=0, le=1)]


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
        "shoulders, shorter arms and feet, thicker soles, quicker steps; 1: all the way.",
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
    """Where the cameras are, and where the subjects walk."""


class FrameRate(Knobs):
    """Frames per second."""


class Segmentation(Knobs):
    """How silhouettes are cut out of pictures, and normalised."""


class World(Knobs):
    """Knobs of SynGait's data, for the addresses in `dataset_root`; they replace those of the address's preset."""

    people: People = Field(People(), description="See `data_cfg.syngait.people`.")
    wardrobe: Wardrobe = Field(Wardrobe(), description="See `data_cfg.syngait.wardrobe`.")
    cameras: Cameras = Field(Cameras(), description="See `data_cfg.syngait.cameras`.")
    frame_rate: FrameRate = Field(FrameRate(), description="See `data_cfg.syngait.frame_rate`.")
    segmentation: Segmentation = Field(Segmentation(), description="See `data_cfg.syngait.segmentation`.")

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


CASIA = World()
"""What `quick` and `full` show: the conditions of CASIA-B."""

WILD = World(
    people=People(
        walks=(4, 3, 5),
        gait_variety=0.8,
        within=1.5,
        calibrated=1.0,
        dimorphism=1.0,
        children=0.06,
        old=0.1,
        heavy=0.08,
        impaired=0.04,
    ),
    wardrobe=Wardrobe(
        outfits=5,
        coats=0.5,
        long_coats=0.3,
        open_coats=0.25,
        skirts=0.25,
        shorts=0.15,
        bare_arms=0.3,
        hats=0.15,
        heels=0.2,
        boots=0.12,
        carried=0.35,
        umbrellas=0.03,
        hands=0.2,
    ),
)
"""A wide range of everything, for networks that are to recognise real people."""
