"""The same pretraining step in PyTorch, channels last.

What `benchmarks.step` and `benchmarks.memory` compare with where PyTorch is installed.
"""

import torch
from torch import nn
from torch.nn import functional

COUNTS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
ETA, MOMENTUM, DECAY, TEMPERATURE = 0.001, 0.9, 1e-6, 0.1


def conv_norm(inputs, outputs, kernel, stride=1, relu=True):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, momentum=0.1),
        *([nn.ReLU(inplace=True)] if relu else []),
    )


class Block(nn.Module):
    def __init__(self, inputs, filters, stride, first, bottleneck):
        super().__init__()
        outputs = filters * (4 if bottleneck else 1)
        self.shortcut = (
            conv_norm(inputs, outputs, 1, stride, relu=False) if first else nn.Identity()
        )
        self.branch = (
            nn.Sequential(
                conv_norm(inputs, filters, 1),
                conv_norm(filters, filters, 3, stride),
                conv_norm(filters, outputs, 1, relu=False),
            )
            if bottleneck
            else nn.Sequential(
                conv_norm(inputs, filters, 3, stride), conv_norm(filters, filters, 3, relu=False)
            )
        )

    def forward(self, x):
        return functional.relu(self.branch(x).add_(self.shortcut(x)), inplace=True)


class Pretraining(nn.Module):
    """Encoder, three-layer projection head and linear classifier."""

    def __init__(self, depth, width, image_size, num_classes=10):
        super().__init__()
        channels, bottleneck = int(64 * width), depth >= 50
        self.stem = (
            conv_norm(3, channels, 3)
            if image_size <= 32
            else nn.Sequential(conv_norm(3, channels, 7, 2), nn.MaxPool2d(3, 2, 1))
        )
        blocks, inputs = [], channels
        for group, count in enumerate(COUNTS[depth]):
            filters = int(64 * width * 2**group)
            for block in range(count):
                blocks.append(
                    Block(inputs, filters, 2 if group and not block else 1, not block, bottleneck)
                )
                inputs = filters * (4 if bottleneck else 1)
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.Linear(inputs, inputs, bias=False),
            nn.BatchNorm1d(inputs),
            nn.ReLU(),
            nn.Linear(inputs, inputs, bias=False),
            nn.BatchNorm1d(inputs),
            nn.ReLU(),
            nn.Linear(inputs, 128, bias=False),
            nn.BatchNorm1d(128),
        )
        self.classifier = nn.Linear(inputs, num_classes)

    def loss(self, images, labels):
        """NT-Xent, and the classifier's cross-entropy.

        images: views [2B, 3, S, S], the first B beside the last B.
        """
        features = self.blocks(self.stem(images)).mean((2, 3))
        z = functional.normalize(self.head(features).float())
        logits = z @ z.T / TEMPERATURE - 1e9 * torch.eye(len(z))
        partner = torch.arange(len(z)).roll(len(z) // 2)
        return 2 * functional.cross_entropy(logits, partner) + functional.cross_entropy(
            self.classifier(features.detach()).float(), labels.repeat(2)
        )


class Lars:
    """As `optimizers.LARS`: batch norm, biases and classifier are neither decayed nor adapted."""

    def __init__(self, model):
        self.model = model
        self.velocity = {name: torch.zeros_like(p) for name, p in model.named_parameters()}

    @torch.no_grad()
    def step(self, rate=0.1):
        for name, p in self.model.named_parameters():
            gradient, factor = p.grad, 1.0
            if p.ndim > 1 and not name.startswith("classifier"):
                gradient = gradient + DECAY * p
                w, g = p.norm(), gradient.norm()
                factor = torch.where((w > 0) & (g > 0), ETA * w / g, 1.0)
            self.velocity[name].mul_(MOMENTUM).add_(rate * factor * gradient)
            p.sub_(self.velocity[name])
            p.grad = None


def make_step(options):
    """A function that does one step on random images and returns the loss.

    options: with depth, width, image_size, batch and precision.
    """
    model = Pretraining(options.depth, options.width, options.image_size).to(
        memory_format=torch.channels_last
    )
    optimizer = Lars(model)
    images = torch.rand(2 * options.batch, 3, options.image_size, options.image_size).to(
        memory_format=torch.channels_last
    )
    labels = torch.zeros(options.batch, dtype=torch.int64)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = model.loss(images, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
