"""The README is short, has its sections in order, and gives the commands that OpenGait's users know.

test_docs.py checks that its commands and code work, with those of all pages.
"""

import re

from helpers.experiments import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
SECTIONS = [
    "Status",
    "Install",
    "Quick start",
    "Coming from OpenGait",
    "Results",
    "Where things are",
    "Terms and citation",
]


def test_it_is_short_and_in_order() -> None:
    assert len(README.splitlines()) <= 160
    assert re.findall(r"^## (.+)$", README, re.MULTILINE) == SECTIONS


def test_it_opens_with_one_command_and_a_picture() -> None:
    opening = README.partition("## ")[0]
    assert re.findall(r"^```bash\n(.*?)\n```", opening, re.MULTILINE | re.DOTALL) == ["bash scripts/quickstart.sh"]
    assert re.search(r"^!\[.+\]\(.+\.png\)$", opening, re.MULTILINE)


def test_it_has_the_commands_of_opengait() -> None:
    launcher = r"-m torch\.distributed\.launch --nproc_per_node=8 lib/main\.py --cfgs \./configs/Dygait_GREW\.yaml"
    assert re.findall(rf"{launcher} --phase (\w+)$", README, re.MULTILINE) == ["train", "test"]


def test_every_page_of_the_documentation_can_be_reached() -> None:
    """By a link in the README or in a page that it links to."""
    reached = set(re.findall(r"\]\(docs/(\w+\.md)", README))
    for page in sorted(reached):
        reached |= set(re.findall(r"\]\((\w+\.md)", (REPOSITORY / "docs" / page).read_text(encoding="utf-8")))
    assert reached >= {path.name for path in (REPOSITORY / "docs").glob("*.md")}
