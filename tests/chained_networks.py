"""Networks as users write them: a chain of modules, one around such a chain, and one with a tied weight."""

import torch
from torch import nn

from raymaas.models.chance import Dropout


class Leap(nn.Module):
    """Writes over what it is given."""

    def __init__(self, hidden: int):
        super().__init__()
        self.linear = nn.Linear(hidden, hidden)

    def forward(self, h):
        return self.linear(h.mul_(2))


class Stack(nn.Sequential):
    """Is a chain. Before its leap is nearest to the middle."""

    def __init__(self, in_features: int, classes: int, hidden: int = 16):
        super().__init__(
            nn.Flatten(),
            nn.Linear(in_features, hidden),
            nn.ReLU(inplace=True),
            Dropout(0.1),
            nn.Sequential(nn.Linear(hidden, hidden), nn.Identity()),
            Leap(hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, classes),
        )


class Around(nn.Module):
    """Does something of its own before and behind a chain, there with the rows."""

    def __init__(self, in_features: int, classes: int):
        super().__init__()
        self.layers = Stack(in_features, classes)

    def forward(self, x):
        return 2 * self.layers(x / 2) + x.mean(dim=1, keepdim=True)


class Ladder(nn.Module):
    """Residual blocks between two uses of the same weights, and a parameter that is no module's."""

    def __init__(self, in_features: int, hidden: int = 16, depth: int = 3):
        super().__init__()
        self.down = nn.Linear(in_features, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, hidden))
            for _ in range(depth)
        )
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        h = self.down(x)
        for block in self.blocks:
            h = h + block(h)
        return (h @ self.down.weight).mean(dim=1) + self.offset


class Mirror(nn.Module):
    """Has a weight in both halves that learns in the second one only."""

    def __init__(self, in_features: int, classes: int, hidden: int = 16):
        super().__init__()
        self.first = nn.Linear(in_features, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, classes)

    def forward(self, x):
        h = torch.tanh(self.first(x) @ self.second.weight.detach())
        return self.last(torch.tanh(self.second(h)))


class Echo(nn.Module):
    """Writes over a value that also has another name."""

    def __init__(self, in_features: int, classes: int):
        super().__init__()
        self.first, self.last = nn.Linear(in_features, classes), nn.Linear(classes, classes)

    def forward(self, x):
        h = same = self.last(self.first(x))
        h -= 1
        return h + same


class Halving(nn.Module):
    """Writes over its rows, in one of three ways, and uses them again behind a chain."""

    def __init__(self, in_features: int, classes: int, how: str = "method"):
        super().__init__()
        self.how = how
        self.leap = Leap(in_features)
        self.layers = Stack(in_features, classes)

    def forward(self, x):
        rows = x.flatten(1)
        if self.how == "method":
            rows.div_(2)
        elif self.how == "operator":
            rows /= 2
        else:
            self.leap(rows)
        return self.layers(rows) + x.flatten(1).mean(dim=1, keepdim=True)


class Thrifty(Stack):
    """Computes a part without gradients."""

    def forward(self, x):
        with torch.no_grad():
            h = self[1](x)
        return super().forward(x) + h.mean()


class Moody(Stack):
    """Looks at its rows."""

    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Fickle(Stack):
    """Looks whether it is in training."""

    def forward(self, x):
        return super().forward(nn.functional.dropout(x, 0.5, self.training))


class Curious(Stack):
    """Takes a second argument."""

    def forward(self, x, mask=None):
        return super().forward(x)


class Noisy(Stack):
    """Draws numbers of its own."""

    def forward(self, x):
        return super().forward(x) + torch.rand(1)


class Both(Stack):
    """Gives two tensors."""

    def forward(self, x):
        return super().forward(x), x


class Normed(Stack):
    """Has buffers."""

    def __init__(self, in_features: int, classes: int):
        super().__init__(in_features, classes)
        self.append(nn.BatchNorm1d(classes))
