"""The solver of a recipe."""

from facealign.caffe_files.proto import caffe_pb2
from facealign.networks.recipes import Recipe


def solver(
    recipe: Recipe,
    net: str,
    snapshot_prefix: str | None = None,
    max_iter: int | None = None,
    seed: int = -1,
    gpu: bool = False,
) -> caffe_pb2.SolverParameter:
    """Adam with the recipe's settings.

    net: path of the train net, relative to the folder that Caffe is started in; snapshot_prefix, max_iter:
    instead of the recipe's; seed: -1 takes one from the system.
    """
    message = caffe_pb2.SolverParameter(
        net=net,
        type="Adam",
        base_lr=recipe.base_lr,
        lr_policy=recipe.lr_policy,
        momentum=recipe.momentum,
        momentum2=recipe.momentum2,
        weight_decay=recipe.weight_decay,
        display=recipe.display,
        test_iter=[recipe.test_iter],
        test_interval=recipe.test_interval,
        test_compute_loss=True,
        snapshot=recipe.snapshot,
        snapshot_prefix=recipe.snapshot_prefix if snapshot_prefix is None else snapshot_prefix,
        max_iter=recipe.max_iter if max_iter is None else max_iter,
        solver_mode=caffe_pb2.SolverParameter.GPU if gpu else caffe_pb2.SolverParameter.CPU,
    )
    for name in ("gamma", "power", "final_lr_ratio"):
        value = getattr(recipe, name)
        if value is not None:
            setattr(message, name, value)
    if recipe.warmup_iter:
        message.warmup_iter = recipe.warmup_iter
    if seed >= 0:
        message.random_seed = seed
    return message
