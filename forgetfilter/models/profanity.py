"""The chance of profanity by alt-profanity-check, a linear model over words that works offline.

The package brings its model as pickles, which run code when they are loaded. They are loaded only where they are the
files that are known, by their sums.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from forgetfilter.errors import UserError
from forgetfilter.files import package_folder, sha256_file

PACKAGE, VERSION = "profanity_check", "1.9.1"
SUMS = {
    "model.joblib": "aeafc04849d4d93db4721cf30a86ebf22085595294b8a07d51918e7fa98f538b",
    "vectorizer.joblib": "19c5200dc6a41f026e0558e2f164f5fe8d8f58e502b46b37e4385037fcfa4831",
}
"""sha256 of the pickles of VERSION."""


def profanity(texts: list[str]) -> NDArray[np.float64]:
    """The probability of profanity of each text, [n]. UserError where the package's pickles are not those known."""
    check_pickles()
    from profanity_check import predict_prob

    return np.asarray(predict_prob(texts), dtype=np.float64)


@cache
def check_pickles() -> None:
    """Compares the sums of the pickles, without importing the package, which would load them. ModuleNotFoundError where
    the package is not installed."""
    if (package := package_folder(PACKAGE)) is None:
        raise ModuleNotFoundError(f"No module named {PACKAGE!r}", name=PACKAGE)
    for name, known in SUMS.items():
        if sha256_file(file := package / "data" / name) != known:
            way = f"pip install --force-reinstall alt-profanity-check=={VERSION}"
            raise UserError(f"{file} is not that of alt-profanity-check {VERSION}, and a pickle may run code: {way}")
