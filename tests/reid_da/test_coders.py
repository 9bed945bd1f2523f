"""Encoders and decoders: shapes, layers by hand, sizes."""

import pytest
import torch
from torch import nn

from reid_da.backbones import narrow_resnet, resnet50
from reid_da.coders import FCNDecoder, FCNEncoder, FeatureDecoder, FilterNetwork, ImageDecoder, VectorDecoder


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_fcn_encoder_is_three_matrices():
    """conv6 is one over the whole map; BatchNorm, ReLU and dropout after two of them, nothing after the third."""
    torch.manual_seed(0)
    encoder = FCNEncoder(6, 5, (4, 2)).double()
    x = torch.randn(7, 6, 4, 2, dtype=torch.float64)
    rows, masks = x.flatten(1), {layer: torch.rand(7, 5) < 0.5 for layer in ("conv6", "conv7")}
    for layer in ("conv6", "conv7"):
        rows = rows @ getattr(encoder, layer)[0].weight.flatten(1).T
        rows = ((rows - rows.mean(0)) / (rows.var(0, correction=0) + 1e-5).sqrt()).clamp(min=0) * masks[layer]
    expected = rows @ encoder.conv8.weight.flatten(1).T + encoder.conv8.bias
    code = encoder(x, lambda rows, layer: rows * masks[layer][:, :, None, None])
    assert code.shape == (7, 6, 1, 1) and (code < 0).any()
    torch.testing.assert_close(code.flatten(1), expected)


def test_the_fcn_decoder_gives_back_the_map_and_any_value():
    decoder = FCNDecoder(6, 5, (4, 2))
    assert decoder(torch.randn(3, 6, 1, 1)).shape == (3, 6, 4, 2)
    assert isinstance(decoder[-1], nn.ConvTranspose2d)


@pytest.mark.parametrize("stride, size", [(1, (8, 4)), (2, (16, 8))])
def test_the_feature_decoder_gives_back_the_lower_maps(stride, size):
    decoder = FeatureDecoder(num_features=6, lower_features=5, stride=stride)
    assert decoder(torch.randn(2, 6, 8, 4)).shape == (2, 5, *size)
    assert isinstance(decoder.layers[-1], nn.Conv2d), "the last layer must reach any value"


@pytest.mark.parametrize(
    "features, stride, channels", [(2048, 32, [2048, 1024, 512, 256, 64, 3]), (128, 8, [128, 64, 16, 3])]
)
def test_the_image_decoder_has_the_published_channels(features, stride, channels):
    with torch.device("meta"):
        decoder = ImageDecoder(features, stride)
        image = decoder(torch.zeros(2, features, 8, 4))
    deconvolutions = [m for m in decoder if isinstance(m, nn.ConvTranspose2d)]
    assert image.shape == (2, 3, 8 * stride, 4 * stride)
    assert [m.in_channels for m in deconvolutions if m.stride == (2, 2)] == channels[:-1]
    assert [m.out_channels for m in deconvolutions] == [c for c in channels[1:] for _ in range(3)]
    assert (
        isinstance(decoder[-1], nn.Tanh)
        and sum(isinstance(m, nn.LeakyReLU) for m in decoder) == len(deconvolutions) - 1
    )


@pytest.mark.parametrize("make, features", [(narrow_resnet, 128), (lambda: resnet50(weights=None), 2048)])
def test_a_trunk_knows_its_whole_stride(make, features):
    trunk = make().eval()
    with torch.no_grad():
        maps = trunk(torch.zeros(1, 3, 64, 32))
    assert maps.shape[1:] == (features, 64 // trunk.total_stride, 32 // trunk.total_stride)


def test_fcn_layers_have_the_size_that_is_said():
    """35M weights an encoder on ResNet-50 at width 512, 134M in conv6 alone at 2048."""
    with torch.device("meta"):
        encoder, decoder, wide = (
            make(2048, width, (8, 4)) for make, width in ((FCNEncoder, 512), (FCNDecoder, 512), (FCNEncoder, 2048))
        )
    assert count(encoder) == 2048 * 512 * 32 + 512 * 512 + 512 * 2048 + 2048 + 4 * 512 == 34_869_248
    assert count(decoder) == count(encoder)
    assert count(wide.conv6[0]) == 134_217_728


@pytest.mark.parametrize("trunk, width, size", [(narrow_resnet(4), 16, (32, 16)), (resnet50(None), 64, (256, 128))])
def test_the_vector_decoder_gives_an_image_of_the_trunk_s_size_in_its_range(trunk, width, size):
    map_size = tuple(side // trunk.total_stride for side in size)
    decoder = VectorDecoder(trunk.num_features, width, map_size, trunk.total_stride).eval()
    image = decoder(100 * torch.randn(2, trunk.num_features))
    assert image.shape == (2, 3, *size) and image.abs().max() <= 1
    assert not torch.equal(image[0], image[1])


def test_the_filter_network_has_the_papers_layers_in_their_order():
    """Linear, two transposed convolutions, two convolutions, linear; the last reaches any value."""
    network = FilterNetwork(32)
    kinds = [type(m) for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)]
    assert kinds == [nn.Linear, nn.ConvTranspose2d, nn.ConvTranspose2d, nn.Conv2d, nn.Conv2d, nn.Linear]
    found = network(torch.randn(5, 32))
    assert found.shape == (5, 32) and (found < 0).any() and kinds[-1] is type(network[-1])
    assert count(FilterNetwork(2048)) < 10e6, "less than half of the trunk"


def test_every_layer_of_the_image_decoder_has_batchnorm_and_the_last_ends_in_tanh():
    parts = [type(part).__name__ for part in ImageDecoder(64, 8).modules() if not list(part.children())]
    layer = ["ConvTranspose2d", "BatchNorm2d"]
    assert parts == [*([*layer, "LeakyReLU"] * 8), *layer, "Tanh"]
    assert {part.negative_slope for part in ImageDecoder(64, 8).modules() if isinstance(part, nn.LeakyReLU)} == {0.2}


def test_the_feature_decoder_leaks_a_fifth():
    slopes = [part.negative_slope for part in FeatureDecoder(8, 4, 2).modules() if isinstance(part, nn.LeakyReLU)]
    assert slopes and set(slopes) == {0.2}
