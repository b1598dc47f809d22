from abc import ABC
from typing import Any

import torch
from torch import nn
from typing_extensions import override

from lit_vision.errors import UserError, check_at_least
from lit_vision.models.backbones import Backbone
from lit_vision.models.classifier import Classifier
from lit_vision.models.unfreeze import LayerStage, trained_stages
from lit_vision.optim import PRETRAINED_LR, ParameterGroup
from lit_vision.utils.lightning_compat import wrap_again
from lit_vision.utils.log import log_info


class FineTuning(Classifier, ABC):
    """A Classifier of a ``backbone`` and a head ``fc``, which trains what its option ``unfreeze`` names.

    The layers that are trained at some time belong to the optimizer from the start. Those that are frozen have no
    gradients, and the optimizer skips them.
    """

    arch: str
    backbone: nn.Module
    fc: nn.Linear
    _library: Backbone

    def prepare_fine_tuning(self) -> None:
        """Check the options, and find the layers that they name; a subclass calls this once it has its layers.

        Raises:
            UserError: an option is out of its range, or has no effect.
        """
        options = self.hparams
        check_at_least(0, "model", unfreeze_at=options["unfreeze_at"])
        if not 0 < options["layer_decay"] <= 1:
            raise UserError(
                f"layer_decay {options['layer_decay']} is out of range: use --model.layer_decay above 0, to 1 at most"
            )
        self._trained_stages: list[LayerStage] = []
        if options["unfreeze"] == "head":
            if options["unfreeze_at"] or options["layer_decay"] != 1:
                raise UserError(
                    "unfreeze_at and layer_decay need layers to unfreeze: set --model.unfreeze to more than head"
                )
            return
        if options["optimizer"] == "muon_sgd":  # the statistics of BatchNorm are fixed
            raise UserError(
                "muon_sgd changes the scale of convolutions, but pretrained ones must keep theirs: use "
                "--model.optimizer muon"
            )
        self._trained_stages = trained_stages(self.stages(), options["unfreeze"], self.backbone)
        self._set_trainable(epoch=options["unfreeze_at"])
        # as the feature cache leaves it: a resumed run must find the same layout
        self.backbone.to(memory_format=torch.channels_last)

    def stages(self) -> list[LayerStage]:
        """The stages of the backbone, in the order of the forward pass."""
        return self._library.stages()

    def training_of(self, stage: LayerStage) -> str:
        """Say how a stage is trained: frozen, or trained, or trained from an epoch on."""
        trained = {name for found in self._trained_stages for name in found.params}
        if not trained & set(stage.params):
            return "frozen"
        wait = self.hparams["unfreeze_at"]
        what = "norms trained" if self.hparams["unfreeze"] == "norm" else "trained"
        return f"{what} from epoch {wait + 1}" if wait else what

    def _set_trainable(self, epoch: int) -> bool:
        """Let the layers be trained that are trained in an epoch; returns whether that changed anything."""
        unfrozen = epoch >= self.hparams["unfreeze_at"]
        parameters = dict(self.backbone.named_parameters())
        trained = [parameters[name] for stage in self._trained_stages for name in stage.params]
        changed = any(parameter.requires_grad != unfrozen for parameter in trained)
        for parameter in trained:
            parameter.requires_grad_(unfrozen)
            parameter.grad = None if not unfrozen else parameter.grad
        return changed

    @override
    def parameter_groups(self) -> list[ParameterGroup]:
        """The parameters of ``fc``, and those of each stage that is trained at some time, the last stage first."""
        parameters = dict(self.backbone.named_parameters())
        groups = [ParameterGroup(list(self.fc.parameters()))]
        scale = PRETRAINED_LR / self.optimizer_options.peak_lr if self.hparams["lr"] is None else 1.0
        for _, names in reversed(self._trained_stages):
            scale *= self.hparams["layer_decay"]
            if names:
                groups.append(ParameterGroup([parameters[name] for name in names], scale))
        return groups

    @override
    def schedule_progress(self) -> float:
        """Fraction of the schedule that is done, which begins anew when layers are unfrozen."""
        step, first = self.trainer.global_step, self.hparams["unfreeze_at"] * self.steps_per_epoch()
        if step < first:
            return step / first
        return (step - first) / (self.total_steps - first)

    @override
    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._set_trainable(epoch=0)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self._set_trainable(checkpoint["epoch"])

    def _unfreeze_when_due(self) -> None:
        if self._set_trainable(self.trainer.current_epoch):
            wrap_again(self.trainer)
            log_info(f"epoch {self.trainer.current_epoch + 1}: {self._trained_parameters():,} parameters are trained")

    def _trained_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def _check_epochs(self) -> None:
        wait, debugging = self.hparams["unfreeze_at"], self.trainer.fast_dev_run  # type: ignore[attr-defined]
        if wait and not debugging and wait * self.steps_per_epoch() >= self.total_steps > 0:
            raise UserError(
                f"unfreeze_at {wait} is after the end of the run: lower --model.unfreeze_at, or raise "
                "--trainer.max_epochs"
            )

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._check_epochs()
        self._unfreeze_when_due()

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._unfreeze_when_due()
