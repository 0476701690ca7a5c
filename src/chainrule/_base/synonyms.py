"""What other libraries call what has a name here: torch, Keras, scikit-learn, JAX and Optax. Errors answer with it.

Nothing is taken under a second name: an error says the right one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

# Words for one and the same argument. Which of them is ours, a function's own signature says.
SAME_ARGUMENT = tuple(
    frozenset(words.split())
    for words in (
        "every step_size decay_steps transition_steps save_freq save_interval period every_n_epochs",
        "learning_rate_init lr eta step_size",
        "learning_rate lr eta step_size rate init_lr initial_learning_rate init_value base_lr max_lr peak_value",
        "b1 beta1 beta_1",
        "b2 beta2 beta_2",
        "beta mu momentum b1 decay",
        "epsilon eps",
        "rho alpha decay decay_rate smoothing",
        "decay weight_decay wd",
        "nesterov use_nesterov nesterovs_momentum",
        "epochs num_epochs n_epochs nb_epoch max_epochs max_iter n_iter iterations",
        "batch_size batch batchsize bs minibatch_size train_batch_size",
        "seed random_state random_seed rng",
        "loss criterion loss_fn loss_function objective",
        "optimizer opt optim solver",
        "metrics metric scoring",
        "sample_weight sample_weights weights weight",
        "callbacks callback",
        "checkpoint ckpt checkpoint_dir ckpt_path",
        "backend library framework engine",
        "compile jit jit_compile",
        "network net model estimator",
        "X x data inputs features examples",
        "y Y target targets labels",
        "rate p prob drop_prob drop_rate dropout_rate dropout",
        "n_in in_features input_dim input_size fan_in",
        "n_out out_features output_dim output_size units width fan_out",
        "n num_features normalized_shape features dim",
        "bias use_bias with_bias",
        "weight_init kernel_initializer kernel_init initializer weights init",
        "bias_init bias_initializer biases",
        "sizes layer_sizes layers_sizes widths hidden_layer_sizes hidden_sizes hidden layers units",
        "hidden_layer_sizes sizes layer_sizes hidden_sizes hidden layers",
        "normalization norm normalisation",
        "output output_activation out_activation final_activation",
        "output_activation output out_activation final_activation",
        "alpha negative_slope slope",
        "alpha l2 weight_decay l2_regularization",
        "low lower minval minimum a",
        "high upper maxval maximum b",
        "std stddev sigma scale",
        "mean loc mu",
        "fan mode",
        "bound max_norm clip_norm clip_value max_value threshold value norm",
        "l2 weight_decay alpha lam reg",
        "q tau quantile alpha",
        "delta beta threshold",
        "monitor watch quantity",
        "min_delta tol delta threshold",
        "patience n_iter_no_change rounds",
        "restore_best restore_best_weights keep_best",
        "minimum min_lr eta_min",
        "factor gamma decay_rate",
        "steps T_max total_steps decay_steps transition_steps",
        "final eta_min end_value min_lr",
        "warmup warmup_steps num_warmup_steps",
        "rise pct_start",
        "power decay_power power_t",
        "folder path filepath dirpath directory",
        "path filename file log_path fname filepath",
        "keep keep_last max_to_keep save_total_limit",
        "resume resume_from resume_from_checkpoint restore",
        "coefficients weights",
    )
)

# What is said otherwise here, in words and in code.
OTHERWISE: Mapping[str, Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "fit": {
            **dict.fromkeys(
                ("lr", "learning_rate", "eta", "step_size", "learning_rate_init"),
                ("give the optimizer its rate", "optimizer=cr.Adam(1e-3)"),
            ),
            **dict.fromkeys(
                ("scheduler", "lr_scheduler", "schedule", "lr_schedule"),
                ("a schedule is an optimizer's rate", "optimizer=cr.Adam(cr.CosineDecay(1e-3))"),
            ),
            "momentum": ("it is the optimizer's", "optimizer=cr.Momentum(0.01, mu=0.9)"),
            **dict.fromkeys(
                ("weight_decay", "l2", "alpha", "regularization"),
                ("it is the penalty's", "penalty=cr.Penalty(l2=1e-4)"),
            ),
            "l1": ("it is the penalty's", "penalty=cr.Penalty(l1=1e-4)"),
            **dict.fromkeys(
                ("validation_split", "validation_fraction", "val_split"), ("hold a fifth out", "validation=0.2")
            ),
            **dict.fromkeys(
                ("validation_data", "val_data", "eval_set", "X_val", "y_val"),
                ("give both", "validation=(X_val, y_val)"),
            ),
            **dict.fromkeys(
                ("early_stopping", "patience", "n_iter_no_change"),
                ("it is a callback", "callbacks=[cr.EarlyStopping(patience=10)]"),
            ),
            "class_weight": ("weigh the rows", "sample_weight=weights_of_the_rows"),
            **dict.fromkeys(
                ("clipnorm", "clip_norm", "max_norm", "max_grad_norm", "grad_clip", "gradient_clip_val"),
                ("clip the norm", "clip=cr.ClipNorm(1.0)"),
            ),
            **dict.fromkeys(("clipvalue", "clip_value"), ("clip each entry", "clip=cr.ClipValue(0.5)")),
            **dict.fromkeys(
                ("activation", "dropout", "hidden_layer_sizes", "normalization"),
                ("it is the network's", 'network=cr.mlp([4, 16, 3], activation="tanh", dropout=0.2)'),
            ),
            "device": ("where it runs is one value", 'backend="torch:cuda"'),
            "dtype": ("it is the backend's", 'backend=cr.backend(like=X, dtype="float64")'),
            "compile": ("it is the backend's", "backend=cr.backend(like=X, compile=True)"),
            "precision": ("it is the backend's", 'backend=cr.backend("cupy", compile=True, precision="bf16")'),
            "kernels": ("it is the backend's", "backend=cr.backend(like=X, kernels=False)"),
            "deterministic": ("it is the backend's", "backend=cr.backend(like=X, deterministic=True)"),
            "resume": ("it is the checkpoint's", 'checkpoint=cr.Checkpoint("runs/x", resume=True)'),
        },
        **dict.fromkeys(
            ("load", "to", "diagnose", "MLPClassifier", "MLPRegressor"),
            dict.fromkeys(("device", "map_location"), ("where it runs is one value", 'backend="torch:cuda"')),
        ),
        "mlp": {
            **dict.fromkeys(("batch_norm", "batchnorm"), ("it is a normalization", 'normalization="batch"')),
            **dict.fromkeys(("layer_norm", "layernorm"), ("it is a normalization", 'normalization="layer"')),
        },
        "Dense": {
            "activation": (
                "an activation is a layer of its own",
                "cr.Sequential(cr.Dense(4, 8), cr.Tanh(), cr.Dense(8, 1))",
            )
        },
        "SGD": {
            **dict.fromkeys(("momentum", "mu"), ("that is an optimizer of its own", "cr.Momentum(0.01, mu=0.9)")),
            "nesterov": ("that is an optimizer of its own", "cr.Momentum(0.01, nesterov=True)"),
            "weight_decay": ("it is a penalty, given to fit", "penalty=cr.Penalty(l2=1e-4)"),
        },
        "Adam": {
            "betas": ("they are two", "b1=0.9, b2=0.999"),
            "weight_decay": ("that is an optimizer of its own", "cr.AdamW(1e-3)"),
        },
        "AdamW": {"betas": ("they are two", "b1=0.9, b2=0.999")},
        "Lion": {"betas": ("they are two", "b1=0.9, b2=0.99")},
        "Sequential": {
            "layers": ("give one after another", "cr.Sequential(cr.Dense(4, 8), cr.Tanh(), cr.Dense(8, 1))")
        },
    }
)

# By kind: what to write, a name of ours or in words, and what others call it.
VALUES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "activation": {
            "linear": "identity none id",
            "sigmoid": "logistic expit",
            "relu": "rectifier rect",
            "leaky_relu": "leakyrelu lrelu",
            "silu": "swish",
            "gelu_tanh": "gelu_new gelu_approximate",
            "hard_sigmoid": "hardsigmoid",
            "hard_tanh": "hardtanh",
            "hard_swish": "hardswish hard_silu",
            "exponential": "exp",
            "sine": "sin",
            "cosine": "cos",
            "step": "heaviside binary_step threshold",
            "cr.RandomizedLeakyReLU()": "rrelu",
            "cr.Activation(f, df) around your own": "glu swiglu maxout prelu log_softmax softsign",
        },
        "loss": {
            "squared_error": "mse mse_loss mseloss mean_squared_error l2 l2_loss least_squares",
            "absolute_error": "mae mae_loss l1 l1_loss l1loss mean_absolute_error",
            "huber": "huber_loss smooth_l1 smooth_l1_loss",
            "quantile": "pinball pinball_loss quantile_loss",
            "poisson": "poisson_nll poisson_nll_loss",
            "sigmoid_cross_entropy": "bce bce_loss bceloss bce_with_logits bcewithlogitsloss binary_cross_entropy "
            "binary_crossentropy binary_cross_entropy_with_logits sigmoid_binary_cross_entropy logistic logistic_loss",
            "softmax_cross_entropy": "ce cross_entropy crossentropy crossentropyloss cross_entropy_loss nll nll_loss "
            "nllloss negative_log_likelihood log_loss categorical_crossentropy categorical_cross_entropy "
            "sparse_categorical_crossentropy sparse_categorical_cross_entropy",
            "cr.Loss(f) around your own": "hinge squared_hinge kl_div kl_divergence kldiv focal ctc cosine_similarity",
        },
        "optimizer": {
            "sgd": "gd gradient_descent vanilla",
            "momentum": "sgd_momentum heavy_ball",
            "adam": "nadam radam adamax amsgrad adabelief",
            "rmsprop": "adadelta",
            "cr.Momentum(0.01, nesterov=True)": "nesterov nag nesterov_momentum",
            'cr.MLPClassifier(solver="lbfgs") or cr.MLPRegressor(solver="lbfgs")': "lbfgs l_bfgs bfgs newton",
        },
        "metric": {
            "accuracy": "acc categorical_accuracy sparse_categorical_accuracy binary_accuracy accuracy_score",
            "mse": "mean_squared_error squared_error",
            "rmse": "root_mean_squared_error",
            "mae": "mean_absolute_error absolute_error",
            "r2": "r2_score r_squared rsquared explained_variance",
            "a function of (y, predictions), as scikit-learn's f1_score is": "f1 f1_score precision recall "
            "precision_score recall_score auc roc_auc roc_auc_score balanced_accuracy top_k_accuracy mcc mape log_loss",
        },
        "initializer": {
            "zeros": "zero",
            "normal": "random_normal randn gaussian truncated_normal",
            "uniform": "random_uniform rand",
            "glorot_uniform": "xavier xavier_uniform glorot",
            "glorot_normal": "xavier_normal",
            "he_uniform": "kaiming_uniform",
            "he_normal": "kaiming kaiming_normal he",
            "lecun_normal": "lecun",
            "cr.Constant(1.0)": "ones one constant",
            "cr.VarianceScaling(2.0)": "variance_scaling",
        },
        "normalization": {
            "batch": "batchnorm batch_norm batchnormalization batch_normalization bn",
            "layer": "layernorm layer_norm layernormalization layer_normalization ln",
        },
    }
)


def same_argument(word: str, known: Iterable[str]) -> str | None:
    """The known argument that others call ``word``."""
    names = list(known)
    return next((name for words in SAME_ARGUMENT if word in words for name in names if name in words), None)


def value_for(kind: str, word: object) -> str | None:
    """What to write for a value that others call ``word``."""
    plain = str(word).lower().replace("-", "_").replace(" ", "_")
    return next((ours for ours, theirs in VALUES.get(kind, {}).items() if plain in theirs.split()), None)
