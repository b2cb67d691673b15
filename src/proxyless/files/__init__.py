"""Files that are written as a whole or not at all, and files that anybody may have written, read with care."""

from proxyless.files.reading import read_json, read_json_lines
from proxyless.files.writing import (
    PARTIAL,
    append_json_line,
    from_home,
    is_partial,
    keep_lines,
    remove_partial,
    replacing,
    scratch,
    sync,
    write_json,
    write_text,
)

__all__ = [
    "PARTIAL",
    "append_json_line",
    "from_home",
    "is_partial",
    "keep_lines",
    "read_json",
    "read_json_lines",
    "remove_partial",
    "replacing",
    "scratch",
    "sync",
    "write_json",
    "write_text",
]
