"""What the StarGAN costs beside its bare networks, in one run: a training step, the styles stage, and the hours they come to.

    python benchmarks/generator.py                          # published networks at 128x64, batch 2: a minute on 2 idle cores
    python benchmarks/generator.py --height 256 --width 128
    python benchmarks/generator.py --device cuda            # published sizes: 256x128, batch 16; --precision bf16
    python benchmarks/generator.py --memory 3000            # peak memory of a styles stage of so many images, alone

Training: StarGAN.update, over n_critic steps of which the last moves the generator, beside the forward and backward passes
that these need, without Adam. Generation: the styles stage's own code (read, forward, to pixels, digest, write, flush to
the disk) beside the generator's forward on a batch that lies on the device, as large and laid out as the stage's. Best of
--repeats, turn by turn, so that a busy machine slows both alike; on a CPU the ratio by CPU seconds is the steadier one,
with --threads 1 above all. Goal: the stage at 0.9 of the forward or more.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from gan.colour_affine import ColourAffineGenerator
from gan.networks import Discriminator, Generator
from gan.stargan import StarGAN
from gan.translate import BATCH
from pipelines import styling
from pipelines.build import resolve
from pipelines.files import save_weights
from reid_da import decoding
from reid_da.images import ImageStore
from reid_da.records import Record

CAMERAS, N_CRITIC, STEPS, PUBLISHED_BATCH = 6, 5, 220_000, 16
SETS = {"Market-1501": 12_936 * 6, "DukeMTMC-reID": 16_522 * 8, "MSMT17": 32_621 * 15}


def timed(work, device):
    """(seconds, CPU seconds of all threads) of one call; a device's queue is emptied before the clocks stop."""
    start, cpu_start = time.perf_counter(), time.process_time()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu_start


def alternating(works, count, arguments):
    """Best (seconds, CPU seconds) of each for one of `count` things that it does, after a first turn that warms up."""
    turns = [
        {name: timed(work, arguments.device) for name, work in works.items()} for _ in range(arguments.repeats + 1)
    ]
    return {name: tuple(min(turn[name][i] for turn in turns[1:]) / count for i in (0, 1)) for name in works}


def ratio(bare, whole, arguments):
    """What the bare passes are of the whole, in words."""
    words = f"{bare[0] / whole[0]:.2f} of the whole"
    return words if arguments.device == "cuda" else f"{words} ({bare[1] / whole[1]:.2f} by CPU seconds)"


def passes(generator, discriminator, real, cameras, wanted, moves, precision):
    """Forward and backward passes of one step: D's, and G's where it moves. Sums of outputs stand for losses that cost nothing."""
    half = torch.autocast(real.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    with half:
        with torch.set_grad_enabled(moves):
            styled = generator(real, wanted)
        fake = styled.detach()
        loss = discriminator(fake)[0].float().mean()
        patches, logits = discriminator(real)
        loss = loss - patches.float().mean() + F.cross_entropy(logits.float(), cameras)
    points = (0.5 * real + 0.5 * fake.float()).requires_grad_()
    (gradients,) = torch.autograd.grad(discriminator(points)[0].sum(), points, create_graph=True)
    loss = loss + (gradients.flatten(1).norm(dim=1) - 1).square().mean()
    loss.backward(inputs=list(discriminator.parameters()))
    if moves:
        with half:
            patches, logits = discriminator(styled)
            cycled = generator(styled, cameras)
            loss = F.cross_entropy(logits.float(), wanted) - patches.float().mean() + (real - cycled).abs().mean()
        loss.backward(inputs=list(generator.parameters()))
    discriminator.zero_grad()
    generator.zero_grad()


def training(arguments):
    """(seconds, CPU seconds) a step of StarGAN.update and of the bare passes, over one round of n_critic steps."""
    size, device, batch = (arguments.height, arguments.width), arguments.device, arguments.batch
    networks = Generator(CAMERAS).to(device), Discriminator(CAMERAS, *size).to(device)
    more = {"precision": arguments.precision} if arguments.precision else {}
    learner = StarGAN(*networks, steps=STEPS, n_critic=N_CRITIC, **more)
    draw = torch.Generator().manual_seed(0)
    real = (torch.rand(batch, 3, *size, generator=draw) * 2 - 1).to(device)
    alpha = torch.rand(batch, generator=draw).to(device)
    cameras = (torch.arange(batch) % CAMERAS).to(device)
    wanted = cameras.flip(0)
    fixed = {"images": real, "cameras": cameras, "wanted": wanted, "alpha": alpha}

    def update():
        for step in range(N_CRITIC):
            learner.update(fixed | {"step": step})

    def bare():
        for step in range(N_CRITIC):
            passes(*networks, real, cameras, wanted, step == N_CRITIC - 1, arguments.precision)

    return alternating({"update": update, "bare": bare}, N_CRITIC, arguments)


def styles_job(folder, generator, count, arguments):
    """A styles stage's job on a made store of noise, and its generator's folder."""
    rng, data = np.random.default_rng(0), folder / "data"
    data.mkdir(parents=True)
    for camera in range(1, CAMERAS + 1):
        noise = rng.integers(0, 256, (arguments.height, arguments.width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(data / f"0001_c{camera}.jpg")
    records = [Record(str(data / f"0001_c{row % CAMERAS + 1}.jpg"), 1, row % CAMERAS + 1) for row in range(count)]
    size = {"height": arguments.height, "width": arguments.width}
    store = decoding.create(data / "train", records, **size, resample="bilinear")
    if hasattr(generator, "measure"):
        generator.measure(store.images, torch.from_numpy(store.camera_labels))
    target = f"{type(generator).__module__}.{type(generator).__name__}"
    assert resolve(target) is type(generator)
    (folder / "generator").mkdir()
    (folder / "generator" / "stage.json").write_text(json.dumps({"settings": {"generator": {"_target_": target}}}))
    save_weights(folder / "generator" / "generator.pt", generator)
    inputs = {"target": str(data), "generator": str(folder / "generator")}
    places = {"part": str(folder / "styles.part"), "folder": str(folder / "styles")}
    about = {"name": "styles", "label": "styles", "settings": {"styles": "generator"}, "threads": arguments.threads}
    return about | {"inputs": inputs, **places}


def run_stage(job):
    shutil.rmtree(job["folder"], ignore_errors=True)
    Path(job["part"]).mkdir()
    styling.style(job)


def generation(generator, count, arguments):
    """(seconds, CPU seconds) a styled image of the styles stage and of the bare forward."""
    with tempfile.TemporaryDirectory(prefix="generator-") as name:
        job = styles_job(Path(name), generator, count, arguments)
        store = ImageStore(Path(job["inputs"]["target"]) / "train")
        total = count * CAMERAS
        pairs = torch.arange(min(BATCH, total))
        pixels = torch.from_numpy(store.images[(pairs // CAMERAS).numpy()]).to(arguments.device)
        inputs, wanted = (pixels / 127.5 - 1).permute(0, 3, 1, 2), (pairs % CAMERAS).to(arguments.device)
        generator = generator.to(arguments.device).eval()

        @torch.inference_mode()
        def bare():
            for start in range(0, total, BATCH):
                size = min(BATCH, total - start)
                generator(inputs[:size], wanted[:size])

        return alternating({"stage": lambda: run_stage(job), "bare": bare}, total, arguments)


def memory(count, arguments):
    """How much a styles stage of so many images adds to the peak of this process's memory, and what it writes."""
    with tempfile.TemporaryDirectory(prefix="generator-") as name:
        small = styles_job(Path(name) / "small", ColourAffineGenerator(CAMERAS), 64, arguments)
        job = styles_job(Path(name) / "large", ColourAffineGenerator(CAMERAS), count, arguments)
        peaks = []
        for one in (small, job):
            run_stage(one)
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        written = (Path(job["folder"]) / "styled.npy").stat().st_size / 2**20
    print(
        f"styles of {count} images of {arguments.height}x{arguments.width}: {written:.0f} MB; peak of the process's memory "
        f"{peaks[1]:.0f} MB, after 64 images {peaks[0]:.0f} MB"
    )


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("height", "width", "batch", "images"):
        parser.add_argument(f"--{name}", type=int, help="images: to generate from" if name == "images" else None)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("float32", "bf16"), help="of the training")
    parser.add_argument("--memory", type=int, metavar="IMAGES", help="this alone; on the CPU, at 256x128 unless told")
    arguments = parser.parse_args()
    large = arguments.device == "cuda" or arguments.memory
    usual = (256, 128, 16, 2048) if large else (128, 64, 2, CAMERAS)
    for name, value in zip(("height", "width", "batch", "images"), usual, strict=True):
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    if arguments.images < CAMERAS:
        parser.error(f"--images {arguments.images}: expected at least {CAMERAS}, one of each camera")
    return arguments


def main():
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    if arguments.memory:
        memory(arguments.memory, arguments)
        return
    device = torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads"
    print(f"{arguments.height}x{arguments.width}, {device}, best of {arguments.repeats} after a warm-up")
    step = training(arguments)
    words = f"training step, published networks, batch {arguments.batch}"
    words += f", {arguments.precision}" if arguments.precision else ""
    print(f"{words}: {1000 * step['update'][0]:.1f} ms; bare passes {1000 * step['bare'][0]:.1f} ms", end=", ")
    print(ratio(step["bare"], step["update"], arguments))
    rates = {}
    for generator, count in ((Generator(CAMERAS), arguments.images), (ColourAffineGenerator(CAMERAS), 1024)):
        found = generation(generator, count, arguments)
        stage, bare = (1 / found[name][0] for name in ("stage", "bare"))
        rates[type(generator).__name__] = stage
        print(f"styles of {type(generator).__name__}: {stage:.1f} a second; bare forward {bare:.1f}", end=", ")
        print(ratio(found["bare"], found["stage"], arguments))
    larger = 256 * 128 / (arguments.height * arguments.width)
    hours = step["update"][0] * STEPS * larger * PUBLISHED_BATCH / arguments.batch / 3600
    scaled = "" if larger == 1 and arguments.batch == PUBLISHED_BATCH else ", taking time as linear in pixels and batch"
    print(f"published settings on this device{scaled}:")
    print(f"  training, {STEPS:,} steps of {PUBLISHED_BATCH} images of 256x128: {hours:,.1f} h")
    for name, count in SETS.items():
        print(f"  {count:,} styles of {name}: {count * larger / rates['Generator'] / 3600:,.2f} h")


if __name__ == "__main__":
    main()
