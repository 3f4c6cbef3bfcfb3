"""What README tells a stranger to write is what the program takes."""

from pathlib import Path

import yaml

from shared.contracts.directory_file import read_directory_file, write_directory_file
from tests.contracts.reading import validator

README = Path(__file__).resolve().parent.parent.parent / "README.md"


def first_directory() -> str:
    return README.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]


def test_the_first_directory_of_the_readme_is_one() -> None:
    directory = read_directory_file(first_directory())
    assert {portal.name for portal in directory.portals} == {
        "Availity Essentials",
        "Noridian Medicare Portal",
    }
    assert read_directory_file(write_directory_file(directory)) == directory


def test_it_fits_the_published_schema() -> None:
    document = yaml.load(first_directory(), Loader=yaml.BaseLoader)
    for duty in document["job_duties"]:
        if "front_office" in duty:
            duty["front_office"] = duty["front_office"] == "true"
    assert validator("directory-file").is_valid(document)
