"""What differs from transformers.Trainer: a micro-batch on one device, as it is."""

from pathlib import Path
from types import SimpleNamespace

import torch
from forgetfilter.train.stage import settings
from forgetfilter.train.trainer import PlannedTrainer, arguments

from forgetfilter.config.schema import Config
from forgetfilter.process.distributed import World
from forgetfilter.storage.run_folder import Run


def test_a_process_that_sees_eight_gpus_trains_on_one(tmp_path: Path) -> None:
    # Without ranks, transformers would spread each micro-batch over the eight GPUs that it sees.
    args = arguments(settings(Run(tmp_path, Config()), "noisy"), 1, 10, "float32", World(0, 1, 0))
    args._n_gpu = 8
    assert args.n_gpu == 1
    args._n_gpu = 0
    assert args.n_gpu == 0


def test_the_normaliser_of_the_loss_is_not_rounded() -> None:
    # 257 label tokens become 256 in bfloat16, which transformers would give to DeepSpeed. Whole numbers are passed
    # unchanged.
    here = SimpleNamespace(args=SimpleNamespace(device=torch.device("cpu")))
    batch = {"norm": torch.tensor(257.0), "max_length_q": 9}
    moved = PlannedTrainer._prepare_inputs(here, batch)  # type: ignore[arg-type]
    assert moved["norm"].dtype == torch.float32 and moved["norm"] == 257 and moved["max_length_q"] == 9
