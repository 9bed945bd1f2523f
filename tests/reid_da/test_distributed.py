"""Two processes train as one process does on the global batch; what they do stands in tests/two_ranks.py."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import torch.distributed as dist
from tiny import same
from torch import nn
from two_ranks import RANKS, compute, rows, train, translate, work

from reid_da import checkpoint, distributed
from reid_da.distributed import GlobalBatchNorm

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("two_ranks")


@pytest.fixture(scope="module")
def ranks(world, folder):
    """What the two processes saw."""
    torch.multiprocessing.spawn(work, (folder, world.folder), nprocs=RANKS)
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.fixture(scope="module")
def alone(world):
    """What this process computes as the only rank."""
    return compute(world)


def close(a, b, rtol=1e-8, atol=1e-10):
    """As assert_close, through lists, dicts and floats."""
    torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def test_one_rank_is_local():
    x = torch.ones(2, 3, requires_grad=True)
    assert (distributed.rank(), distributed.world()) == (0, 1)
    assert distributed.gather(x) is x and distributed.gather_uneven(x) is x
    assert distributed.mean({"a": 2.0}) == {"a": 2.0} and distributed.broadcast("value") == "value"
    assert distributed.local(np.arange(5), "rows").tolist() == [0, 1, 2, 3, 4]
    network = nn.Sequential(nn.BatchNorm1d(3))
    assert type(distributed.global_batchnorm(network)[0]) is nn.BatchNorm1d
    network(x).sum().backward()
    before = network[0].bias.grad.clone()
    distributed.average_gradients(network.parameters())
    assert torch.equal(network[0].bias.grad, before)
    distributed.assert_equal(network.state_dict())


def test_collectives(ranks):
    for rank, seen in enumerate(result["collectives"] for result in ranks):
        assert seen["rank and world"] == (rank, 2)
        assert seen["local"] == [[0, 1, 2], [3, 4, 5]][rank]
        assert seen["broadcast"]["from"] == 0 and seen["broadcast"]["tensor"].tolist() == [0, 0]
        assert seen["broadcast nothing"] is None
        assert (
            seen["mean"] == {"a": 0.5, "b": 6.0, "c": pytest.approx(1 / 3, abs=1e-15)} and seen["mean of nothing"] == {}
        )
        assert seen["labels"].tolist() == [0, 7, 1, 8]
        assert seen["not contiguous"].tolist() == [[0, 3], [1, 4], [2, 5], [10, 13], [11, 14], [12, 15]]
        assert seen["not shared"].startswith("the batch of stream 'source' is 5, which 2 workers cannot share")
        assert seen["unequal"] == "b differs between ranks"


def test_one_rank_s_full_disk_is_every_rank_s_error(ranks):
    said = "[Errno 28] No space left on device, none free: '/scratch/images.npy'"
    assert [result["agreed"] for result in ranks] == [(rank, 28, said) for rank in range(RANKS)]
    with pytest.raises(FileNotFoundError, match="gone"):  # alone: as it is
        distributed.agreed(lambda: open("gone"))


def test_what_the_first_rank_gives_or_meets_is_every_rank_s(ranks):
    said = "invalid literal for int() with base 10: 'no number'"
    assert [result["of first"] for result in ranks] == [("of rank 0", said)] * RANKS


def test_uneven_rows_come_in_rank_order_and_none_is_padded(ranks):
    for result in ranks:
        some, one_empty = result["collectives"]["uneven"]
        assert some.tolist() == [[0, 1], [2, 3], [4, 5], [100, 101], [102, 103], [104, 105], [106, 107], [108, 109]]
        assert one_empty.tolist() == [[100, 101], [102, 103], [104, 105], [106, 107]]


def test_gradients_are_averaged_through_buckets(ranks):
    """Rank 0 has n + i, rank 1 n + 3 i in place i of parameter n: the mean is n + 2 i."""
    for result in ranks:
        gradients = result["collectives"]["average"]
        for number, gradient in enumerate(gradients[:5]):
            assert gradient.flatten().tolist() == [number + 2.0 * i for i in range(gradient.numel())]
        assert gradients[5] is None
        assert gradients[4].is_contiguous(memory_format=torch.channels_last)


def test_gradients_flow_through_gathered_rows(ranks, alone):
    one = alone["gather"]
    for result in ranks:
        assert result["same"]["gather"]["weight"].shape == (5, 3)
        close(result["same"]["gather"]["weight"], one["weight"])
    close(torch.cat([result["same"]["gather"]["rows"] for result in ranks]), one["rows"])
    assert np.mean([result["same"]["gather"]["value"] for result in ranks]) == pytest.approx(one["value"])


@pytest.mark.parametrize("shape", ["2-d", "4-d"])
def test_global_batchnorm_is_batchnorm_of_the_global_batch(ranks, alone, shape):
    """Forward, gradients of rows and parameters, running statistics, evaluation."""
    one, parts = alone[f"batchnorm {shape}"], [result["same"][f"batchnorm {shape}"] for result in ranks]
    assert one["kind"] != "GlobalBatchNorm" and all(part["kind"] == "GlobalBatchNorm" for part in parts)
    for step in range(2):
        for name in ("y", "x"):
            close(torch.cat([part[step][name] for part in parts]), one[step][name])
        for name in one[step].keys() - {"y", "x"}:
            for part in parts:
                close(part[step][name], one[step][name])
    close(torch.cat([part["eval"] for part in parts]), one["eval"])
    assert one[1]["0.num_batches_tracked"] == parts[0][1]["0.num_batches_tracked"] == 2


def test_global_batchnorm_keeps_its_digits_far_from_zero(ranks):
    x = (rows((64, 4), 5, torch.float32) + 1000).double()
    exact = (x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()
    close(torch.cat([result["same"]["far from zero"] for result in ranks]).double(), exact, atol=1e-3, rtol=0)


def test_global_batchnorm_gradient():
    """Against finite differences; with one process its sums are over that one."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for shape in ((5, 3), (3, 2, 2, 2)):
            norm = GlobalBatchNorm(shape[1]).double()
            assert torch.autograd.gradcheck(lambda x, norm=norm: norm(x), rows(shape, 0).requires_grad_())
    finally:
        dist.destroy_process_group()


def test_conversion_keeps_the_network(ranks):
    assert all(result["converted"] == ["GlobalBatchNorm"] for result in ranks)


def test_ranks_that_start_apart_are_found_out(ranks):
    assert all("differs between ranks" in result["unequal weights"] for result in ranks)


def test_a_term_that_is_not_finite_on_one_rank_stops_both(ranks):
    """Alike, so that nobody waits for the other's gradients, and before any weight has moved."""
    for result, what in zip(ranks, ("a term is not finite on another worker", "loss/source is nan"), strict=True):
        found = result["not finite"]
        assert found["said"] == f"step 1: {what}; a smaller learning rate may help"
        assert found["before"]["momentum"] and same(found["after"], found["before"])


def test_an_image_that_breaks_the_stargan_on_one_rank_stops_both(ranks):
    for result, what in zip(ranks, ("a term is not finite on another worker", "loss/D_adv is nan"), strict=True):
        found = result["translation not finite"]
        assert found["said"] == f"step 0: {what}"
        assert same(found["after"], found["before"])


@pytest.mark.parametrize("name", tiny.METHODS)
def test_a_method_learns_on_two_ranks_as_on_one(ranks, alone, name):
    """Reported floats, gradients, weights, running statistics and momentum after two updates."""
    one, (first, second) = alone[name], (result["same"][name] for result in ranks)
    assert same(first["state"], second["state"]), "the ranks went apart"
    assert first["reported"] == second["reported"]
    assert one["gradients"].keys() == first["gradients"].keys()
    assert min(gradient.abs().max() for key, gradient in one["gradients"].items() if key.endswith("weight")) > 1e-6
    for part in ("reported", "gradients", "state"):
        close(first[part], one[part])


@pytest.mark.parametrize("name", tiny.METHODS)
def test_one_rank_goes_on_from_where_two_ranks_stopped(world, ranks, alone, name):
    one, two = alone[name], ranks[0]["same"][name]
    assert not same(one["third"]["method"], one["state"]["method"]), "the third update does nothing"
    close(train(name, world, two["state"])["third"], one["third"])


def test_feature_transfer_is_the_same_on_two_ranks(ranks, alone):
    """Centres, directions and every kind of batch."""
    one, (first, second) = alone["transfer"], (result["same"]["transfer"] for result in ranks)
    assert same(first, second), "the ranks went apart"
    kinds = [name for step in one.values() for name in step["reported"] if "softmax" in name]
    assert kinds == [f"loss/softmax_{kind}" for kind in ("regular", "under", "transferred", "compact")]
    assert one[0]["state"]["method"]["directions"].any()
    close(first, one)


def test_the_stargan_goes_on_from_where_two_ranks_stopped(world, ranks, alone):
    one, two = alone["translate"], ranks[0]["same"]["translate"]
    assert not same(one["third"], one["state"])
    close(translate(world, two["state"])["third"], one["third"], rtol=1e-6, atol=1e-8)


def test_the_stargan_learns_on_two_ranks_as_on_one(ranks, alone):
    one, (first, second) = alone["translate"], (result["same"]["translate"] for result in ranks)
    assert same(first["state"], second["state"])
    assert {"loss/D_gp", "loss/G_identity"} <= one["reported"][1].keys()
    close(first["state"], one["state"], rtol=1e-6, atol=1e-8)
    generator, discriminator = one["networks"]
    for part in (one, first, second):
        assert part["averaged"] == [discriminator, discriminator, generator], "once for a network's step"
    close(first["reported"], one["reported"], rtol=1e-6)
    close(first["gradients"], one["gradients"], rtol=1e-6, atol=1e-8)


def test_fit_on_two_ranks_resumes_bit_for_bit(ranks):
    for result in ranks:
        assert same(result["resumed"]["state"], result["straight"])
        assert [done for done, _ in result["resumed"]["calls"]] == [1, 2, 3, 4, 5]
        assert result["resumed"]["step"] == 4
        assert result["resumed"]["files"] == sorted([checkpoint.NAME, checkpoint.PREVIOUS])
    assert ranks[0]["resumed"]["calls"] == ranks[1]["resumed"]["calls"], "the ranks report different means"


def test_the_processes_left_nothing_behind(folder, ranks):
    assert {path.name for path in Path(folder).iterdir()} <= {"0.pt", "1.pt", "rendezvous", "straight", "stopped"}
