# ruff: noqa: B006, B008, B018, B905, E741, PLW0108, PLW2901, RUF012 - written as people write them
"""More kinds of model, optimizer, loader and step: what people hold in places that few look into."""

from __future__ import annotations

import array
import collections
import contextvars
import copy
import ctypes
import dataclasses
import functools
import itertools
import random
import tempfile
import threading
import types
import weakref
from pathlib import Path

import numpy as np
import torch
from faults_state_kinds import Kind, X, Y, kind, loader, mlp, plain_step
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

REGISTRY = weakref.WeakKeyDictionary()
LOCAL = threading.local()
CONTEXT = contextvars.ContextVar("steps", default=0)


def around(after=None, before=None):
    def step(model, batch, optimizer, criterion, device):
        if before:
            before(model, batch)
        loss = plain_step(model, batch, optimizer, criterion, device)
        if after:
            after(model, loss, optimizer)
        return loss

    return step


@kind()
def lora_merged_by_eval_and_train() -> Kind:
    class LoRA(nn.Linear):
        def __init__(self, *a):
            super().__init__(*a)
            self.A = nn.Parameter(torch.randn(2, self.in_features))
            self.B = nn.Parameter(torch.zeros(self.out_features, 2))
            self.merged = False
            self.weight.requires_grad_(False)

        def train(self, mode=True):
            super().train(mode)
            if mode and self.merged:
                self.weight.data -= self.B @ self.A
                self.merged = False
            if not mode and not self.merged:
                self.weight.data += self.B @ self.A
                self.merged = True
            return self

        def forward(self, x):
            return (
                nn.functional.linear(x, self.weight, self.bias)
                if self.merged
                else nn.functional.linear(x, self.weight, self.bias) + x @ self.A.T @ self.B.T
            )

    m = nn.Sequential(LoRA(10, 8), nn.ReLU(), nn.Linear(8, 1))

    def step(model, batch, optimizer, criterion, device):
        model.eval()
        model(batch[0])
        model.train()
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(
        model=m,
        optimizer=torch.optim.Adam([p for p in m.parameters() if p.requires_grad]),
        step=step,
        watch=lambda: m[0].merged,
    )


@kind()
def ema_by_shadow_dict() -> Kind:
    m = mlp()

    class Ema:
        def __init__(self, model):
            self.shadow = {n: p.detach().clone() for n, p in model.named_parameters()}
            self.updates = 0

        def update(self, model):
            self.updates += 1
            for n, p in model.named_parameters():
                self.shadow[n] = 0.9 * self.shadow[n] + 0.1 * p.detach()

    ema = Ema(m)
    return Kind(
        model=m,
        step=around(lambda model, loss, o: ema.update(model)),
        watch=lambda: (ema.updates, {k: v.tolist() for k, v in ema.shadow.items()}),
    )


@kind()
def momentum_queue_moco() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("queue", torch.randn(16, 1))
            self.register_buffer("ptr", torch.zeros(1, dtype=torch.long))

        def forward(self, x):
            y = self.net(x)
            p = int(self.ptr)
            self.queue[p % 16 : p % 16 + 1] = y.detach()[:1]
            self.ptr[0] = p + 1
            return y + self.queue.mean()

    return Kind(model=Net())


@kind()
def vq_ema_codebook_reassigned() -> Kind:
    class VQ(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("code", torch.randn(4, 1))
            self.register_buffer("initted", torch.tensor(False))

        def forward(self, x):
            y = self.net(x)
            if not self.initted:
                self.code.data.copy_(y.detach()[:4])
                self.initted.data.copy_(torch.tensor(True))
            self.code.data = self.code.data * 0.9 + y.detach().mean() * 0.1
            return y + self.code.mean()

    return Kind(model=VQ())


@kind()
def dataclass_metrics() -> Kind:
    @dataclasses.dataclass
    class M:
        total: float = 0.0
        n: int = 0
        by: dict = dataclasses.field(default_factory=lambda: collections.defaultdict(list))
        seen: set = dataclasses.field(default_factory=set)
        last: collections.deque = dataclasses.field(default_factory=lambda: collections.deque(maxlen=3))

    @dataclasses.dataclass(slots=True)
    class S:
        inner: M
        count: int = 0

    s = S(M())

    def after(m, loss, o):
        s.count += 1
        s.inner.total += float(loss.detach())
        s.inner.by[s.count % 3].append(s.count)
        s.inner.seen.add(s.count)
        s.inner.last.append(s.count)

    return Kind(step=around(after), watch=lambda: (s.count, repr(s.inner)))


@kind()
def user_containers() -> Kind:
    box = types.SimpleNamespace(
        n=0,
        user=collections.UserDict(a=0),
        lst=collections.UserList(),
        chain=collections.ChainMap({}),
        dd=collections.defaultdict(int),
        cnt=collections.Counter(),
        od=collections.OrderedDict(),
        arr=array.array("d", [0.0]),
        ba=bytearray(b"\0"),
        c=ctypes.c_int(0),
    )

    def after(m, l, o):
        box.n += 1
        box.user["a"] += 1
        box.user[box.n] = 1
        box.lst.append(1)
        box.chain["x"] = box.n
        box.dd[box.n] += 1
        box.cnt["a"] += 1
        box.od[box.n] = 1
        box.od.move_to_end(1)
        box.arr.append(1.0)
        box.ba[0] += 1
        box.c.value += 1

    return Kind(
        step=around(after),
        watch=lambda: (
            box.n,
            dict(box.user),
            list(box.lst),
            dict(box.chain),
            dict(box.dd),
            dict(box.cnt),
            list(box.od),
            list(box.arr),
            bytes(box.ba),
            box.c.value,
        ),
    )


@kind()
def thread_local_and_contextvar() -> Kind:
    LOCAL.n = 0
    CONTEXT.set(0)

    def after(m, l, o):
        LOCAL.n += 1
        CONTEXT.set(CONTEXT.get() + 1)

    return Kind(step=around(after), watch=lambda: (LOCAL.n, CONTEXT.get()))


@kind()
def weak_registry() -> Kind:
    m = mlp()
    REGISTRY.clear()
    REGISTRY[m] = {"n": 0}
    weakref.ref(m)

    def after(model, l, o):
        REGISTRY[model]["n"] += 1

    return Kind(model=m, step=around(after), watch=lambda: REGISTRY[m]["n"])


@kind()
def weakref_to_state() -> Kind:
    class S:
        n = 0

    s = S()
    keep = [s]

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.s = weakref.ref(s)
            self.p = weakref.proxy(s)

        def forward(self, x):
            self.s().n += 1
            return self.net(x) * (1 + 0.01 * self.s().n)

    n = Net()
    n.keep = None
    return Kind(model=n, watch=lambda: (s.n, len(keep)))


@kind()
def generators_deep() -> Kind:
    cfg = {
        "aug": [{"rng": np.random.default_rng(1)}, (random.Random(2), {"t": torch.Generator().manual_seed(3)})],
        "ns": types.SimpleNamespace(
            r=np.random.RandomState(4), pcg=np.random.Generator(np.random.PCG64(5)), bit=np.random.MT19937(3)
        ),
    }

    def before(m, b):
        cfg["aug"][0]["rng"].random()
        cfg["aug"][1][0].gauss(0, 1)
        torch.randn(2, generator=cfg["aug"][1][1]["t"])
        cfg["ns"].r.randn()
        cfg["ns"].pcg.standard_normal()
        cfg["ns"].bit.random_raw()

    return Kind(
        step=around(before=before),
        watch=lambda: (
            str(cfg["aug"][0]["rng"].bit_generator.state),
            hash(cfg["aug"][1][0].getstate()),
            cfg["aug"][1][1]["t"].get_state().sum().item(),
            str(cfg["ns"].r.get_state()),
            str(cfg["ns"].pcg.bit_generator.state),
            str(cfg["ns"].bit.state),
        ),
    )


@kind()
def seed_sequence_spawned() -> Kind:
    ss = np.random.SeedSequence(3)

    def before(m, b):
        ss.spawn(1)

    return Kind(step=around(before=before), watch=lambda: ss.n_children_spawned)


@kind()
def bits_of_a_generator_whose_seed_seq_spawns() -> Kind:
    g = np.random.default_rng(3)

    def before(m, b):
        g.spawn(1)

    return Kind(step=around(before=before), watch=lambda: g.bit_generator.seed_seq.n_children_spawned)


@kind()
def lru_cache_and_cached_property() -> Kind:
    @functools.cache
    def scale(n):
        return [n]

    class T:
        n = 0

        @functools.cached_property
        def first(self):
            return T.n

    t = T()

    def before(m, b):
        T.n += 1
        t.first

    return Kind(step=around(before=before), watch=lambda: ("first" in t.__dict__, T.n))


@kind()
def closure_of_closure() -> Kind:
    def outer():
        n = 0
        hist = []

        def inner():
            nonlocal n
            n += 1
            hist.append(n)
            return n

        return inner, lambda: (n, list(hist))

    inc, read = outer()

    def step(model, batch, optimizer, criterion, device):
        inc()
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(step=functools.wraps(plain_step)(step), watch=read)


@kind()
def static_and_class_methods() -> Kind:
    class Tool:
        total = 0
        log = []

        @staticmethod
        def note(x):
            Tool.log.append(x)

        @classmethod
        def inc(cls):
            cls.total += 1

    def before(m, b):
        Tool.note(1)
        Tool.inc()

    return Kind(step=around(before=before), watch=lambda: (Tool.total, len(Tool.log)))


@kind()
def parametrize_custom() -> Kind:
    class Sym(nn.Module):
        def __init__(self):
            super().__init__()
            self.n = 0
            self.register_buffer("u", torch.zeros(1))

        def forward(self, w):
            self.n += 1
            self.u += 1
            return w + 0 * w

        def right_inverse(self, w):
            return w

    m = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 1))
    s = Sym()
    nn.utils.parametrize.register_parametrization(m[0], "weight", s)
    s.n = 0
    return Kind(model=m, watch=lambda: (s.n, float(s.u)))


@kind()
def prunes_in_the_step() -> Kind:
    import torch.nn.utils.prune as prune

    m = mlp()
    n = [0]

    def after(model, l, o):
        n[0] += 1
        if n[0] == 3:
            prune.l1_unstructured(model[0], "weight", 0.3)

    return Kind(
        model=m,
        step=around(after),
        watch=lambda: (n[0], hasattr(m[0], "weight_mask"), sorted(n for n, _ in m.named_parameters())),
    )


@kind()
def quantised_part() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.emb = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)

        def forward(self, x):
            return self.net(x) + self.emb.dequantize().sum()

    n = Net()
    return Kind(model=n, watch=lambda: n.emb.dequantize().tolist())


@kind()
def int8_frozen_weight() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w8 = nn.Parameter((torch.randn(8, 10) * 10).to(torch.int8), requires_grad=False)
            self.out = nn.Linear(8, 1)

        def forward(self, x):
            return self.out(x @ self.w8.to(x.dtype).T * 0.01)

    n = Net()
    return Kind(model=n, optimizer=torch.optim.SGD(n.out.parameters(), 0.05))


@kind()
def complex_params() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(10, 4, dtype=torch.complex64))
            self.out = nn.Linear(4, 1)

        def forward(self, x):
            return self.out((x.to(torch.complex64) @ self.w).abs())

    return Kind(model=Net())


@kind()
def conj_and_neg_views() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("c", torch.randn(3, dtype=torch.complex64))
            self.view = self.c.conj()
            self.neg = torch.imag(self.view)

        def forward(self, x):
            self.c.add_(1)
            return self.net(x) + self.view.real.sum()

    n = Net()
    return Kind(model=n, watch=lambda: (n.c.tolist(), n.view.tolist(), n.neg.tolist()))


@kind()
def float8_and_bool_buffers() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("f8", torch.randn(4).to(torch.float8_e4m3fn))
            self.register_buffer("b", torch.zeros(4, dtype=torch.bool))
            self.register_buffer("i", torch.zeros(4, dtype=torch.uint16))

        def forward(self, x):
            self.f8 = (self.f8.float() + 1).to(torch.float8_e4m3fn)
            self.b[0] = ~self.b[0]
            self.i.fill_(3)
            return self.net(x)

    n = Net()
    return Kind(model=n, watch=lambda: (n.f8.float().tolist(), n.b.tolist(), n.i.tolist()))


@kind()
def sparse_parameter() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("s", torch.eye(10).to_sparse())
            self.csr = torch.eye(10).to_sparse_csr()

        def forward(self, x):
            self.s = (self.s * 1.1).coalesce()
            self.csr.values().mul_(1.1)
            return self.net(torch.sparse.mm(self.s, x.T).T + torch.sparse.mm(self.csr, x.T).T)

    n = Net()
    return Kind(model=n, watch=lambda: (n.s.to_dense().tolist(), n.csr.to_dense().tolist()))


@kind()
def zero_d_and_empty() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("empty", torch.empty(0))
            self.t = nn.Parameter(torch.tensor(1.0))
            self.register_buffer("none", None)
            self.register_parameter("nop", None)

        def forward(self, x):
            if self.none is None:
                self.none = x.mean().detach()
            self.empty = torch.cat([self.empty, x[0, :1]])
            return self.net(x) * self.t

    n = Net()
    return Kind(model=n, watch=lambda: (n.empty.tolist(), n.none is None))


@kind()
def overlapping_views() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            flat = torch.randn(11)
            self.flat = flat
            self.w = nn.Parameter(flat[:10].view(10, 1))
            self.b = nn.Parameter(flat[10:])

        def forward(self, x):
            return x @ self.w + self.b

    n = Net()
    return Kind(model=n, watch=lambda: n.flat.tolist())


@kind()
def eval_mode_of_submodules() -> Kind:
    m = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 1))
    m[1].eval()

    def step(model, batch, optimizer, criterion, device):
        model.train()
        out = plain_step(model, batch, optimizer, criterion, device)
        model.eval()
        return out

    return Kind(model=m, step=step, watch=lambda: [x.training for x in m])


@kind()
def grads_at_entry() -> Kind:
    m = mlp()
    m(X[:8]).sum().backward()
    first = m[0].weight.grad

    def step(model, batch, optimizer, criterion, device):
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss

    return Kind(model=m, step=step, watch=lambda: m[0].weight.grad is first)


@kind()
def hooks_added_in_step() -> Kind:
    m = mlp()
    noted = []

    def step(model, batch, optimizer, criterion, device):
        model[0].register_forward_hook(lambda *a: noted.append(1))
        model[0].weight.register_hook(lambda g: noted.append(2))
        optimizer.register_step_post_hook(lambda *a: noted.append(3))
        return plain_step(model, batch, optimizer, criterion, device)

    return Kind(
        model=m, step=step, watch=lambda: (len(noted), len(m[0]._forward_hooks), len(m[0].weight._backward_hooks or ()))
    )


@kind()
def optimizer_in_backward() -> Kind:
    m = mlp()
    opts = {p: torch.optim.Adam([p], lr=0.01) for p in m.parameters()}

    def hook(p):
        opts[p].step()
        opts[p].zero_grad()

    for p in m.parameters():
        p.register_post_accumulate_grad_hook(hook)

    def step(model, batch, optimizer, criterion, device):
        loss = criterion(model(batch[0]), batch[1])
        loss.backward()
        return loss

    return Kind(
        model=m,
        optimizer=torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1),
        step=step,
        watch=lambda: (
            [int(o.state[p]["step"]) if o.state else 0 for p, o in opts.items()],
            [o.state[p]["exp_avg"].tolist() if o.state else 0 for p, o in opts.items()],
        ),
    )


@kind()
def param_group_added_and_lr_tensor() -> Kind:
    m = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 1))
    o = torch.optim.Adam(m[0].parameters(), lr=torch.tensor(0.01), foreach=False)
    n = [0]

    def after(model, l, opt):
        n[0] += 1
        opt.param_groups[0]["lr"].mul_(0.99)
        if n[0] == 2:
            opt.add_param_group({"params": list(model[2].parameters())})

    return Kind(
        model=m,
        optimizer=o,
        step=around(after),
        watch=lambda: (n[0], len(o.param_groups), [float(g["lr"]) for g in o.param_groups]),
    )


@kind()
def weights_assigned() -> Kind:
    m = mlp()
    o = torch.optim.SGD(m.parameters(), lr=0.05)

    def after(model, l, opt):
        model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
        opt.param_groups[0]["params"] = list(model.parameters())

    return Kind(
        model=m,
        optimizer=o,
        step=around(after),
        watch=lambda: [id(p) for p in m.parameters()] == [id(p) for p in o.param_groups[0]["params"]],
    )


@kind()
def many_optimizers() -> Kind:
    m = nn.ModuleList([nn.Linear(10, 1) for _ in range(7)])
    os_ = [
        torch.optim.Adagrad(m[0].parameters()),
        torch.optim.RMSprop(m[1].parameters(), momentum=0.9, centered=True),
        torch.optim.NAdam(m[2].parameters()),
        torch.optim.Rprop(m[3].parameters()),
        torch.optim.ASGD(m[4].parameters()),
        torch.optim.Adafactor(m[5].parameters()),
        torch.optim.RAdam(m[6].parameters()),
    ]

    def step(model, batch, optimizer, criterion, device):
        loss = sum(criterion(l(batch[0]), batch[1]) for l in model)
        for o in optimizer:
            o.zero_grad()
        loss.backward()
        for o in optimizer:
            o.step()
        return loss

    k = Kind(model=m, optimizer=os_[0], step=step)
    k.optimizer = {str(i): o for i, o in enumerate(os_)}

    def step2(model, batch, optimizer, criterion, device):
        return step(model, batch, list(optimizer.values()), criterion, device)

    k.step = step2
    return k


@kind()
def optimizer_not_torch() -> Kind:
    m = mlp()

    class Mine:
        def __init__(self, params):
            self.params = list(params)
            self.v = [np.zeros(tuple(p.shape), np.float32) for p in self.params]
            self.t = 0

        def zero_grad(self):
            for p in self.params:
                p.grad = None

        def step(self):
            self.t += 1
            for p, v in zip(self.params, self.v):
                v *= 0.9
                v += p.grad.numpy()
                p.data.sub_(torch.from_numpy(v), alpha=0.01)

    o = Mine(m.parameters())
    o.state_dict = lambda: {"t": o.t}
    return Kind(model=m, optimizer=o, watch=lambda: (o.t, [v.tolist() for v in o.v]))


@kind()
def functional_call_params_in_dict() -> Kind:
    net = mlp()
    params = {n: p.detach().clone().requires_grad_() for n, p in net.named_parameters()}

    def model(x):
        return torch.func.functional_call(net, params, (x,))

    def step(model, batch, optimizer, criterion, device):
        loss = criterion(model(batch[0]), batch[1])
        grads = torch.autograd.grad(loss, list(params.values()))
        for (n, p), g in zip(list(params.items()), grads):
            params[n] = (p - 0.05 * g).detach().requires_grad_()
        return loss

    return Kind(
        model=model,
        optimizer=torch.optim.SGD(net.parameters(), 0.1),
        step=step,
        watch=lambda: {n: p.tolist() for n, p in params.items()},
    )


@kind()
def compiled_model() -> Kind:
    m = torch.compile(mlp(), backend="eager")
    return Kind(model=m)


@kind()
def scripted_model() -> Kind:
    m = torch.jit.script(nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 1)))
    return Kind(model=m)


@kind()
def objects_with_hostile_dunder() -> Kind:
    class Odd:
        def __init__(self):
            self.n = 0

        def __getattribute__(self, name):
            if name == "n":
                return object.__getattribute__(self, name)
            raise RuntimeError("no")

        def __setattr__(self, n, v):
            object.__setattr__(self, n, v)

    o = Odd()

    def before(m, b):
        o.n += 1

    return Kind(step=around(before=before), watch=lambda: o.n)


@kind()
def structured_and_object_arrays() -> Kind:
    s = np.zeros(3, dtype=[("a", "i4"), ("b", "f8")])
    o = np.empty(2, dtype=object)
    o[0] = []
    f = np.asfortranarray(np.zeros((3, 4)))
    v = f[::2, 1:]
    r = np.zeros(3).view(np.recarray) if False else np.rec.array([(1, 2.0)], dtype=[("x", int), ("y", float)])
    ma = np.ma.masked_array(np.zeros(3), mask=[0, 1, 0])
    dt = np.zeros(2, "datetime64[s]")

    def before(m, b):
        s["a"] += 1
        o[0].append(1)
        o[1] = len(o[0])
        v[:] += 1
        r.x += 1
        ma[1] = 3.0
        ma.mask[0] = True
        dt[0] += np.timedelta64(1, "s")

    return Kind(
        step=around(before=before),
        watch=lambda: (
            s.tolist(),
            len(o[0]),
            o[1],
            f.tolist(),
            v.tolist(),
            r.tolist(),
            ma.tolist(),
            ma.data.tolist(),
            str(dt),
        ),
    )


@kind()
def storage_resized_by_the_step() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.register_buffer("min_val", torch.tensor([]))
            self.register_buffer("big", torch.zeros(4))
            self.scratch = torch.empty(0)

        def forward(self, x):
            self.min_val.resize_(8)
            self.min_val.copy_(x.amin(1))
            self.big.resize_(4)
            self.scratch.resize_(x.shape).copy_(x)
            return self.net(x)

    n = Net()
    return Kind(model=n, watch=lambda: (tuple(n.min_val.shape), n.big.tolist(), tuple(n.scratch.shape)))


@kind()
def memory_freed_by_the_step() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.scratch = torch.arange(10.0)

        def forward(self, x):
            self.scratch.untyped_storage().resize_(40)
            y = self.net(x)
            self.scratch.untyped_storage().resize_(0)
            return y

    n = Net()
    return Kind(model=n, watch=lambda: n.scratch.tolist() if n.scratch.untyped_storage().nbytes() else None)


@kind()
def freed_storage_before() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.shard = torch.randn(10)
            self.full = torch.empty(10)
            self.full.untyped_storage().resize_(0)

        def forward(self, x):
            self.full.untyped_storage().resize_(40)
            self.full.copy_(self.shard)
            y = self.net(x * self.full)
            self.shard.mul_(0.99)
            return y

    n = Net()

    def step(model, batch, optimizer, criterion, device):
        l = plain_step(model, batch, optimizer, criterion, device)
        n.full.untyped_storage().resize_(0)
        return l

    return Kind(model=n, step=step, watch=lambda: (n.shard.tolist(), n.full.untyped_storage().nbytes()))


@kind()
def inference_tensors() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            with torch.inference_mode():
                self.mean = torch.zeros(10)

        def forward(self, x):
            with torch.inference_mode():
                self.mean.add_(x.mean(0))
            return self.net(x)

    n = Net()
    return Kind(model=n, watch=lambda: n.mean.tolist())


@kind(refused=True)
def strided_nested() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.t = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])

        def forward(self, x):
            self.t.add_(1)
            return self.net(x)

    return Kind(model=Net())


@kind()
def block_sparse_and_quantised_changed() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.bsr = torch.eye(4).to_sparse_bsr(2)
            self.csc = torch.eye(4).to_sparse_csc()
            self.q = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)

        def forward(self, x):
            self.bsr.values().add_(1)
            self.csc.values().add_(1)
            self.q.copy_(torch.randn(4))
            return self.net(x)

    n = Net()
    return Kind(model=n, watch=lambda: (n.bsr.to_dense().tolist(), n.csc.to_dense().tolist(), n.q.int_repr().tolist()))


@kind()
def own_random_subclass() -> Kind:
    class R(random.Random):
        def __init__(self, s):
            super().__init__(s)
            self.draws = 0

        def random(self):
            self.draws += 1
            return super().random()

    r = R(3)

    def before(m, b):
        r.random()
        r.shuffle([1, 2, 3])

    return Kind(step=around(before=before), watch=lambda: (r.draws, hash(r.getstate())))


@kind()
def rnn_stateful_list_of_tuples() -> Kind:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(10, 4, 2, batch_first=True)
            self.out = nn.Linear(4, 1)
            self.state = None

        def forward(self, x):
            y, s = self.lstm(x[:, None], self.state)
            self.state = tuple(each.detach() for each in s)
            return self.out(y[:, 0])

    n = Net()
    return Kind(model=n, data=loader(drop_last=True), watch=lambda: n.state is None)


@kind()
def submodule_replaced_and_added() -> Kind:
    m = nn.Sequential(collections.OrderedDict(a=nn.Linear(10, 8), act=nn.ReLU(), b=nn.Linear(8, 1)))
    n = [0]

    def after(model, l, o):
        n[0] += 1
        if n[0] == 2:
            model.act = nn.Tanh()
        if n[0] == 3:
            model.add_module("id", nn.Identity())
            model.register_buffer("x", torch.zeros(1))
            model.a.bias = None

    return Kind(
        model=m,
        step=around(after),
        watch=lambda: (n[0], list(dict(m.named_children())), type(m.act).__name__, m.a.bias is None),
    )


@kind()
def early_stop_object_saves_best_in_memory() -> Kind:
    class Best:
        def __init__(self):
            self.best, self.state, self.bad = float("inf"), None, 0

        def __call__(self, loss, m):
            if loss < self.best:
                self.best, self.state, self.bad = loss, copy.deepcopy(m.state_dict()), 0
            else:
                self.bad += 1

    b = Best()
    return Kind(step=around(lambda m, l, o: b(float(l.detach()), m)), watch=lambda: (b.best, b.bad, b.state is None))


@kind()
def torch_swa_update_bn() -> Kind:
    from torch.optim.swa_utils import update_bn

    m = nn.Sequential(nn.Linear(10, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    a = AveragedModel(m, use_buffers=True)

    def after(model, l, o):
        a.update_parameters(model)
        update_bn([X[:8]], a)

    return Kind(model=m, step=around(after), watch=lambda: (int(a.n_averaged), a.module[1].running_mean.tolist()))


@kind()
def custom_batch_sampler_with_generator() -> Kind:
    class BS(Sampler):
        def __init__(self):
            self.g = torch.Generator().manual_seed(1)
            self.epoch = 0

        def __len__(self):
            return 12

        def __iter__(self):
            self.epoch += 1
            for at in torch.randperm(12, generator=self.g).tolist():
                yield list(range(at * 8, at * 8 + 8))

    b = BS()
    return Kind(data=DataLoader(TensorDataset(X, Y), batch_sampler=b), watch=lambda: b.epoch)


@kind()
def sampler_wrapping_sampler_in_list() -> Kind:
    class Multi(Sampler):
        def __init__(self):
            self.parts = [
                RandomSampler(range(96), generator=torch.Generator().manual_seed(2)),
                SubsetRandomSampler(range(48), generator=torch.Generator().manual_seed(3)),
            ]
            self.rng = {"r": random.Random(1)}

        def __len__(self):
            return 96

        def __iter__(self):
            first = list(self.parts[0])
            self.rng["r"].shuffle(first)
            list(self.parts[1])
            return iter(first)

    s = Multi()
    return Kind(data=DataLoader(TensorDataset(X, Y), 8, sampler=s))


@kind()
def distributed_sampler_set_epoch() -> Kind:
    from torch.utils.data.distributed import DistributedSampler

    s = DistributedSampler(TensorDataset(X, Y), num_replicas=1, rank=0)
    n = [0]

    def before(m, b):
        n[0] += 1
        s.set_epoch(n[0])

    return Kind(data=DataLoader(TensorDataset(X, Y), 8, sampler=s), step=around(before=before), watch=lambda: s.epoch)


@kind()
def iterable_with_shuffle_buffer() -> Kind:
    class Buf(IterableDataset):
        def __init__(self):
            self.buffer = []
            self.rng = random.Random(3)
            self.passes = 0

        def __iter__(self):
            self.passes += 1
            for i in range(96):
                self.buffer.append(i)
                if len(self.buffer) > 10:
                    j = self.buffer.pop(self.rng.randrange(len(self.buffer)))
                    yield X[j], Y[j]

    b = Buf()
    return Kind(data=DataLoader(b, 8), steps_per_epoch=8, watch=lambda: (list(b.buffer), b.passes))


@kind()
def shared_value_epoch() -> Kind:
    import multiprocessing as mp

    v = mp.Value("i", 0)
    t = torch.zeros(1).share_memory_()
    raw = mp.RawArray("d", 3)

    class DS(Dataset):
        def __len__(self):
            return 96

        def __getitem__(self, i):
            v.value += 1
            t.add_(1)
            raw[0] += 1
            return X[i], Y[i]

    return Kind(data=DataLoader(DS(), 8), watch=lambda: (v.value, float(t), list(raw)))


@kind()
def mixup_rng_in_default_argument() -> Kind:
    def collate(rows, rng=np.random.default_rng(3), seen=[]):
        seen.append(1)
        lam = rng.beta(1, 1)
        x = torch.stack([r[0] for r in rows])
        return lam * x, torch.stack([r[1] for r in rows])

    return Kind(
        data=DataLoader(TensorDataset(X, Y), 8, shuffle=True, collate_fn=collate),
        watch=lambda: len(collate.__defaults__[1]),
    )


@kind()
def replay_buffer() -> Kind:
    buf = collections.deque(maxlen=50)
    rng = np.random.default_rng(1)

    class D:
        batch_size = 8

        def __len__(self):
            return 12

        def __iter__(self):
            for i in range(12):
                buf.append((X[i * 8 : i * 8 + 8], Y[i * 8 : i * 8 + 8]))
                yield buf[rng.integers(len(buf))]

    return Kind(data=D(), watch=lambda: len(buf))


@kind()
def prioritised_replay_weights_updated_by_step() -> Kind:
    w = torch.ones(96, dtype=torch.double)
    s = WeightedRandomSampler(w, 96)

    def after(m, l, o):
        s.weights[int(s.weights.argmax())] *= 0.9

    return Kind(
        data=DataLoader(TensorDataset(X, Y), 8, sampler=s), step=around(after), watch=lambda: s.weights.tolist()
    )


@kind()
def curriculum_dataset_changes_length() -> Kind:
    class Cur(Dataset):
        def __init__(self):
            self.n = 96
            self.order = np.arange(96)
            self.calls = 0

        def __len__(self):
            return self.n

        def __getitem__(self, i):
            self.calls += 1
            if self.calls % 50 == 0:
                self.order = np.roll(self.order, 1)
            return X[self.order[i]], Y[self.order[i]]

    d = Cur()
    return Kind(data=DataLoader(d, 8), watch=lambda: (d.calls, d.order.tolist()))


@kind()
def datapipe_like_chain() -> Kind:
    class Src:
        def __init__(self):
            self.epoch = 0

        def __iter__(self):
            self.epoch += 1
            r = random.Random(self.epoch)
            idx = list(range(96))
            r.shuffle(idx)
            return iter(idx)

    class Map:
        def __init__(self, src, fn):
            self.src, self.fn = src, fn

        def __iter__(self):
            return map(self.fn, self.src)

    class Batch:
        batch_size = 8

        def __init__(self, src):
            self.src = src

        def __len__(self):
            return 12

        def __iter__(self):
            it = iter(self.src)
            while part := list(itertools.islice(it, 8)):
                yield torch.stack([a for a, _ in part]), torch.stack([b for _, b in part])

    src = Src()
    return Kind(data=Batch(Map(src, lambda i: (X[i], Y[i]))), watch=lambda: src.epoch)


@kind()
def dataset_opens_file_lazily() -> Kind:
    path = Path(tempfile.mkdtemp()) / "r.bin"
    path.write_bytes(bytes(96))

    class D(Dataset):
        f = None

        def __len__(self):
            return 96

        def __getitem__(self, i):
            if self.f is None:
                self.f = path.open("rb")
            self.f.seek(i)
            self.f.read(1)
            return X[i], Y[i]

    d = D()
    return Kind(data=DataLoader(d, 8, shuffle=True), watch=lambda: d.f is None)


@kind()
def infinite_sampler_with_state() -> Kind:
    class Inf(Sampler):
        def __init__(self):
            self.seed, self.consumed = 0, 0

        def __len__(self):
            return 96

        def __iter__(self):
            while True:
                g = torch.Generator()
                g.manual_seed(self.seed)
                self.seed += 1
                for i in torch.randperm(96, generator=g).tolist():
                    self.consumed += 1
                    yield i

    s = Inf()
    return Kind(
        data=DataLoader(TensorDataset(X, Y), 8, sampler=s), steps_per_epoch=12, watch=lambda: (s.seed, s.consumed)
    )


@kind(refused=True)
def zip_of_loaders_in_step() -> Kind:
    it = zip(itertools.cycle(loader()), itertools.count())

    def before(m, b):
        next(it)

    return Kind(step=around(before=before))


@kind(refused=True)
def python_generator_of_batches_in_an_object() -> Kind:
    class T:
        def __init__(self):
            self.feed = self.make()

        def make(self):
            while True:
                yield X[:8]

        def step(self, model, batch, optimizer, criterion, device):
            next(self.feed)
            return plain_step(model, batch, optimizer, criterion, device)

    return Kind(step=T().step)


@kind(refused=True)
def enumerate_as_counter() -> Kind:
    c = itertools.count()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()
            self.c = c

        def forward(self, x):
            next(self.c)
            return self.net(x)

    return Kind(model=Net())


@kind(refused=True)
def cuda_prefetcher_style() -> Kind:
    class P:
        batch_size = 8

        def __init__(self):
            self.loader = loader()
            self.it = iter(self.loader)
            self.ready = next(self.it)

        def __len__(self):
            return 12

        def __iter__(self):
            return self

        def __next__(self):
            b = self.ready
            self.ready = next(self.it)
            return b

    return Kind(data=P())


@kind(refused=True)
def own_class_iterator_around_file_lines() -> Kind:
    path = Path(tempfile.mkdtemp()) / "rows.txt"
    path.write_text("\n".join("1" for at in range(100_000)))

    class S(IterableDataset):
        def __init__(self):
            import csv

            self.reader = csv.reader(path.open())

        def __iter__(self):
            for _ in self.reader:
                yield X[0], Y[0]

    return Kind(data=DataLoader(S(), 8), steps_per_epoch=6)
