"""What nvcc makes of the kernels: registers from its own report, the loop over the steps from the instructions.

No GPU is needed; where there is no nvcc, or no nvdisasm (which NVIDIA packages apart), the tests say so and skip.
"""

import collections
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kerasptb.native import build, nvcc

pytestmark = pytest.mark.slow

THREADS = {"lstm": 256, "softmax": 512, "column": 1024}  # of a block, by the first word of a kernel's name
UNITS = (64, 128, 256)
UNITS_OF_BFLOAT16 = (128, 256, 512)
DIRECTIONS = ("forward", "backward")
RECURRENCES = {f"kerasptb_lstm_recurrence_{direction}_float32_{units}" for direction in DIRECTIONS for units in UNITS}
RECURRENCES |= {
    f"kerasptb_lstm_recurrence_{direction}_bfloat16_{units}" for direction in DIRECTIONS for units in UNITS_OF_BFLOAT16
}
KERNELS = RECURRENCES | {
    "kerasptb_softmax_cross_entropy_cached",
    "kerasptb_softmax_cross_entropy_streamed",
    "kerasptb_column_sums",
}


@pytest.fixture(scope="module")
def code(tmp_path_factory):
    """(folder of nvcc's intermediate files, its output): the shipped command, with options to keep and to report."""
    program = nvcc.find()
    if program is None:
        pytest.skip("there is no nvcc")
    folder = tmp_path_factory.mktemp("code")
    command = nvcc.command(program, build.SOURCES, folder / "kernels.fatbin", build.find_compiler())
    command += ["-Xptxas", "-v", "--keep", "--keep-dir", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr, result.stderr
    return folder, result.stdout + result.stderr


def resources(report):
    """{(kernel, architecture): (bytes of stack and spills, registers)}"""
    found = {}
    for part in report.split("Compiling entry function ")[1:]:
        kernel, architecture = re.match(r"'(\w+)' for 'sm_(\d+)'", part).groups()
        stack = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        found[kernel, int(architecture)] = sum(map(int, stack.groups())), int(registers[1])
    return found


def assert_in_registers(found, architectures):
    assert set(found) == {(kernel, architecture) for kernel in KERNELS for architecture in architectures}
    for key, (in_memory, registers) in found.items():
        assert in_memory == 0, key
        # A multiprocessor's registers for each thread of a block, rounded down to the unit of allocation, 8.
        most = min(65536 // THREADS[key[0].split("_")[1]] // 8 * 8, 255)
        assert registers <= most, key


def test_every_kernel_is_in_the_code(code):
    content = (code[0] / "kernels.fatbin").read_bytes()
    assert {kernel for kernel in KERNELS if kernel.encode() in content} == KERNELS


def test_every_kernel_stays_in_registers(code):
    assert_in_registers(resources(code[1]), nvcc.ARCHITECTURES)


@pytest.mark.parametrize(("ptx", "architecture"), [(90, 103), (120, 121)])
def test_ptx_serves_gpus_between(code, ptx, architecture):
    """The driver compiles PTX for a GPU that the fat binary has no code for; its compiler is ptxas."""
    assert ptx in nvcc.PTX
    folder, _ = code
    if (program := find_tool("ptxas")) is None:
        pytest.skip("nvcc is there, but its ptxas was not found")
    command = [program, "-v", f"-arch=sm_{architecture}", folder / f"kernels.compute_{ptx}.ptx", "-o", os.devnull]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert_in_registers(resources(result.stderr), [architecture])


@pytest.fixture(scope="module", params=nvcc.ARCHITECTURES, ids=lambda n: f"sm_{n}")
def instructions(request, code):
    """{kernel: (all instructions, one entry for each loop with a barrier of the cluster)}, as counts by name."""
    if (program := find_tool("nvdisasm")) is None:
        pytest.skip("there is no nvdisasm (PyPI: nvidia-cuda-nvdisasm)")
    (cubin,) = code[0].glob(f"kernels.compute_{request.param}*.cubin")
    text = subprocess.run([program, "-c", cubin], capture_output=True, text=True, check=True).stdout
    return {part.split(":")[0]: count(part) for part in re.split(r"\n\.text\.", text)[1:]}


def find_tool(name):
    """A program of the CUDA toolkit: beside nvcc (which may be a script elsewhere), or of a package from PyPI."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(nvcc.find()).resolve().parent, *os.environ["PATH"].split(os.pathsep), "/usr/local/cuda/bin"]
    folders += [Path(folder) / "cu13" / "bin" for folder in (spec.submodule_search_locations if spec else [])]
    return shutil.which(name, path=os.pathsep.join(map(str, folders)))


def count(listing):
    names, jumps, labels = [], [], {}
    for line in listing.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(names)
        # /*0a30*/  @!P0 LDG.E R2, desc[UR4][R2.64] ;
        elif instruction := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([\w.]+)(.*);", line):
            if instruction[1].startswith("BRA") and (target := re.search(r"\.L_x_\d+", instruction[2])):
                jumps.append((len(names), target[0]))
            names.append(instruction[1])
    loops = [collections.Counter(names[labels[to] : at + 1]) for at, to in jumps if labels[to] < at]
    return collections.Counter(names), [loop for loop in loops if loop["UCGABAR_WAIT"]]


def total(counts, prefix):
    return sum(number for name, number in counts.items() if name.startswith(prefix))


@pytest.mark.parametrize("kernel", sorted(RECURRENCES))
def test_loop_over_the_steps_has_one_barrier_and_no_local_memory(instructions, kernel):
    everything, loops = instructions[kernel]
    # Nothing in local memory: the weights are in registers, in the loop and before it.
    assert total(everything, "LDL") == total(everything, "STL") == 0
    (loop,) = loops
    # One barrier of the cluster a step; another one, before the loop, waits for all blocks to have begun.
    assert loop["UCGABAR_ARV"] == loop["UCGABAR_WAIT"] == 1
    assert everything["UCGABAR_ARV"] == everything["UCGABAR_WAIT"] == 2
    assert total(loop, "BAR.SYNC") == (1 if "backward" in kernel else 0)


@pytest.mark.parametrize("units", UNITS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_loop_over_the_steps(instructions, direction, units):
    (loop,) = instructions[f"kerasptb_lstm_recurrence_{direction}_float32_{units}"][1]
    # The product. Forward, a lane reads h of a quarter of the units. Backward, 256 threads serve H/2 pairs of units, so
    # 512/H lanes share 128 columns: again H/4 each. Each read gives four rows: 8 multiplications.
    assert loop["LDS.128"] == units // 4
    assert loop["FFMA"] >= 8 * units // 4
    if direction == "forward":
        assert total(loop, "LDS") == loop["LDS.128"]
        assert total(loop, "STS") == 0  # h goes to the other blocks, and to its own the same way:
        assert total(loop, "ST.") == units // 32 // 2  # each half of the lanes sends to half of the blocks
        assert total(loop, "SHFL") == (4 + 2) + 2  # 8 sums scattered over 4 lanes; two gates from the other half
        assert total(loop, "LDG") == 2  # xz of two gates, for the next step
    else:
        blocks, lanes = units // 32, 512 // units
        assert total(loop, "LDS") == loop["LDS.128"] + blocks  # a part of dh from each block
        assert total(loop, "STS") == 4  # dz
        assert total(loop, "ST.") == 1  # this lane's part, in one piece
        assert total(loop, "SHFL") == {2: 4, 4: 4 + 2, 8: 4 + 2 + 1}[lanes]
        assert total(loop, "LDG") == 7  # dh, four gates, and the c before from one of two places


@pytest.mark.parametrize("units", UNITS_OF_BFLOAT16)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_loop_over_the_steps_in_bfloat16(instructions, direction, units):
    (loop,) = instructions[f"kerasptb_lstm_recurrence_{direction}_bfloat16_{units}"][1]
    # 128 columns and all units, in tiles of 16 x 16, are shared out to 8 warps; each is multiplied with eight rows.
    tiles = units // 16
    assert total(loop, "HMMA.16816.F32.BF16") == tiles
    if direction == "forward":
        assert loop["LDS.128"] == total(loop, "LDS") == tiles // 2  # one read for two tiles
        assert total(loop, "STS") == 0  # h goes to the other blocks, and to its own the same way,
        assert total(loop, "ST.") == units // 32 // 4  # four units in one piece, each lane to a quarter of the blocks
        assert total(loop, "SHFL") == 2 + 2  # sums paired into gates; the four units gathered
        assert total(loop, "LDG") == 4  # xz of four gates, for the next step
    else:
        assert loop["LDS.128"] == 128 // 32  # two tiles each
        assert total(loop, "LDS") == loop["LDS.128"] + units // 32  # and a part of dh from each block
        assert loop["STS.64"] == total(loop, "STS") == 1  # dz of four gates
        assert total(loop, "ST.") == total(loop, "SHFL") == 2 * (tiles // 8)  # a warp's rows of tiles, in two halves
        assert total(loop, "LDG") == 7  # dh, four gates, and the c before from one of two places


def test_no_division_is_a_call_in_the_loop(instructions):
    for kernel, (_, loops) in instructions.items():
        for loop in loops:
            assert total(loop, "CALL") == 0, kernel
