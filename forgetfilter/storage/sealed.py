"""Parquet files that carry the sum of their own bytes, so that no changed bit of one is taken for a number.

The seal is a mark and a SHA-256 between the last page and the footer, where a reader of Parquet never looks: it finds
the footer from the end of the file, and the pages by the footer. The sum is of all bytes before and behind the seal.
"""

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from polars import scan_parquet
from polars.exceptions import PanicException, PolarsError

from forgetfilter.errors import reason

MARK = b"forgetfilter:sha256:"
SEAL = len(MARK) + hashlib.sha256().digest_size  # bytes


def sealed(content: memoryview) -> tuple[memoryview, bytes, memoryview]:
    """The parts of a Parquet file that take the place of its content: the pages, the seal and the footer."""
    end = _footer(content)
    return content[:end], MARK + _sum(content[:end], content[end:]), content[end:]


def damage(path: Path) -> str | None:
    """What is wrong with a file that was written sealed; None where every bit is as it was written.

    One of before 2026-11-29 has no seal: of it, the sums of the pages are compared, and both readers must take it.
    """
    try:
        content = memoryview(path.read_bytes())
        end = _footer(content)
        pages, seal = content[: max(end - SEAL, 0)], bytes(content[max(end - SEAL, 0) : end])
        if seal.startswith(MARK):
            whole = seal == MARK + _sum(pages, content[end:])
        else:
            whole = MARK not in bytes(content)  # the number by which the footer is found may be what was changed
            pq.ParquetFile(path, page_checksum_verification=True).read()
            scan_parquet(path, glob=False).collect()  # some headers that Arrow reads stop Polars
    except (pa.ArrowException, OSError, ValueError, PolarsError, PanicException) as error:
        return reason(error)
    return None if whole else "its bytes are not those of its sum"


def _footer(content: memoryview) -> int:
    """Where the footer begins, as the file says; 0 where that is before its beginning."""
    return max(0, len(content) - 8 - int.from_bytes(content[-8:-4], "little"))


def _sum(*parts: memoryview) -> bytes:
    taken = hashlib.sha256()
    for part in parts:
        taken.update(part)
    return taken.digest()
