"""Write a file of surnames and their nationalities, for the two examples about names.

pip install faker==40.54.0
python examples/write_names.py names.tsv

The lists are those of Faker (MIT licence); a line is "name TAB nationality".
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Iterable
from pathlib import Path

LOCALES = {
    "Croatian": "hr_HR",
    "Dutch": "nl_NL",
    "English": "en_GB",
    "Finnish": "fi_FI",
    "French": "fr_FR",
    "German": "de_DE",
    "Italian": "it_IT",
    "Spanish": "es_ES",
    "Swedish": "sv_SE",
    "Zulu": "zu_ZA",
}


def surnames(locale: str) -> Iterable[str]:
    """Those that Faker has, from its own list alone: nothing is drawn."""
    return importlib.import_module(f"faker.providers.person.{locale}").Provider.last_names


def main(file: str) -> None:
    rows = sorted({(name, nation) for nation, locale in LOCALES.items() for name in surnames(locale)})
    Path(file).write_text("".join(f"{name}\t{nation}\n" for name, nation in rows), encoding="utf-8")
    print(f"{file}: {len(rows)} names")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file", help="to write")
    main(parser.parse_args().file)
