"""Times of the ranking code beside the bare matrix product and a plain full argsort, in one run, at Market-1501's size.

    python benchmarks/ranking.py                      # 3,368 queries x 15,913 gallery images, 2,048 dimensions
    python benchmarks/ranking.py --rerank             # the k-reciprocal re-ranking too (about a minute on 2 cores)
    python benchmarks/ranking.py --device cuda
    python benchmarks/ranking.py --queries 11659 --gallery 82161 --persons 3060 --alone   # MSMT17's size

Features are random clusters, best of --repeats, turn by turn, so that a busy machine slows all rows alike; the CPU seconds
are the steadier figure there. Goals on 2 idle cores: rank_metrics <= 0.5 s, evaluate <= 1.3 matrix products, re-ranking
<= 15 s and 2 GB beyond its matrix product.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import torch

from reid_da.distances import squared_euclidean, squared_euclidean_chunks
from reid_da.ranking import evaluate, k_reciprocal_rerank, rank_metrics


def plain_argsort(distances, query_persons, query_cameras, gallery_persons, gallery_cameras):
    """mAP by sorting the whole gallery for every query: how most code does it."""
    order = np.argsort(distances, axis=1)
    precisions = []
    for query, row in enumerate(order):
        same = gallery_persons[row] == query_persons[query]
        hits = same[~(same & (gallery_cameras[row] == query_cameras[query]))]
        if hits.any():
            precisions.append((np.cumsum(hits)[hits] / (np.flatnonzero(hits) + 1)).mean())
    return float(np.mean(precisions))


def draw(arguments):
    """Normalised features around one centre for each person, ids (a fifth of the gallery distractors) and cameras."""
    generator = torch.Generator().manual_seed(arguments.seed)
    centres = torch.randn(arguments.persons + 1, arguments.dim, generator=generator)
    sides = []
    for count in (arguments.queries, arguments.gallery):
        persons = torch.randint(1, arguments.persons + 1, (count,), generator=generator)
        cameras = torch.randint(0, 6, (count,), generator=generator)
        features = centres[persons] + arguments.spread * torch.randn(count, arguments.dim, generator=generator)
        sides.append((torch.nn.functional.normalize(features).to(arguments.device), persons.numpy(), cameras.numpy()))
    gallery_persons = sides[1][1]
    gallery_persons[: len(gallery_persons) // 5] = 0
    return sides


def timed(work):
    """(seconds, CPU seconds of all threads, result) of one call; a device's queue is emptied before the clocks stop."""
    start, cpu_start = time.perf_counter(), time.process_time()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu_start, result


def resident() -> float:
    """GiB of this process that are in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**30


def peak() -> float:
    """GiB of it that were at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("queries", 3368), ("gallery", 15913), ("dim", 2048), ("persons", 750), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--spread", type=float, default=4.0, help="noise around a person's centre")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rerank", action="store_true")
    parser.add_argument("--alone", action="store_true", help="without what holds all distances at once")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    (queries, *query_ids), (gallery, *gallery_ids) = draw(arguments)
    ids = (*query_ids, *gallery_ids)
    before = resident()  # first of all, since the peak of memory is read
    seconds, cpu, found = timed(lambda: evaluate(queries, *query_ids, gallery, *gallery_ids))
    grown = peak() - before
    size = f"{len(queries)} queries x {len(gallery)} gallery images x {arguments.dim}, {arguments.device}"
    print(
        f"{size}: evaluate {seconds:.2f} s ({cpu:.2f} CPU s), peak memory above the features {grown:.2f} GiB, mAP {found.mAP:.6f}"
    )
    if arguments.rerank:
        rerank(queries, query_ids, gallery, gallery_ids)
    if arguments.alone:
        return
    distances = squared_euclidean(queries, gallery)
    on_host = distances.cpu().numpy()

    works = {
        "matrix product": lambda: queries @ gallery.T,
        "rank_metrics": lambda: rank_metrics(distances, *ids),
        "evaluate": lambda: evaluate(queries, *query_ids, gallery, *gallery_ids),
        "plain argsort": lambda: plain_argsort(on_host, *ids),
    }
    turns = [{name: timed(work) for name, work in works.items()} for _ in range(arguments.repeats)]
    seconds, cpu_seconds = ({name: min(turn[name][i] for turn in turns) for name in works} for i in (0, 1))
    results = {name: turns[0][name][2] for name in works}
    print(f"{arguments.threads} threads, best of {arguments.repeats}")
    print(f"{'':<16}{'seconds':>10}{'CPU s':>8}   in matrix products (by the clock, by CPU seconds)")
    for name in works:
        ratios = [times[name] / times["matrix product"] for times in (seconds, cpu_seconds)]
        print(f"{name:<16}{seconds[name]:10.2f}{cpu_seconds[name]:8.2f}{ratios[0]:8.2f}{ratios[1]:8.2f}")
    print(f"plain argsort / rank_metrics: {seconds['plain argsort'] / seconds['rank_metrics']:.1f}")
    maps = [results["rank_metrics"].mAP, results["evaluate"].mAP, results["plain argsort"]]
    print("mAP of rank_metrics, evaluate, plain argsort:", *(f"{value:.6f}" for value in maps))


def rerank(queries, query_ids, gallery, gallery_ids):
    """The re-ranking beside the distances of all images to all images, block by block, on which it rests."""
    features = torch.cat([queries, gallery])
    bare, bare_cpu, _ = timed(lambda: [None for _ in squared_euclidean_chunks(features, features)])
    before = resident()
    whole, whole_cpu, result = timed(lambda: k_reciprocal_rerank(queries, gallery))
    grown = peak() - before
    print(
        f"re-ranking {whole:.2f} s, of which {bare:.2f} s for all distances: {whole - bare:.2f} s beyond them", end=" "
    )
    print(f"(CPU seconds {whole_cpu:.2f}, {bare_cpu:.2f}, {whole_cpu - bare_cpu:.2f})")
    print(
        f"mAP re-ranked: {rank_metrics(result, *query_ids, *gallery_ids).mAP:.6f}; peak memory grew by {grown:.2f} GiB"
    )


if __name__ == "__main__":
    main()
