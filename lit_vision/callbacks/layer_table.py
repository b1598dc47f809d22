from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary
from typing_extensions import override

from lit_vision.models.transfer import TransferClassifier

Columns = list[tuple[str, list[str]]]


class LayerTable(ModelSummary):
    """Lightning's table of layers, in which the backbone of a TransferClassifier is followed by its stages.

    The stages count from the end, as ``--model.unfreeze`` does.
    """

    rows: list[dict[str, str]]

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rows = stage_rows(pl_module) if isinstance(pl_module, TransferClassifier) else []
        super().on_fit_start(trainer, pl_module)

    @override
    def summarize(  # type: ignore[override]  # static there, but called on the instance
        self, summary_data: Columns, *args: Any, **kwargs: Any
    ) -> None:
        ModelSummary.summarize(with_stages(summary_data, self.rows), *args, **kwargs)


def stage_rows(model: TransferClassifier) -> list[dict[str, str]]:
    """Describe the stages of a backbone, from its end, in the words of the table's columns."""
    parameters = dict(model.backbone.named_parameters())
    rows = []
    for number, stage in enumerate(reversed(model.stages()), start=1):
        count = sum(parameters[name].numel() for name in stage.params)
        words = {
            "Name": f"  stage {number}",
            "Type": stage.name,
            "Params": _short(count),
            "Mode": model.training_of(stage),
        }
        rows.append(words)
    return rows


def with_stages(columns: Columns, rows: list[dict[str, str]]) -> Columns:
    """Insert rows below that of the backbone; columns of which a row knows nothing stay empty."""
    names = next((values for title, values in columns if title == "Name"), [])
    if "backbone" not in names:
        return columns
    place = names.index("backbone") + 1
    return [
        (title, [*values[:place], *(row.get(title, "") for row in rows), *values[place:]]) for title, values in columns
    ]


def _short(count: int) -> str:
    """A number of parameters as Lightning's table shows it, such as 2.2 M."""
    if count < 1000:
        return str(count)
    return f"{count / 1e6:.1f} M" if count >= 1e6 else f"{count / 1e3:.1f} K"
