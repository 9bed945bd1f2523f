"""The quick recipe's generator: its measured half against its defining properties, the whole against its equation."""

import pytest
import torch
import torch.nn.functional as F

from gan.colour_affine import ColourAffineGenerator

CAMERAS = 3


def network_images(batch, height=16, width=8, seed=0):
    return torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def world(count=60, seed=0):
    """Pixels (N, 16, 8, 3) uint8 of coloured noise, and cameras with gains and casts of their own."""
    rng = torch.Generator().manual_seed(seed)
    cameras = torch.arange(count) % CAMERAS
    gains = torch.tensor([[0.5, 0.6, 0.4], [0.7, 0.4, 0.6], [0.4, 0.5, 0.7]])[cameras][:, None, None]
    casts = torch.tensor([[0.1, -0.2, 0.2], [-0.1, 0.1, -0.2], [0.2, 0.0, 0.1]])[cameras][:, None, None]
    mixing = torch.tensor([[1.0, 0.3, 0.0], [0.0, 0.9, 0.4], [0.2, 0.0, 1.0]])
    noise = torch.rand(count, 16, 8, 3, generator=rng) - 0.5
    colours = (noise @ mixing) * gains + casts
    return ((colours + 1) * 127.5).round().to(torch.uint8), cameras


def generator(measured=True, trained=True):
    torch.manual_seed(0)
    network = ColourAffineGenerator(CAMERAS, channels=8)
    if measured:
        network.measure(*world())
    if trained:  # the last layer starts at zero, which would hide everything before it
        torch.nn.init.normal_(network.undo.weight, std=0.3)
        torch.nn.init.normal_(network.undo.bias, std=0.1)
    return network


def moments(colours):
    """Mean (3,) and covariance (3, 3) of (..., 3) float64 colours, by loops over channels."""
    flat = colours.reshape(-1, 3)
    mean = [sum(flat[:, c].tolist()) / len(flat) for c in range(3)]
    covariance = [[((flat[:, a] - mean[a]) * (flat[:, b] - mean[b])).mean().item() for b in range(3)] for a in range(3)]
    return torch.tensor(mean, dtype=torch.float64), torch.tensor(covariance, dtype=torch.float64)


def test_looks_carry_the_common_moments_to_each_cameras_and_are_symmetric():
    """A m + b = m_k and A R A^T = S_k, which with A symmetric and positive fix the map of least transport."""
    images, cameras = world()
    network = generator()
    colours = images.double() / 127.5 - 1
    of_camera = [moments(colours[cameras == camera]) for camera in range(CAMERAS)]
    mean, spread = (sum(values) / CAMERAS for values in zip(*of_camera, strict=True))
    for camera, (own_mean, own_spread) in enumerate(of_camera):
        matrix, shift = network.matrices[camera].double(), network.shifts[camera].double()
        assert torch.allclose(matrix @ mean + shift, own_mean, atol=1e-5)
        assert torch.allclose(matrix @ spread @ matrix.T, own_spread, atol=2e-4)  # the least variance is 1e-4
        assert torch.allclose(matrix, matrix.T, atol=1e-5)
        assert (torch.linalg.eigvalsh(matrix) > 0).all()


def test_is_the_equation_pixel_by_pixel():
    network, people, cameras = generator().double(), network_images(2).double(), torch.tensor([1, 2])
    seen = []
    network.undo.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    styled = network(people, cameras)
    for b, y, x in [(0, 0, 0), (0, 7, 5), (1, 15, 7)]:
        numbers, pixel = seen[0][b].view(3, 4), people[b, :, y, x]
        common = pixel + numbers[:, :3] @ pixel + numbers[:, 3]
        expected = network.matrices[cameras[b]] @ common + network.shifts[cameras[b]]
        assert torch.allclose(styled[b, :, y, x], expected.clamp(-1, 1), atol=1e-12)


def test_an_image_with_the_common_look_gets_the_wanted_one_before_any_training():
    images, cameras = world()
    network = generator(trained=False)
    people = (images.permute(0, 3, 1, 2) / 127.5 - 1)[cameras == 1]
    there = network(people, torch.full((len(people),), 1))
    back = torch.linalg.solve(network.matrices[1], there.flatten(2) - network.shifts[1][:, None])
    assert torch.allclose(back.view_as(people), people, atol=1e-4)


def test_label_changes_the_output_of_its_own_image_only():
    network, people = generator(), network_images(2)
    first, second = network(people, torch.tensor([0, 0])), network(people, torch.tensor([0, 2]))
    assert torch.allclose(first[0], second[0], atol=1e-6)
    assert (first[1] - second[1]).abs().mean() > 1e-2


def test_one_affine_map_for_all_pixels_of_an_image():
    """Clothes cannot be repainted: equal colours stay equal wherever they are."""
    people = network_images(1)
    people[0, :, 15, 7] = people[0, :, 0, 0]
    styled = generator()(people, torch.tensor([1]))
    assert torch.allclose(styled[0, :, 15, 7], styled[0, :, 0, 0], atol=1e-6)


def test_every_parameter_gets_a_finite_gradient_also_from_flat_images():
    network, people = generator(), network_images(2)
    people[0] = 0.1
    network(people, torch.tensor([0, 1])).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in network.parameters())
    assert all(parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_measuring_does_not_depend_on_how_pixels_are_held_and_constant_colours_are_no_trouble():
    images, cameras = world()
    held = generator(measured=False)
    held.measure(images.numpy(), cameras.numpy())
    assert torch.equal(held.matrices, generator().matrices)
    held.measure(torch.full_like(images, 200), cameras)
    assert held.matrices.isfinite().all()
    assert torch.allclose(held.matrices, torch.eye(3).expand(CAMERAS, 3, 3), atol=1e-4)


def test_looks_travel_with_the_state_dict():
    network, other = generator(), generator(measured=False, trained=False)
    other.load_state_dict(network.state_dict())
    people, cameras = network_images(2), torch.tensor([0, 2])
    assert torch.equal(other(people, cameras), network(people, cameras))


def test_refuses_missing_looks_cameras_and_sizes():
    images, _ = world()
    with pytest.raises(ValueError, match="call measure"):
        generator(measured=False)(network_images(1), torch.tensor([0]))
    used = generator()
    used(network_images(1), torch.tensor([0]))
    used.load_state_dict(generator(measured=False).state_dict())
    with pytest.raises(ValueError, match="call measure"):
        used(network_images(1), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"\[30, 30, 0\]"):
        generator(measured=False).measure(images, torch.arange(60) % 2)
    with pytest.raises(ValueError, match=r"\[15, 15, 15, 15\]"):
        generator(measured=False).measure(images, torch.arange(60) % 4)
    with pytest.raises(ValueError, match="18x16.*multiples of 4"):
        generator()(network_images(1, 18, 16), torch.tensor([0]))


def test_what_undoes_a_camera_is_told_from_mean_and_deviation_of_blocks_of_4_halved_once():
    torch.manual_seed(0)
    network = ColourAffineGenerator(3, channels=4).double()
    network.matrices.copy_(torch.eye(3).expand(3, 3, 3))
    torch.nn.init.normal_(network.undo.weight, std=0.01)
    images = torch.rand(2, 3, 32, 16, dtype=torch.float64) - 0.5
    blocks, (first, second, third) = F.pixel_unshuffle(images, 4), (network.features[i] for i in (0, 2, 4))
    x = F.leaky_relu(F.conv2d(blocks, first.weight, first.bias, 1, 1), 0.1)
    x = F.leaky_relu(F.conv2d(x, second.weight, second.bias, 2, 1), 0.1)
    x = F.leaky_relu(F.conv2d(x, third.weight, third.bias, 1, 1), 0.1)
    summary = torch.cat([x.mean((2, 3)), x.flatten(2).std(2)], 1)
    numbers = (summary @ network.undo.weight.T + network.undo.bias).view(2, 3, 4)
    pixels = images.flatten(2)
    expected = (pixels + numbers[:, :, :3] @ pixels + numbers[:, :, 3:]).clamp(-1, 1).view_as(images)
    torch.testing.assert_close(network(images, torch.tensor([0, 2])), expected)
