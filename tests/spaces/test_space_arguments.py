"""What a file may ask of a space, and what is refused before memory is taken."""

import pytest

from proxyless import ProxylessError, spaces

SPACES = ("mobilenet", "tree", "nas-bench-macro")


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("field", ["classes", "channels", "image_size"])
@pytest.mark.parametrize("value", [True, "10", 10.0, None, [10], -1, 0, 10**7, 2**63, float("nan")])
def test_a_size_of_the_images_is_a_whole_number_that_can_be(name, field, value):
    with pytest.raises(ProxylessError, match=f"space {name}: {field} must be "):
        spaces.make(name, {field: value})


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("mobilenet", {"kernels": "357"}, "kernels must be a list"),
        ("mobilenet", {"kernels": [3, 10**6 + 1]}, "kernels must hold numbers of at least 1 and at most 31"),
        ("mobilenet", {"kernels": [4]}, "kernels must be odd"),
        ("mobilenet", {"kernels": [3, 3]}, "kernels must differ"),
        ("mobilenet", {"expansions": [3, "6"]}, "expansions must be a list of whole numbers"),
        ("mobilenet", {"expansions": [10**9, 1]}, "expansions must hold numbers of at least 1 and at most 32"),
        ("mobilenet", {"depths": [1, 1, 1, 1, 1, 10**6]}, "depths must hold numbers of at least 1 and at most 100"),
        ("mobilenet", {"depths": [1, 1]}, "depths must be 6 numbers"),
        ("mobilenet", {"depths": {"a": 1}}, "depths must be a list"),
        ("mobilenet", {"width": "wide"}, "width must be a number"),
        ("mobilenet", {"width": float("nan")}, "width must be a number"),
        ("mobilenet", {"width": 9.0}, "width must be at least 0.1 and at most 8, got 9.0"),
        ("mobilenet", {"first_width": 10**9}, "first_width must be at least 8 and at most 1024"),
        ("mobilenet", {"widths": [10**9 * 8] * 6}, "widths must hold numbers of at least 8 and at most 8192"),
        ("mobilenet", {"widths": [12] * 6}, "widths must be multiples of 8"),
        ("mobilenet", {"dropout": "half"}, "dropout must be a number"),
        ("mobilenet", {"depths": [100] * 6, "width": 8.0, "expansions": [32, 31]}, "parameters in all candidates"),
        ("mobilenet", {"depths": [100] * 6, "kernels": list(range(1, 32, 2)), "expansions": [1, 2, 3]}, "candidates"),
        ("tree", {"depth": 12, "branches": 16}, "candidates"),
        ("tree", {"blocks": 10**6}, "blocks must be at least 1 and at most 1000"),
        ("tree", {"final_width": 65_536, "blocks": 50}, "parameters in all candidates"),
        ("tree", {"operations": [["sep3"], "sep5"]}, "operations must be a list of texts"),
        ("tree", {"operations": "sep3"}, "operations must be a list"),
        ("tree", {"blok": 1}, "has no argument blok: did you mean blocks"),
    ],
)
def test_an_argument_is_refused_by_name_and_at_once(name, arguments, told):
    with pytest.raises(ProxylessError, match=f"space {name}.*{told}"):
        spaces.make(name, arguments)
