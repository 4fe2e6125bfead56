"""Every derivative that PyTorch can take of an operation, at every size.

Expected values are PyTorch's own derivatives of the definition, in float64.
"""

from functools import partial
from typing import Any

import numpy as np
import pytest

import metricops

# What PyTorch says of itself, at its first forward mode.
pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)

D = 2
SIZES: dict[str, tuple[int, dict[str, Any]]] = {
    "one panel": (6, {}),
    "several panels": (6, {"block_size": 2}),
    "not small": (363, {}),  # more than 2**17 similarities
}
sizes = pytest.mark.parametrize(("n", "options"), SIZES.values(), ids=SIZES)
few = pytest.mark.parametrize(
    ("n", "options"), list(SIZES.values())[:2], ids=list(SIZES)[:2]
)
modes = pytest.mark.parametrize("mode", ["eager", "aot_eager"])


def definition(x, y):
    """Return the N-pairs loss by position, at temperature 0.5."""
    similarity = x @ y.mT / 0.5
    own = similarity.diagonal(dim1=-2, dim2=-1)
    return (similarity.logsumexp(-1) - own).mean(-1)


def loss(options, x, y):
    return metricops.npairs_loss_from_embeddings(x, y, temperature=0.5, **options)


def rows(torch: Any, *shape: int) -> Any:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# A transform of a function of two sets of rows: its value at x, along t.
TRANSFORMS: dict[str, Any] = {
    "jvp": lambda torch, f, x, y, t: torch.func.jvp(lambda x: f(x, y), (x,), (t,))[1],
    "grad": lambda torch, f, x, y, t: torch.func.grad(f)(x, y),
    "forward over reverse": lambda torch, f, x, y, t: torch.func.jvp(
        lambda x: torch.func.grad(f)(x, y), (x,), (t,)
    )[1],
    "reverse over forward": lambda torch, f, x, y, t: torch.func.grad(
        lambda x: torch.func.jvp(lambda x: f(x, y), (x,), (t,))[1]
    )(x),
    "reverse over reverse": lambda torch, f, x, y, t: torch.func.grad(
        lambda x: (torch.func.grad(f)(x, y) * t).sum()
    )(x),
    "vmap": lambda torch, f, x, y, t: torch.func.vmap(f, (0, None))(
        torch.stack([x, t]), y
    ),
    "vmap of grad": lambda torch, f, x, y, t: torch.func.vmap(
        torch.func.grad(f), (0, None)
    )(torch.stack([x, t]), y),
    "grad of vmap": lambda torch, f, x, y, t: torch.func.grad(
        lambda both: torch.func.vmap(f, (0, None))(both, y).sum()
    )(torch.stack([x, t])),
    "jvp of vmap": lambda torch, f, x, y, t: torch.func.jvp(
        lambda both: torch.func.vmap(f, (0, None))(both, y),
        (torch.stack([x, t]),),
        (torch.stack([t, x]),),
    )[1],
}
JACOBIANS: dict[str, Any] = {
    "jacfwd": lambda func, f: func.jacfwd(f),
    "jacrev": lambda func, f: func.jacrev(f),
    "hessian": lambda func, f: func.hessian(f),
    "forward over forward": lambda func, f: func.jacfwd(func.jacfwd(f)),
    "by both": lambda func, f: func.jacfwd(func.jacrev(f, 1), 0),
    "third": lambda func, f: func.jacrev(func.hessian(f)),
}


def traced(torch, mode, function, *arrays):
    if mode == "eager":
        return function(*arrays)
    return torch.compile(function, fullgraph=True, backend=mode)(*arrays)


@modes
@sizes
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_is_that_of_the_definition(torch, name, n, options, mode):
    x, y, t = rows(torch, n, D), rows(torch, n, D) + 1, rows(torch, n, D) - 1
    transform = partial(TRANSFORMS[name], torch)
    found = traced(torch, mode, partial(transform, partial(loss, options)), x, y, t)
    expected = transform(definition, x, y, t)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@few
@modes
@pytest.mark.parametrize("name", JACOBIANS)
def test_a_jacobian_is_that_of_the_definition(torch, name, n, options, mode):
    x, y = rows(torch, n, D), rows(torch, n, D) + 1
    jacobian = partial(JACOBIANS[name], torch.func)
    expected = jacobian(definition)(x, y)
    own = jacobian(partial(loss, options))
    if mode != "eager" and name == "forward over forward" and options:
        with pytest.raises(torch._dynamo.exc.Unsupported, match="forward mode inside"):
            traced(torch, mode, own, x, y)
        return
    if mode != "eager" and name == "third" and not options:
        pytest.skip("PyTorch cannot trace third derivatives of its own functions")
    if name == "forward over forward":
        # PyTorch traces this of its own functions only after one forward mode.
        traced(torch, mode, partial(TRANSFORMS["jvp"], torch, definition), x, y, x)
    found = traced(torch, mode, own, x, y)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@modes
@pytest.mark.parametrize("name", ["euclidean", "squared_euclidean", "manhattan", "snr"])
def test_forward_mode_of_distances_is_their_slope(torch, name, mode):
    call = getattr(metricops, f"pairwise_{name}_distance")
    x, y, t = rows(torch, 5, 3), rows(torch, 4, 3) + 1, rows(torch, 5, 3) - 1
    step = 1e-6

    def slope(x, y, t):
        return torch.func.jvp(lambda x: call(x, y), (x,), (t,))[1]

    expected = (call(x + step * t, y) - call(x - step * t, y)) / (2 * step)
    np.testing.assert_allclose(
        traced(torch, mode, slope, x, y, t), expected, rtol=1e-6, atol=1e-8
    )


CHECKED: dict[str, Any] = {
    "mean": partial(loss, {"block_size": 2}),
    "rows": partial(loss, {"block_size": 2, "reduction": "none"}),
    "rows of unit length": partial(
        loss, {"block_size": 2, "reduction": "none", "normalize": True}
    ),
    "symmetric": partial(loss, {"block_size": 2, "symmetric": True}),
    "euclidean": metricops.pairwise_euclidean_distance,
}


@pytest.mark.parametrize("name", CHECKED)
def test_pytorch_finds_its_derivatives_consistent(torch, name):
    x, y = (rows(torch, n, D).requires_grad_() for n in (4, 4))
    y = (y + 1).detach().requires_grad_()
    given = CHECKED[name], (x, y)
    assert torch.autograd.gradcheck(
        *given,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(
        *given, check_fwd_over_rev=True, check_rev_over_rev=True
    )


@sizes
@pytest.mark.parametrize("recorded", [False, True])
def test_a_dual_number_keeps_its_tangent(torch, n, options, recorded):
    x, y, t = rows(torch, n, D), rows(torch, n, D) + 1, rows(torch, n, D) - 1
    forward = torch.autograd.forward_ad
    with forward.dual_level(), torch.set_grad_enabled(recorded):
        dual = forward.make_dual(x, t)
        found = forward.unpack_dual(loss(options, dual, y)).tangent
    expected = torch.func.jvp(lambda x: definition(x, y), (x,), (t,))[1]
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@sizes
def test_a_checkpoint_gives_the_same_gradient(torch, n, options):
    x, y = (rows(torch, n, D).requires_grad_() for _ in range(2))
    kept = torch.utils.checkpoint.checkpoint(
        partial(loss, options), x, y, use_reentrant=False
    )
    found = torch.autograd.grad(kept, (x, y))
    expected = torch.autograd.grad(definition(x, y), (x, y))
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_a_checkpoint_of_distances_gives_the_same_gradient(torch):
    x = rows(torch, 5, D).requires_grad_()
    y = (rows(torch, 5, D) + 1).requires_grad_()
    call = metricops.pairwise_euclidean_distance
    kept = torch.utils.checkpoint.checkpoint(call, x, y, use_reentrant=False)
    found = torch.autograd.grad(kept.sum(), (x, y))
    expected = torch.autograd.grad(torch.cdist(x, y).sum(), (x, y))
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-12)


@sizes
@pytest.mark.parametrize("targets", ["position", "labels", "one set"])
def test_rows_of_no_width_have_a_loss_and_an_empty_gradient(torch, n, options, targets):
    x, y = (torch.zeros((n, 0), requires_grad=True) for _ in range(2))
    labels = None if targets == "position" else torch.zeros(n)
    given = (x, None if targets == "one set" else y, labels)
    found = metricops.npairs_loss_from_embeddings(*given, **options)
    (gradient,) = torch.autograd.grad(found, (x,))
    assert gradient.shape == (n, 0)
    np.testing.assert_allclose(found.detach(), np.log(n), rtol=1e-6)
    with torch.no_grad():
        again = metricops.npairs_loss_from_embeddings(*given, **options)
    np.testing.assert_allclose(again, np.log(n), rtol=1e-6)
