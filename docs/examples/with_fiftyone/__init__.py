"""A plugin of FiftyOne: which samples are off, and why, and whether two views differ. Copy this folder to

    $(fiftyone config plugins_dir)/visual-dna

and install requirements.txt. Save a view of 100 samples or more that are as they should be. In the app's list of
operators, or in Python:

    import fiftyone.operators as foo
    foo.execute_operator("@torchmetrics-dna/visual-dna/score_samples", view=view, params={"reference": "good"})
    foo.execute_operator("@torchmetrics-dna/visual-dna/compare_views", view=view, params={"reference": "good"})

The first sets `dna_score`, about 1 for samples of the reference's kind and more for others, and `dna_off`, why a sample
is off: nothing where none is shown to be. The second gives the verdict.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import fiftyone as fo
import fiftyone.operators as foo
from fiftyone.operators import types

from torchmetrics_dna import compare, rank


class OnImages(foo.Operator):
    """What both operators share: a reference, which is a saved view, and the samples that are shown or selected."""

    name: str
    label: str

    @property
    def config(self) -> foo.OperatorConfig:
        return foo.OperatorConfig(self.name, label=self.label, allow_delegated_execution=True)

    def resolve_input(self, ctx: foo.ExecutionContext) -> types.Property:
        inputs = types.Object()
        ctx.target_view()  # asks for the samples
        views = ctx.dataset.list_saved_views()
        inputs.enum("reference", views, required=True, label="Saved view of samples that are as they should be")
        return types.Property(inputs, view=types.View(label=self.label))

    def resolve_output(self, _ctx: foo.ExecutionContext) -> types.Property:
        outputs = types.Object()
        outputs.str("verdict", label="Verdict", view=types.MarkdownView())
        return types.Property(outputs, view=types.View(label=self.label))


def reference_of(ctx: foo.ExecutionContext) -> list[str]:
    return ctx.dataset.load_saved_view(ctx.params["reference"]).values("filepath")


class ScoreSamples(OnImages):
    name = "score_samples"
    label = "Visual DNA: which samples are off?"

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        samples = ctx.target_view()
        ids, paths = samples.values(["id", "filepath"])
        ranking = rank(paths, reference_of(ctx))
        scores = dict(zip(ranking.numbers, ranking.scores.tolist(), strict=True))
        for field, kind in (("dna_score", fo.FloatField), ("dna_off", fo.StringField)):
            ctx.dataset.add_sample_field(field, kind)
        samples.set_values("dna_score", {ids[number]: score for number, score in scores.items()}, key_field="id")
        # None where nothing is wrong, so that no reason of an earlier run stays
        samples.set_values("dna_off", {ids[number]: ranking.reasons.get(number) for number in scores}, key_field="id")
        ctx.ops.reload_dataset()
        return {"verdict": ranking.verdict or " ".join(ranking.notices), "flagged": len(ranking.reasons)}


class CompareViews(OnImages):
    name = "compare_views"
    label = "Visual DNA: do two views differ?"

    def execute(self, ctx: foo.ExecutionContext) -> dict[str, Any]:
        result = compare(reference_of(ctx), ctx.target_view().values("filepath"))
        result = replace(result, names=(ctx.params["reference"], "this view"))
        # a paragraph for each line
        return {
            "verdict": "\n\n".join(result.verdict_lines),
            "p_value": result.p_value,
            "dna_emd": result["dna-emd"].value,
        }


def register(plugin: Any) -> None:
    plugin.register(ScoreSamples)
    plugin.register(CompareViews)
