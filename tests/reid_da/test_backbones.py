"""Trunks: sizes, parameter counts, weights from a file."""

import pytest
import torch
import torch.nn.functional as F
from tiny import same
from torch import nn
from torchvision.models import resnet18
from torchvision.models import resnet50 as torchvision_resnet50

from reid_da.backbones import narrow_resnet, pool, resnet50


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return torchvision_resnet50(weights=None)


@pytest.fixture(scope="module")
def trunk():
    torch.manual_seed(1)
    return resnet50(weights=None)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_pool_is_the_mean_of_each_map():
    maps = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    expected = torch.stack([maps[:, :, i, j] for i in range(3) for j in range(4)]).sum(0) / 12
    torch.testing.assert_close(pool(maps), expected)


def test_narrow_resnet_has_the_published_size():
    """Stem 3*9*16 + 32; BasicBlocks of 16, 32, 64, 128 with two 3x3 convolutions, their BatchNorms and, but for the first,
    a 1x1 convolution with BatchNorm on the way past."""
    expected = 3 * 9 * 16 + 32
    for inner, outer in ((16, 16), (16, 32), (32, 64), (64, 128)):
        expected += 9 * inner * outer + 9 * outer * outer + 4 * outer
        expected += inner * outer + 2 * outer if inner != outer else 0
    assert count(narrow_resnet(16)) == expected == 307_536


@pytest.mark.parametrize("width", [4, 16])
def test_narrow_resnet_maps(width):
    net = narrow_resnet(width)
    images = torch.randn(2, 3, 64, 32)
    lower = net.lower(images)
    assert lower.shape == (2, 4 * width, 8, 4) and net.lower_features == 4 * width
    assert net(images).shape == (2, 8 * width, 8, 4) and net.num_features == 8 * width
    assert net.stride == lower.shape[2] // net(images).shape[2] == 1
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in net.parameters() if p.ndim == 4)


@pytest.mark.parametrize("width", [4, 16])
def test_a_shortcut_is_the_strided_convolution_of_torch(width):
    """At width 4 oneDNN's own ends the process on a CPU with AVX2."""
    shortcut = narrow_resnet(width).double().lower[4].downsample[0]
    assert shortcut.stride == (2, 2) and list(shortcut.state_dict()) == ["weight"]
    x = torch.randn(13, width, 9, 8, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(x, shortcut.weight, stride=2)
    upstream = torch.randn_like(plain)
    seen = [(y, *torch.autograd.grad(y, (x, shortcut.weight), upstream)) for y in (shortcut(x), plain)]
    torch.testing.assert_close(*seen)


def test_narrow_resnet_starts_with_signals_of_even_size():
    """He initialisation: the maps neither vanish nor explode."""
    torch.manual_seed(0)
    maps = narrow_resnet(16).train()(torch.randn(16, 3, 64, 32))
    assert 0.2 < maps.std().item() < 5


def test_layer4_may_be_called_twice_on_the_same_maps():
    """ARN does; an operation in place on its input would spoil the second call, and L_rec's target."""
    for net in (narrow_resnet(4), resnet50(weights=None)):
        maps = net.lower(torch.randn(2, 3, 64, 32)).detach()
        before = maps.clone()
        net.layer4(maps)
        assert torch.equal(maps, before)


def test_resnet50_has_the_published_maps(trunk):
    with torch.no_grad():
        lower = trunk.lower(torch.randn(1, 3, 256, 128))
        maps = trunk.layer4(lower)
    assert lower.shape == (1, 1024, 16, 8) and maps.shape == (1, 2048, 8, 4)
    assert (trunk.lower_features, trunk.num_features, trunk.stride) == (1024, 2048, 2)


def test_resnet50_is_torchvisions_without_its_classifier(plain, tmp_path):
    """From a file; the pooled features are those that torchvision's fc sees. 25.6 million parameters less the fc's."""
    torch.save(plain.state_dict(), tmp_path / "resnet50.pth")
    trunk = resnet50(str(tmp_path / "resnet50.pth"))
    assert count(trunk) == 25_557_032 - 2_049_000
    images = torch.randn(2, 3, 64, 32)
    plain.eval(), trunk.eval()
    seen = []
    plain.fc.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        plain(images)
        torch.testing.assert_close(pool(trunk(images)), seen[0])


def test_random_weights_differ(plain, trunk):
    assert not torch.equal(trunk.lower[0].weight, plain.conv1.weight)


def test_weights_without_batch_counts_and_classifier_are_enough(plain, tmp_path):
    """As files of torchvision before 0.4 and of others who drop the fc."""
    state = {k: v for k, v in plain.state_dict().items() if not k.startswith("fc.") and "num_batches" not in k}
    torch.save(state, tmp_path / "old.pth")
    assert torch.equal(resnet50(str(tmp_path / "old.pth")).lower[0].weight, plain.conv1.weight)


def cut(state):
    return {k: v for k, v in state.items() if k != "layer4.2.bn3.running_var"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "make, found",
    [
        (lambda plain: resnet18(weights=None).state_dict(), "layer1.0.conv1.weight first"),
        (lambda plain: {"state_dict": plain.state_dict()}, "265 of 265 tensors .* conv1.weight first"),
        (lambda plain: cut(plain.state_dict()), "1 of 265 tensors .* layer4.2.bn3.running_var first"),
        (lambda plain: {}, "conv1.weight first"),
    ],
    ids=["another ResNet", "wrapped", "cut", "empty"],
)
def test_another_networks_weights_are_refused(plain, tmp_path, make, found):
    torch.save(make(plain), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=f"other.pth is no torchvision ResNet-50 state dict: .*{found}"):
        resnet50(str(tmp_path / "other.pth"))


def test_trunks_are_features_only(trunk):
    for net in (trunk, narrow_resnet(4)):
        assert not any(isinstance(module, nn.Linear | nn.Dropout) for module in net.modules())


def test_last_stride_1_keeps_the_weights_and_doubles_the_map():
    torch.manual_seed(0)
    usual = resnet50(weights=None)
    torch.manual_seed(0)
    fine = resnet50(weights=None, last_stride=1)
    assert same(usual.state_dict(), fine.state_dict()) and fine.stride == 1
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert usual.eval()(images).shape == (1, 2048, 2, 1) and fine.eval()(images).shape == (1, 2048, 4, 2)
    with pytest.raises(ValueError, match="backbone.last_stride is 3; expected 1 or 2"):
        resnet50(weights=None, last_stride=3)


def test_weights_with_a_classifier_of_other_classes_are_enough(tmp_path):
    state = torchvision_resnet50(weights=None, num_classes=751).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    found = resnet50(weights=str(tmp_path / "weights.pth")).state_dict()
    assert torch.equal(found["lower.0.weight"], state["conv1.weight"])
