"""The table of docs/models.md, made from what a server says of its models."""

from __future__ import annotations

from collections import Counter

import gallery
from attribution.v1 import model_service_pb2

BEGIN = "<!-- The table below is written by tests/e2e/test_gallery.py. -->\n"
END = "<!-- End of the table. -->\n"
_HEADER = "| Model | Attention | How it is exported | Sites | Remark |\n|---|---|---|---|---|\n"
_KINDS = {
    model_service_pb2.SITE_KIND_BLOCKED: "in blocks",
    model_service_pb2.SITE_KIND_TAPPED: "tapped",
    model_service_pb2.SITE_KIND_RETURNED: "returned",
}


def _sites(model: model_service_pb2.Model) -> str:
    counts = Counter((site.group, _KINDS[site.kind]) for site in model.sites)
    parts = [f"{count} {kind}{f' ({group})' if group else ''}" for (group, kind), count in counts.items()]
    executions = sum(site.executions for site in model.sites)
    return ", ".join(parts) + (f"; {executions} layers" if executions != len(model.sites) else "")


def _remarks(model: model_service_pb2.Model) -> str:
    taps = dict.fromkeys(f"tapped: {site.tap_reason}" for site in model.sites if site.tap_reason)
    skipped = dict.fromkeys(f"skipped: {skipped.reason}" for skipped in model.skipped)
    return "; ".join([*taps, *skipped])


def gallery_row(entry: gallery.Entry, model: model_service_pb2.Model) -> str:
    """The row of a model of tests/fixtures/gallery.py."""
    return f"| {entry.title} | {entry.form} | `{entry.export}` | {_sites(model)} | {_remarks(model)} |\n"


def architecture_row(name: str, form: str, model: model_service_pb2.Model) -> str:
    """The row of a model of tests/fixtures/architectures.py."""
    words = "fused" if form == "sdpa" else "eager"
    return f"| {name} | {words} | `attribution-export --attention {form}` | {_sites(model)} | {_remarks(model)} |\n"


def with_table(page: str, rows: list[str]) -> str:
    """`page` with its table replaced by `rows`."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    return before + BEGIN + "\n" + _HEADER + "".join(rows) + "\n" + END + after
