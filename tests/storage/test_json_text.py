"""JSON that any reader takes."""

import json
import math
from typing import Any

from jaxmusic.storage.json_text import render_json


def refuse(word: str) -> Any:
    raise AssertionError(word)


def test_what_is_no_number_is_null_wherever_it_is() -> None:
    value = {"a": math.nan, "b": [1.5, (math.inf, {"c": -math.inf})], "d": None, "e": "NaN", "f": 7}
    read = json.loads(render_json(value), parse_constant=refuse)
    assert read == {"a": None, "b": [1.5, [None, {"c": None}]], "d": None, "e": "NaN", "f": 7}


def test_all_else_is_as_python_writes_it() -> None:
    value = {"step": 3, "loss": 0.1 + 0.2, "skipped": True, "words": ["Ä", None]}
    assert render_json(value) == json.dumps(value)
    assert render_json(value, indent=2) == json.dumps(value, indent=2)
