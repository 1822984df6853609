"""The same net in PyTorch, with the same weights, loss and solver; for the peers' environment only."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.closeness import check_close, check_gradient

PARAMETERS = 349_738
SLOPE = 0.01
# expanded channels, channels out, stride; see facealign/networks/mobilenet_v2.py
BLOCKS = ((96, 24, 2), (144, 24, 1), (144, 32, 2), (192, 32, 1), (192, 64, 2), (192, 64, 1))


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.01)


class Bottleneck(nn.Module):
    """1x1, depthwise 3x3, 1x1; with a sum at the end where the stride is 1."""

    def __init__(self, before: int, expanded: int, channels: int, stride: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(before, expanded, 1, bias=False)
        self.norm1 = norm(expanded)
        self.spatial = nn.Conv2d(expanded, expanded, 3, stride, 1, groups=expanded, bias=False)
        self.norm2 = norm(expanded)
        self.project = nn.Conv2d(expanded, channels, 1, bias=False)
        self.norm3 = norm(channels)
        self.adds = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = functional.leaky_relu(self.norm1(self.expand(x)), SLOPE, inplace=True)
        y = functional.leaky_relu(self.norm2(self.spatial(y)), SLOPE, inplace=True)
        y = self.norm3(self.project(y))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """(N, 3, 64, 64) -> (N, 136)"""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm1 = norm(16)
        before, blocks = 16, list[nn.Module]()
        for expanded, channels, stride in BLOCKS:
            blocks.append(Bottleneck(before, expanded, channels, stride))
            before = channels
        self.blocks = nn.Sequential(*blocks)
        self.fc1 = nn.Linear(4 * 4 * 64, 200)
        self.fc2 = nn.Linear(200, 200)
        self.fc3 = nn.Linear(200, 50)
        self.fc4 = nn.Linear(50, 136)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(self.norm1(self.conv1(x)), SLOPE, inplace=True)
        x = self.blocks(x).flatten(1)
        x = functional.leaky_relu(self.fc1(x), SLOPE, inplace=True)
        x = functional.leaky_relu(self.fc2(x), SLOPE, inplace=True)
        output: Tensor = self.fc4(self.fc3(x))
        return output


def pairs(net: MobileNetV2) -> list[tuple[str, nn.Module]]:
    """Modules with the names of Caffe's layers; a BatchNorm2d is Caffe's BatchNorm and the Scale after it."""
    found: list[tuple[str, nn.Module]] = [("conv1", net.conv1), ("BatchNorm1 Scale1", net.norm1)]
    norms, scales = 1, 1
    for k, block in enumerate(net.blocks, start=1):
        assert isinstance(block, Bottleneck)
        convolutions = (block.expand, block.spatial, block.project)
        names = (f"Convolution{2 * k - 1}", f"ConvolutionDepthwise{k}", f"Convolution{2 * k}")
        for index, name in enumerate(names):
            norms += 1
            last_of_strided = index == 2 and not block.adds
            scales += not last_of_strided
            scale = f"fuse{k + 1}" if last_of_strided else f"Scale{scales}"
            found.append((name, convolutions[index]))
            found.append((f"BatchNorm{norms} {scale}", (block.norm1, block.norm2, block.norm3)[index]))
    return [*found, ("fc1", net.fc1), ("fc2", net.fc2), ("fc3", net.fc3), ("fc4", net.fc4)]


def parameters(net: MobileNetV2) -> dict[str, nn.Parameter]:
    """Learnable parameters by Caffe's layer and index of the blob."""
    found = {}
    for name, module in pairs(net):
        for index, parameter in enumerate(module.parameters(recurse=False)):
            found[f"{name.split()[-1]}/{index}"] = parameter
    return found


def net_of(reference: dict[str, np.ndarray]) -> MobileNetV2:
    """The net with the reference's weights. Raises ValueError when there are more or fewer than in Caffe."""
    net = MobileNetV2()
    count = sum(one.numel() for one in net.parameters())
    if count != PARAMETERS:
        raise ValueError(f"the PyTorch net has {count} parameters, not {PARAMETERS}")
    with torch.no_grad():
        for name, parameter in parameters(net).items():
            parameter.copy_(torch.from_numpy(reference[f"weights/{name}"]).view_as(parameter))
        for name, module in pairs(net):
            if isinstance(module, nn.BatchNorm2d):
                blobs = [reference[f"weights/{name.split()[0]}/{index}"] for index in range(3)]
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.copy_(torch.from_numpy(blobs[0] / blobs[2]))
                module.running_var.copy_(torch.from_numpy(blobs[1] / blobs[2]))
    return net


def loss_of(output: Tensor, target: Tensor) -> Tensor:
    """WeightEuclideanLoss, normalized: squared error by the published net's eye distance, half the mean."""
    across = target[:, 36] - target[:, 42]
    down = target[:, 68 + 39] - target[:, 68 + 45]
    distance = torch.sqrt(across**2 + down**2).clamp_min(torch.finfo(torch.float32).tiny)
    return ((output - target).square().sum(1) / distance).sum() / (2 * len(output))


def noisy(data: Tensor) -> Tensor:
    """The Noise layer: normal, 0.001 of the batch's root mean square."""
    return data + torch.randn_like(data) * (0.001 * data.square().mean().sqrt())


def adam(net: MobileNetV2) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Stage 2's solver: rates and decays by parameter as in its prototxt."""
    kinds: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in parameters(net).items():
        rate = 1e-4 * (2 if name.startswith(("conv1/1", "fc")) and name.endswith("/1") else 1)
        decay = 0.0 if name == "conv1/1" else 5e-4
        kinds.setdefault((rate, decay), []).append(parameter)
    # One group a kind, since each is a call.
    groups = [{"params": group, "lr": rate, "weight_decay": decay} for (rate, decay), group in kinds.items()]
    optimizer = torch.optim.Adam(groups, betas=(0.9, 0.999), eps=1e-8, fused=True)
    inverse = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: (1 + 1e-5 * step) ** -0.75)
    return optimizer, inverse


def prepare(directory: str, threads: int) -> tuple[MobileNetV2, dict[str, np.ndarray]]:
    """The net, checked against the reference: outputs, loss, gradients."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(1)
    reference = dict(np.load(Path(directory) / "reference.npz"))
    net = net_of(reference).to(memory_format=torch.channels_last)
    data = torch.from_numpy(reference["data"]).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        check_close(net.eval()(data).numpy(), reference["output"], "output")
    output = net.train()(data)
    check_close(output.detach().numpy(), reference["training_output"], "output in training")
    loss = loss_of(output, torch.from_numpy(reference["landmark"]))
    check_close(loss.detach().numpy(), reference["loss"], "loss")
    loss.backward()
    learnt = {f"gradient/{name}": parameter.grad for name, parameter in parameters(net).items()}
    for name in [name for name in reference if name.startswith("gradient/")]:
        expected, gradient = reference[name], learnt[name]
        assert gradient is not None
        check_gradient(gradient.reshape(expected.shape).numpy(), expected, name)
    net.zero_grad()
    return net, reference


def training(directory: str, threads: int, compiled: bool) -> Callable[[], object]:
    """An iteration: a batch copied in, noise, forward, backward, update. Eager, or by torch.compile."""
    net, reference = prepare(directory, threads)
    optimizer, rates = adam(net)
    batch = torch.from_numpy(reference["data"])
    landmark = torch.from_numpy(reference["landmark"])

    def loss(data: Tensor, target: Tensor) -> Tensor:
        return loss_of(net(noisy(data)), target)

    run = torch.compile(loss) if compiled else loss

    def iteration() -> None:
        data = batch.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        run(data, landmark).backward()
        optimizer.step()
        rates.step()

    return iteration


def forward(directory: str, threads: int, faces: int) -> Callable[[], object]:
    """A forward pass in inference mode."""
    net, reference = prepare(directory, threads)
    net.eval()
    batch = torch.from_numpy(reference["data"][:faces].copy())

    def call() -> Tensor:
        with torch.inference_mode():
            output: Tensor = net(batch.contiguous(memory_format=torch.channels_last))
            return output

    # The check in `prepare` has moved the statistics on.
    net.load_state_dict(net_of(reference).state_dict())
    check_close(call(), reference["output"][:faces], "output")
    return call
