"""The GPUs of this machine, and whether driver, compiler and NCCL fit to torch."""

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
from typing import Any

from forgetfilter.cli.fact import Fact
from forgetfilter.process.environment import plain_environment

BUILDS = "builds of CUDA code, such as flash-attn"


def gpus() -> list[Fact]:
    """Each GPU, or why there is none."""
    import torch

    needed_for, driver = "models of 1B and more", driver_cuda()
    if torch.cuda.is_available():
        each = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return [
            Fact(f"GPU {number}", True, f"{one.name}, {one.total_memory / 2**30:.0f} GiB", needed_for, "")
            for number, one in enumerate(each)
        ]
    if driver is None:
        return [Fact("GPU", False, "none", needed_for, "run on a machine with one, or take a small model")]
    if torch.version.cuda is None:
        return [Fact("GPU", False, "this torch is a CPU build", needed_for, "pip install a CUDA build of torch")]
    return [Fact("GPU", False, "torch sees none", needed_for, "look at nvidia-smi and CUDA_VISIBLE_DEVICES")]


def around_gpus() -> list[Fact]:
    """What must fit to torch where there is a driver for GPUs and a CUDA build of torch; else nothing."""
    import torch

    driver = driver_cuda()
    if driver is None or torch.version.cuda is None:
        return []
    wanted = _version(torch.version.cuda)
    return [driver_fact(driver, wanted), compiler_fact(wanted), _nccl()]


def driver_cuda() -> tuple[int, int] | None:
    """The newest CUDA that the driver runs; None without a driver."""
    version = ctypes.c_int()
    with contextlib.suppress(OSError, AttributeError):
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version)) == 0:
            return version.value // 1000, version.value % 1000 // 10  # 12040 is 12.4
    return None


def driver_fact(driver: tuple[int, int], wanted: tuple[int, int]) -> Fact:
    """Whether a driver runs what was built for the CUDA that is wanted: any minor version of its own major one."""
    detail = f"CUDA {_text(driver)}, torch is built for {_text(wanted)}"
    todo = f"install a driver for CUDA {wanted[0]}, or a torch built for CUDA {driver[0]}"
    return Fact("driver", driver[0] >= wanted[0], detail, "torch on the GPUs", todo)


def compiler_fact(wanted: tuple[int, int]) -> Fact:
    """Whether nvcc is there, with the major version of CUDA that torch was built for."""
    home = os.environ.get("CUDA_HOME", "/usr/local/cuda")
    path = shutil.which("nvcc") or shutil.which(f"{home}/bin/nvcc")
    todo = f"install the CUDA toolkit {_text(wanted)}, and set CUDA_HOME to it"
    if path is None:
        return Fact("nvcc", False, "neither on the PATH nor in CUDA_HOME", BUILDS, todo)
    said = ""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        given: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10, "env": plain_environment()}
        said = subprocess.run([path, "--version"], **given).stdout
    found = re.search(r"release (\d+\.\d+)", said)
    if found is None:
        return Fact("nvcc", False, f"{path} does not tell its version", BUILDS, todo)
    detail = f"{path}, CUDA {found[1]}, torch is built for {_text(wanted)}"
    return Fact("nvcc", _version(found[1])[0] == wanted[0], detail, BUILDS, todo)


def _nccl() -> Fact:
    import torch.distributed as dist

    found = dist.is_nccl_available()
    detail = "in this torch" if found else "not in this torch"
    return Fact("NCCL", found, detail, "several GPUs", "pip install a build of torch for Linux that has it")


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def _text(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
