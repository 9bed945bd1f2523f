"""The published networks against the sizes of StarGAN's tables 4 and 5."""

import pytest
import torch

from gan.networks import Discriminator, Generator


def count(network):
    return sum(parameter.numel() for parameter in network.parameters())


def images(batch, height, width, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def small_generator(num_cameras=4, **options):
    torch.manual_seed(0)
    return Generator(num_cameras, channels=8, num_blocks=1, **options)


@pytest.mark.parametrize(
    ("num_cameras", "generator", "discriminator"), [(6, 8_433_664, 44_819_392), (8, 8_439_936, 44_852_160)]
)
def test_published_parameter_counts(num_cameras, generator, discriminator):
    with torch.device("meta"):
        assert count(Generator(num_cameras)) == generator
        assert count(Discriminator(num_cameras, 256, 128)) == discriminator


def test_resizing_takes_kernels_of_3x3_instead_of_4x4():
    with torch.device("meta"):
        assert count(Generator(6, upsample="resize")) == 8_433_664 - (256 * 128 + 128 * 64) * (16 - 9)


def test_discriminator_counts_are_those_of_the_table():
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    trunk = sum(before * after * 16 + after for before, after in zip(widths[:-1], widths[1:], strict=True))
    assert 44_819_392 == trunk + 2048 * 9 + 2048 * 6 * 4 * 2  # patch map 3x3, camera head 4x2, no biases


@pytest.mark.parametrize(("height", "width", "kernel"), [(256, 128, (4, 2)), (128, 64, (2, 1))])
def test_published_discriminator_shapes(height, width, kernel):
    discriminator = Discriminator(6, height, width, channels=2)
    realness, logits = discriminator(images(2, height, width))
    assert discriminator.camera.kernel_size == kernel
    assert realness.shape == (2, 1, *kernel)
    assert logits.shape == (2, 6)


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_generator_keeps_shape_and_range(upsample):
    styled = small_generator(upsample=upsample)(images(3, 24, 16), torch.tensor([0, 3, 1]))
    assert styled.shape == (3, 3, 24, 16)
    assert styled.abs().max() < 1


def test_label_changes_the_output_of_its_own_image_only():
    generator, people = small_generator(), images(2, 32, 16)
    first, second = generator(people, torch.tensor([0, 0])), generator(people, torch.tensor([0, 2]))
    assert torch.allclose(first[0], second[0], atol=1e-6)
    assert (first[1] - second[1]).abs().mean() > 1e-3


def doubling(upsample):
    """The first layers of the generator that double height and width, without norm: 32 channels to 16."""
    layers = list(small_generator(upsample=upsample).layers)
    start = next(i for i, layer in enumerate(layers) if isinstance(layer, torch.nn.Upsample | torch.nn.ConvTranspose2d))
    return torch.nn.Sequential(*layers[start : start + (2 if upsample == "resize" else 1)])


@torch.no_grad()
def test_resize_convolution_is_a_convolution_of_doubled_pixels():
    layers, features = doubling("resize"), torch.randn(1, 32, 3, 2, generator=torch.Generator().manual_seed(0))
    kernel, output = layers[1].weight, layers(features)
    assert output.shape == (1, 16, 6, 4) and layers[1].bias is None
    for channel, y, x in [(0, 0, 0), (3, 2, 3), (15, 5, 1)]:
        total = 0.0
        for i in range(3):
            for j in range(3):
                row, column = y + i - 1, x + j - 1
                if 0 <= row < 6 and 0 <= column < 4:
                    total += (kernel[channel, :, i, j] * features[0, :, row // 2, column // 2]).sum().item()
        assert output[0, channel, y, x].item() == pytest.approx(total, abs=1e-5)


@torch.no_grad()
def test_resizing_makes_no_checkerboard_of_a_flat_area_and_the_transposed_convolution_does():
    flat = torch.ones(1, 32, 6, 6)
    within = {upsample: doubling(upsample)(flat)[..., 2:-2, 2:-2] for upsample in ("transposed", "resize")}
    ripple = {upsample: (inside - inside.mean((2, 3), keepdim=True)).abs().max() for upsample, inside in within.items()}
    assert ripple["resize"] < 1e-5 and ripple["transposed"] > 1e-2


def test_generator_refuses_another_upsampling():
    with pytest.raises(ValueError, match="'bilinear'.*'transposed' or 'resize'"):
        small_generator(upsample="bilinear")


def test_instance_norm_has_no_running_statistics():
    generator, people, cameras = small_generator(), images(2, 16, 8), torch.tensor([1, 2])
    before = generator(people, cameras)
    assert not list(generator.buffers())
    assert torch.equal(before, generator.eval()(people, cameras))


def test_no_discriminator_layer_mixes_images():
    discriminator, people = Discriminator(3, 16, 8, channels=4, depth=3), images(4, 16, 8)
    together = discriminator(people)
    alone = [discriminator(person[None]) for person in people]
    for position, outputs in enumerate(together):
        assert torch.allclose(outputs, torch.cat([one[position] for one in alone]), atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(250, 128), (256, 100), (32, 16)])
def test_discriminator_refuses_a_size_that_does_not_fit(height, width):
    with pytest.raises(ValueError, match=rf"{height}x{width}.*multiples of 64"):
        Discriminator(6, height, width, channels=1)


def test_networks_refuse_images_of_another_size():
    with pytest.raises(ValueError, match="18x16.*multiples of 4"):
        small_generator()(images(1, 18, 16), torch.tensor([0]))
    with pytest.raises(ValueError, match="32x16.*16x8"):
        Discriminator(3, 16, 8, channels=4, depth=3)(images(1, 32, 16))


def test_first_and_last_layers_of_the_generator_keep_the_size():
    layers = Generator(2, channels=2, num_blocks=1).layers
    assert layers[0](torch.ones(1, 5, 32, 16)).shape[2:] == (32, 16) == layers[-2](torch.ones(1, 2, 32, 16)).shape[2:]


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"depth": 0}])
def test_a_discriminator_without_layers_is_refused(wrong):
    with pytest.raises(ValueError):
        Discriminator(2, 64, 64, **wrong)
