"""What a lookup's match says of its first token, on recordings: the law of ``spinsim.acceptance.matches``.

    python -m spinsim.studies.match_statistics $SPINSIM_DATA/specdecode_bench_llama31_8b_gsm8k.jsonl ...

Reads recordings of SpecDecode-Bench. Prints how long the match was where the first proposed token was right
and where it was wrong, and how often nothing was found where nothing was right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from spinsim.acceptance.importers import IMPORTERS
from spinsim.acceptance.importers.base import ImportOptions
from spinsim.acceptance.matches import LEVELS
from spinsim.errors import InputError

DRAFT = "ngram"


def main() -> None:
    """Print the law of all files together."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    right: list[int] = []
    wrong: list[int] = []
    try:
        for path in parser.parse_args().files:
            trace = IMPORTERS["specdecode_bench"].read(path, ImportOptions()).trace
            recorded = trace.drafts[DRAFT]
            assert recorded.lookup is not None
            for row in range(len(trace.keys)):
                matched = recorded.lookup.matched.row(row)
                runs = recorded.rows.row(row)[: len(matched)]
                right += matched[: len(runs)][(runs > 0) & (matched[: len(runs)] > 0)].tolist()
                wrong += matched[: len(runs)][runs == 0].tolist()
    except InputError as error:
        parser.exit(2, f"{error}\n")
    found = [n for n in wrong if n]
    for name, values in (("RIGHT", right), ("WRONG", found)):
        quantiles = ", ".join(f"{value:g}" for value in np.quantile(values, LEVELS, method="lower"))
        print(f"{name} = ({quantiles})  # of {len(values):,} positions")
    print(f"NOTHING = {1 - len(found) / len(wrong):.3f}  # of {len(wrong):,} positions")


if __name__ == "__main__":
    main()
