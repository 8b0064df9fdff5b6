"""`launcher.py download`: single clips of a published SpatialVID data set."""

from __future__ import annotations

import argparse

from explore.published.groups import ARCHIVES, download

USAGE = "download BASE ..."
HELP = "single clips of a published SpatialVID data set"
DESCRIPTION = (
    "Fetches single clips of a published SpatialVID data set, without keeping its archives.\n"
    "What is there is not fetched again; a broken connection goes on where it was."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the published data set, the clips and files that are wanted, and the folder."""
    parser.add_argument("base", help="folder or http(s) address of the data set")
    parser.add_argument("--to", required=True, metavar="FOLDER", help="local folder to write to")
    parser.add_argument(
        "--metadata", required=True, metavar="FILE", help="the data set's table, below BASE or anywhere"
    )
    parser.add_argument("--ids", nargs="+", default=[], metavar="ID|FILE", help="clip ids, or files with one a line")
    parser.add_argument("--where", metavar="SQL", help="condition over the table, e.g. '\"motion score\" > 5'")
    parser.add_argument("--limit", type=int, metavar="N", help="most clips, the first by id")
    parser.add_argument("--kinds", nargs="+", choices=tuple(ARCHIVES), default=["videos", "annotations"])
    parser.add_argument("--token-env", metavar="NAME", help="environment variable that holds an access token")


def run(options: argparse.Namespace) -> int:
    """Downloads the clips; returns 1 if some are missing."""
    done = download(
        options.base,
        options.metadata,
        options.to,
        ids=options.ids,
        where=options.where,
        limit=options.limit,
        kinds=options.kinds,
        token_env=options.token_env,
        on_progress=print,
    )
    print(f"{options.to}: {done.files} files written, {done.present} there already, {len(done.missing)} missing")
    for what, reason in done.missing.items():
        print(f"missing: {what}: {reason}")
    return 1 if done.missing else 0
