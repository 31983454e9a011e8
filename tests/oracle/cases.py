"""The cases that both environments compute: only names and arguments, so that either can import this file."""

# name of the case: (classes, arguments of CohenKappa, kind of the predictions)
KAPPA = {
    f"{classes}-{weightage}-{labels}": (
        classes,
        {"weightage": weightage, "sparse_labels": labels == "sparse"},
        "probability" if classes == 2 else "scores",
    )
    for classes, labels in ((2, "sparse"), (3, "sparse"), (5, "onehot"), (30, "sparse"))
    for weightage in (None, "linear", "quadratic")
} | {
    "4-numbers": (4, {"weightage": "quadratic", "sparse_labels": True}, "numbers"),
    "4-regression": (4, {"weightage": "linear", "sparse_labels": True, "regression": True}, "regression"),
}
MCC_CLASSES = (2, 3, 30)
BATCHES = (7, 16, 1, 40)

SCHEDULES = {
    "triangular": ("TriangularCyclicalLearningRate", {"step_size": 7}),
    "triangular-iterations": ("TriangularCyclicalLearningRate", {"step_size": 20, "scale_mode": "iterations"}),
    "triangular2": ("Triangular2CyclicalLearningRate", {"step_size": 10}),
    "exponential": ("ExponentialCyclicalLearningRate", {"step_size": 25, "gamma": 0.99}),
    "exponential-cycle": ("ExponentialCyclicalLearningRate", {"step_size": 2000, "gamma": 0.9, "scale_mode": "cycle"}),
    "halved": ("CyclicalLearningRate", {"step_size": 12, "scale_fn": lambda x: 0.5}),
}
RATES = {"initial_learning_rate": 1e-4, "maximal_learning_rate": 1e-2}
SCHEDULE_STEPS = (*range(120), 1999, 2000, 2001, 5000, 99_999)

# name of the case: (class and arguments, class and arguments of the inner optimizer or None)
_SGD = ("SGD", {"learning_rate": 0.1, "momentum": 0.9})
_NESTEROV = ("SGD", {"learning_rate": 0.05, "momentum": 0.8, "nesterov": True})
_ADAM = ("Adam", {"learning_rate": 0.02})
OPTIMIZERS: dict[str, tuple] = {
    "swa-sgd": ("SWA", {"start_averaging": 5, "average_period": 3}, _SGD),
    "swa-defaults-adam": ("SWA", {}, _ADAM),
    "swa-every-step": ("SWA", {"start_averaging": 0, "average_period": 1}, _NESTEROV),
    "lookahead-sgd": ("Lookahead", {}, _SGD),
    "lookahead-adam": ("Lookahead", {"sync_period": 4, "slow_step_size": 0.8}, _ADAM),
    "lookahead-every-step": ("Lookahead", {"sync_period": 1, "slow_step_size": 0.3}, _NESTEROV),
    "radam": ("RectifiedAdam", {"learning_rate": 0.01}, None),
    "radam-decay": ("RectifiedAdam", {"learning_rate": 0.01, "weight_decay": 0.1, "beta_2": 0.9}, None),
    "radam-amsgrad": ("RectifiedAdam", {"learning_rate": 0.01, "amsgrad": True, "beta_2": 0.99}, None),
    "radam-warmup": (
        "RectifiedAdam",
        {
            "learning_rate": 0.01,
            "total_steps": 20,
            "warmup_proportion": 0.3,
            "min_lr": 1e-3,
            "weight_decay": 0.1,
            "beta_2": 0.95,
        },
        None,
    ),
    "ranger": ("Lookahead", {}, ("RectifiedAdam", {"learning_rate": 0.01})),
    "radam-defaults": ("RectifiedAdam", {}, None),
}
OPTIMIZER_STEPS = 24
# The slot that each wrapper keeps beside a weight.
SLOTS = {"SWA": "average", "Lookahead": "slow"}

# The cases of OPTIMIZERS that also get gradients of some rows of a matrix, as an Embedding gives them, and the rows of
# each step; a row may be there twice.
SPARSE = ("radam", "radam-amsgrad", "radam-defaults", "ranger")
SPARSE_ROWS = ((0, 2, 0), (3, 1), (2,), (0, 1, 2, 3), (3, 3))
SPARSE_SHAPE = (5, 2)

SURVIVAL_PROBABILITIES = (0.0, 0.3, 0.5, 1.0)

# The files in which a user of tensorflow-addons saved one network.
CHECKPOINTS = {
    "whole.h5": "h5",
    "weights.h5": "h5 weights",
    "whole.keras": "keras",
    "new.weights.h5": "weights.h5",
    "saved_model": "SavedModel",
    "checkpoint/weights": "TensorFlow checkpoint",
}
