"""What the API accepts in a field, and what it says of what it does not."""

import pytest

from verax.server import Problem
from verax.server.api import read_fields


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"n": True}, "invalid_type", "n: expected a whole number"),
        ({"n": 1.5}, "invalid_type", "n: expected a whole number"),
        ({"n": "x"}, "invalid_type", "n: expected a whole number"),
        ({"n": "11"}, "invalid_value", "n: expected at most 10, got 11"),
        ({"n": 0}, "invalid_value", "n: expected at least 1, got 0"),
        (
            {"output_format": "gif"},
            "invalid_value",
            "output_format: expected 'png', 'jpeg' or 'webp'",
        ),
        ({"quality": 3}, "invalid_type", "quality: expected text"),
        ({"prompt": "a\0"}, "invalid_type", "prompt: expected text"),
        ({"prompt": "\ud800"}, "invalid_type", "prompt: expected text"),
        ({"prompt": 5}, "invalid_type", "prompt: expected text"),
        ({"prompt": "x" * 32_001}, "invalid_value", "prompt: expected at most 32000 characters"),
        ({"stream": "maybe"}, "invalid_type", "stream: expected true or false"),
        ({"stream": [True]}, "invalid_type", "stream: expected true or false"),
        ({"fidelity": "2"}, "invalid_value", "fidelity: expected at most 1"),
        ({"fidelity": "nan"}, "invalid_type", "fidelity: expected a number"),
        ({"sise": "1x1", "n": 0}, "unknown_parameter", "unknown parameter 'sise'"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_wanted(values, code, words):
    with pytest.raises(Problem) as caught:
        read_fields(values)

    assert (caught.value.status, caught.value.code) == (400, code)
    assert caught.value.message.startswith(words)
    assert caught.value.param == next(iter(values))


def test_a_form_says_in_text_what_json_says_in_types():
    form = read_fields({"n": "3", "stream": "true", "fidelity": "0.5", "partial_images": "2"})
    json = read_fields({"n": 3, "stream": True, "fidelity": 0.5, "partial_images": 2})

    assert form == json


def test_null_is_a_field_that_is_not_given():
    names = ("n", "prompt", "stream", "fidelity", "quality")

    assert read_fields(dict.fromkeys(names)) == read_fields({})
