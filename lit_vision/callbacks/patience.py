from typing import Any

from lightning.pytorch.callbacks import EarlyStopping
from typing_extensions import override


class Patience(EarlyStopping):
    """Lightning's EarlyStopping for ``--checkpoint.patience``, which may be another when a run goes on."""

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue to count, but with the patience of this run."""
        super().load_state_dict({**state_dict, "patience": self.patience})
