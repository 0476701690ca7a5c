"""Writes docs/scikit-learn.md: our two estimators beside scikit-learn's, name by name, and how accurate both are.

python benchmarks/scikit_learn.py            write the page, from both libraries and the committed accuracies
python benchmarks/scikit_learn.py --measure  train both on four data sets first: three minutes, one thread
python benchmarks/scikit_learn.py --check    fail if a name is not accounted for or the page is old; seconds

What the page says of a name is in DIFFERENCES, or is "same". Failures are: a name of scikit-learn that we lack, a
default that differs, a "same" that is none (also one that a stated difference begins with), and a difference stated for
a name that scikit-learn does not have.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import sklearn.neural_network
from report import ROOT, table
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, root_mean_squared_error
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import StrOptions, make_constraint

import chainrule as cr
from chainrule._kernels import with_providers

PAGE, RESULTS = ROOT / "docs" / "scikit-learn.md", ROOT / "benchmarks" / "results" / "scikit-learn.json"
NAMES = ("MLPClassifier", "MLPRegressor")

# ------------------------------------------------------------------------------------------------------------- the text

INTRODUCTION = """# For users of scikit-learn

`chainrule.MLPClassifier` and `chainrule.MLPRegressor` are scikit-learn's two estimators on the arrays that you have:
NumPy, CuPy, torch or JAX. From the same `random_state` they draw the same initial weights, batches and validation rows
and take the same steps, so that the same parameters give the same network up to rounding. scikit-learn's own tests of
the two run on ours (but for those that read private attributes), and so does its `check_estimator`.

This page is written by `python benchmarks/scikit_learn.py`, which reads names, defaults and values off both libraries
and fails where one of them is not accounted for.

## Change one import

```python
from chainrule import MLPClassifier, MLPRegressor  # was: from sklearn.neural_network import ...
```

    pip install 'chainrule[sklearn]'    # in a clone: pip install '.[sklearn]'; scikit-learn 1.7 or newer

Parameters go by position where they do there. With scikit-learn 1.7 and 1.8 its own callbacks are missing
(`set_callbacks` says so), `predict` takes the arrays of any library under array API dispatch too, and polars 2's
columns have no names.

**What follows X.** Training runs in the library and on the device of X, in float32 where X is float32 and else in
float64. Predictions come in the library and on the device of X. y and the weights may be arrays of
any library. Labels that are text come back as NumPy arrays. Where JAX has no float64, which has to be enabled, float32
is used and a warning says so. `backend=` and `dtype=` overrule X, so that data on the host trains on a GPU:

```python
clf = MLPClassifier(hidden_layer_sizes=(512, 512), backend="cupy", dtype="float32").fit(X, y)  # X is NumPy's
clf.predict(X_test)  # computed on the GPU, returned in NumPy
clf.to("numpy")  # from here on no GPU is needed
```

CuPy takes the same path as the others, but has not yet run on a real GPU; see [backends.md](backends.md).

**In pipelines and searches** the other steps have a say. Without array API dispatch scikit-learn's own make NumPy
arrays of what they are handed, and the network trains on those, unless `backend=` says otherwise. With it arrays stay
where they are:

```python
import os

os.environ["SCIPY_ARRAY_API"] = "1"  # before SciPy and scikit-learn are imported
import sklearn

sklearn.set_config(array_api_dispatch=True)
search = GridSearchCV(make_pipeline(StandardScaler(), MLPClassifier()), {"mlpclassifier__alpha": [1e-4, 1e-2]})
search.fit(torch.asarray(X), torch.asarray(y))  # the folds, the scaling, the training and the scores are torch's
```

scikit-learn then wants the arrays of `predict` to be of the same library and device as those of `fit`:
`est.to("numpy")` moves what was fitted, and so does any other backend's name.

## What you get that scikit-learn has not

`cr` is `import chainrule as cr`. A number is that of the issue in which scikit-learn's users asked for it.
"""

ISSUES = "https://github.com/scikit-learn/scikit-learn/issues/"

# What is wanted (a number is scikit-learn's issue), how it is written here, and a remark. The tests run the code.
REQUESTS = (
    ("class weights #9113", 'MLPClassifier(class_weight="balanced")', "or a dict by label"),
    (
        "an activation for each layer #10097",
        'MLPClassifier(hidden_layer_sizes=(64, 32), activation=["tanh", "gelu"])',
        "any of the library's names",
    ),
    ("an activation of your own", "MLPClassifier(activation=cr.Activation(f, df))", "two functions of `(xp, z)`"),
    ("an activation of the output", 'MLPRegressor(output_activation="softplus")', "for predictions > 0"),
    ("dropout #7407", "MLPClassifier(hidden_layer_sizes=(64, 32), dropout=[0.2, 0.5])", "or one rate for all"),
    ("batch normalisation", 'MLPClassifier(normalization="batch")', 'or `"layer"`'),
    ("another initializer", 'MLPClassifier(weight_init="he_normal")', "or an object, as `cr.Normal(0.1)`"),
    (
        "absolute error, Huber, quantiles #14571",
        "MLPRegressor(loss=cr.Quantile(0.9))",
        '`"absolute_error"`, `"huber"`, `"quantile"`',
    ),
    ("label smoothing", "MLPClassifier(loss=cr.SoftmaxCrossEntropy(label_smoothing=0.1))", ""),
    ("a loss of your own", "MLPRegressor(loss=cr.Loss(g))", "values and gradient from `(xp, z, y)`"),
    ("another optimizer", "MLPClassifier(solver=cr.AdamW(1e-3, decay=0.05))", 'or a name, as `"lion"`'),
    ("a schedule", "MLPClassifier(learning_rate=cr.CosineDecay(1e-2, warmup=20))", "for every solver that is named"),
    ("a schedule and an optimizer", "MLPClassifier(solver=cr.AdamW(cr.OneCycle(1e-2)))", ""),
    ("clipping of the gradient", "MLPClassifier(clip=cr.ClipNorm(1.0))", "or `cr.ClipValue(0.5)`"),
    (
        "a validation set of your own",
        "MLPClassifier(early_stopping=True).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=w_val)",
        "measured without early stopping too",
    ),
    (
        "early stopping by any scorer #24411",
        'MLPClassifier(early_stopping=True, scoring="neg_log_loss")',
        'or `"loss"`, or a function of `(estimator, X, y)`, and of `sample_weight` where there are weights',
    ),
    ("the validation loss of every epoch #18507", "clf.validation_loss_curve_", ""),
    (
        "callbacks",
        'MLPClassifier(callbacks=[cr.CSVLogger("epochs.csv")])',
        "the library's, or any with `on_epoch_end(run, record)`",
    ),
    (
        "scikit-learn 1.9's callbacks",
        'MLPClassifier().set_callbacks(ScoringMonitor(scoring="accuracy"))',
        "any of its protocol",
    ),
    ("a progress bar", 'MLPClassifier(verbose="bar")', "needs `chainrule[cli]`"),
    (
        "`partial_fit` with early stopping",
        "MLPClassifier(early_stopping=True).partial_fit(X, y, classes=classes)",
        "`stopped_` says when to end",
    ),
    (
        "to go on from a pickle exactly",
        "pickle.loads(pickle.dumps(half)).partial_fit(X, y)",
        "moments, rate, order and random stream, in a pickle that does not grow with the rows",
    ),
    ("hidden features #8291", "clf.transform(X, layer=-1)", "`set_output` and names of features too"),
    ("a check of the gradients", "clf.check_gradients(X[:20], y[:20])", "against central differences"),
    ("another device", 'clf.to("numpy")', 'or `"cupy"`, `"jax"`, `"torch:cuda"`, a dtype'),
    (
        "sparse X on any backend",
        'MLPClassifier(backend="torch").fit(X_sparse, y)',
        "a batch at a time is made dense; on NumPy none is",
    ),
    (
        "a file without pickle",
        'clf.model_.save("digits.safetensors")',
        "what `cr.load` gives back predicts the same labels. Of the network alone: what a pipeline does to X before "
        "it is not in this file",
    ),
    (
        "a pipeline in a file without pickle",
        'cr.from_pipeline(pipeline).save("pipeline.safetensors")',
        "`StandardScaler`, `MinMaxScaler`, `RobustScaler` and `MaxAbsScaler` are folded into the first layer, in "
        "float64, and the columns are those of the pipeline's X; a `TransformedTargetRegressor` with one of them into "
        "the last; other steps are refused by name: keep such a pipeline "
        "with skops or joblib",
    ),
)

# Kind by kind, what differs, and why.
DIFFERENCES: dict[str, dict[str, str]] = {
    "defaults": {},
    "parameters": {
        "activation": "More names, objects, and a list with one for each hidden layer.",
        "loss": (
            "More losses, and objects. With `cr.SigmoidCrossEntropy()` the regressor's `predict` "
            "gives fractions; its `model_`, and the file of that, give 0 or 1 there, and fractions in `predict_proba`."
        ),
        "solver": (
            "More names, and objects. `lbfgs`: the gradient for several outputs is the cost's own (there it is as many "
            "times too long, [#8349](" + ISSUES + "8349)), so that such fits differ; `batch_size`, dropout, batch "
            "normalisation, schedules, `clip`, `X_val`, `scoring` and `callbacks=` are refused by name (there "
            "`batch_size` is ignored); weights stay float32 where X is (there they become float64). `early_stopping` "
            "has no effect with it, as there."
        ),
        "batch_size": "Same. `lbfgs` refuses it.",
        "learning_rate": (
            "Also a schedule, for every solver that is named; the three names are for `sgd`, as there. A schedule "
            "without `steps=` lasts as long as one `fit`, `max_iter` epochs; `partial_fit`, which cannot know how many "
            "calls are to come, wants its length, and says once when it is over."
        ),
        "random_state": "Same draws. `partial_fit` goes on in its stream; there every call starts it again.",
        "verbose": 'Also `"bar"`. The lines are the same; `lbfgs` prints a line an iteration, there what SciPy prints.',
        "warm_start": (
            "Patience, `best_loss_` and `best_validation_score_` begin anew in each `fit`, and under early stopping "
            "the weights of the fit before are measured first, as the score to beat; there those of the old data go "
            "on, so that a fit on other data may end after one epoch, with its weights. `partial_fit` goes on with or "
            "without it, also on rows that have not all classes. Parameters that now ask for another network are "
            "refused; there a new activation is taken over, and new sizes are ignored or fail later."
        ),
        "early_stopping": (
            "Same split and scores. Where `scoring` is given a row of every class is held out, and one trained on, if "
            "there are two; where a scorer needs a class that is not there, it is refused before training. Also "
            "in `partial_fit`. A score that is NaN is no improvement (there it is one), and where the scores of a fit "
            "say nothing, NaN throughout or R^2 of a constant, a warning says so. A divergence "
            "ends training at once, with a warning, NaN as the last score and the best "
            "weights; there a regressor goes on to `max_iter`."
        ),
    },
    "attributes": {
        "coefs_": (
            "Same numbers, as a tuple of arrays of the backend, on NumPy read-only. Assign all of them to replace "
            "them: `est.coefs_ = [...]`."
        ),
        "intercepts_": "Same, and as `coefs_`. Zeros in front of a normalisation, whose layers have no bias.",
        "loss": "Of the classifier: a parameter here.",
        "loss_": (
            "Same. Computed from the pre-activations; there probabilities are clipped at eps, so that no example's "
            "loss exceeds 36 (16 in float32). A loss that overflows is a divergence; there it is infinity."
        ),
        "loss_curve_": "Same; what `loss_` says holds here too.",
        "best_loss_": "Same; what `loss_` says holds here too. Of the last `fit`, where several go on from each other.",
        "validation_scores_": "Same. Also where `X_val` is given without early stopping. By `scoring`.",
        "best_validation_score_": (
            "Same. By `scoring`. Where a `fit` goes on it is at least that of the weights that it began with."
        ),
        "out_activation_": "Same. Also the name of `output_activation`.",
    },
    "methods": {
        "fit": (
            "Also `X_val`, `y_val`, `sample_weight_val`. `sample_weight` must be >= 0, which there it need not be, "
            "and sum to what the dtype's sums hold, 1e-19 to 2e19 in float32; so must the squares of a "
            "regression's targets. "
            "Dates, durations, text and masked entries are refused wherever numbers are asked for (there text of "
            "digits is taken for numbers, and a mask is passed over), missing labels in words of our own; labels that "
            "are numbers in an array of objects are taken, and those of nullable and Arrow's columns keep their type "
            "(there they become floats, which rounds whole numbers beyond 2^53). A dict of columns and `cr.Parquet` "
            "are taken by name, as frames are. A divergence is the same ValueError, raised in "
            "the epoch in which it happens, and `model_` "
            "keeps the last finite weights. A fit that is refused leaves the one before as it was. Ctrl-C ends after "
            "the step in flight, with a warning of its own class."
        ),
        "partial_fit": (
            "As `fit`. k calls on the same rows give what `fit` gives with `max_iter=k`, also when rows are shuffled "
            "(there the order starts again at each call); after a `fit` as many rows again are held out as they were "
            "there. Settings of the solver that `set_params` changes between calls take effect, and its moments stay; "
            "another solver begins with moments of its own. A call that fails "
            "changes nothing. With `lbfgs` neither estimator has it; there the regressor has, and it runs all of `fit`."
        ),
        "predict": "Same predictions, in the library and on the device of X; labels that are text in NumPy.",
        "predict_proba": "Same predictions, in the library and on the device of X, in the dtype that was trained in.",
        "predict_log_proba": "Same, as `predict_proba`. No warning where a probability is 0.",
        "score": "Same, for arrays of any library; a Python float. `sample_weight` is checked as in `fit`.",
        "set_fit_request": "Also for `X_val`, `y_val`, `sample_weight_val`.",
        "set_partial_fit_request": "Also for `X_val`, `y_val`, `sample_weight_val`.",
    },
}

TABLES = """## Name by name

*Same* is checked, not stated: for a parameter that it has the same default and takes the same values, for an attribute
that it has the same value (up to a millionth) after small fits with `sgd` and `adam`, with and without early stopping,
and with `lbfgs`, for a method that it has the same arguments and, if it answers, gives the same answers. Names that
begin with an underscore are not there: no `_optimizer`, no `_label_binarizer`.
"""

ACCURACY = """## Accuracy

Five folds by three seeds, the same folds and the same `random_state` for both, `StandardScaler` in the pipeline, one
hidden layer of 100, `max_iter=300`; for diabetes also `alpha=1`, `early_stopping=True` and a target that is scaled by
`TransformedTargetRegressor`. Mean and standard error over the 15 folds, and of the differences fold by fold, with the
largest of them. *time* is that of scikit-learn's `fit`, the pipeline included, over ours: the median of the folds'
ratios, both fitted in turn on each, in float64 on NumPy{fast}, on one thread.
[performance.md](performance.md) has the times of single steps.
"""

BACKENDS = """**Backends.** The same folds in float32, whose numbers have seven digits, on other backends. In brackets
the largest difference of a fold from float64 on NumPy."""

# --------------------------------------------------------------------------------------------------- names and defaults

SETTINGS: dict[str, dict[str, Any]] = {  # of the small fits that show attributes
    "sgd": {"solver": "sgd"},
    "adam": {"solver": "adam"},
    "sgd, early stopping": {"solver": "sgd", "early_stopping": True},
    "adam, early stopping": {"solver": "adam", "early_stopping": True},
    "lbfgs": {"solver": "lbfgs"},
}
ANSWERING = ("predict", "predict_proba", "predict_log_proba", "score")
Surface = dict[str, dict[str, Any]]


def small_data() -> tuple[pd.DataFrame, np.ndarray]:
    """Sixty rows with named columns, and three classes that are numbers as well."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 4))
    return pd.DataFrame(X, columns=list("abcd")), np.digitize(X[:, 0] + X[:, 1], [-0.5, 0.5])


def surface(estimator: type) -> Surface:
    """What an estimator shows of itself, by kind and name: what has to be alike for it to be the same."""
    X, y = small_data()
    given = inspect.signature(estimator).parameters
    methods = [name for name in dir(estimator) if _public(name) and callable(getattr(estimator, name))]
    fits = {}
    with without_convergence_warnings():
        for name, setting in SETTINGS.items():
            fits[name] = estimator(max_iter=3, random_state=0, **setting).fit(X, y)
    shown = sorted({name for fit in fits.values() for name in dir(fit) if _public(name)} - {*given, *methods})
    return {
        "defaults": {name: repr(parameter.default) for name, parameter in given.items()},
        "parameters": {name: [str(p.kind.description), takes(estimator, name)] for name, p in given.items()},
        "attributes": {name: {s: getattr(f, name) for s, f in fits.items() if hasattr(f, name)} for name in shown},
        "methods": {name: [arguments(getattr(estimator, name)), answers(name, fits, X, y)] for name in methods},
    }


def _public(name: str) -> bool:
    return not name.startswith("_")


def takes(estimator: type, parameter: str) -> frozenset[Any]:
    """What a parameter may be, as scikit-learn's own checks know it."""
    constraints: list[Any] = estimator._parameter_constraints[parameter]
    return frozenset(
        frozenset(one.options) if isinstance(one, StrOptions) else str(make_constraint(one)) for one in constraints
    )


def arguments(method: Any) -> list[str]:
    """Names and defaults; types are written here and not there."""
    found = list(inspect.signature(method).parameters.values())
    return [
        str(parameter.replace(annotation=inspect.Parameter.empty)) for parameter in found if parameter.name != "self"
    ]


def answers(method: str, fits: Mapping[str, Any], X: Any, y: Any) -> dict[str, Any]:
    """What a method says to the small data; nothing for one that does not answer."""
    if method not in ANSWERING:
        return {}
    given = (X, y) if method == "score" else (X,)
    return {name: getattr(fit, method)(*given) for name, fit in fits.items()}


def alike(a: Any, b: Any) -> bool:
    """Whether two values are the same, numbers up to a millionth."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(alike, a, b))
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if x.dtype.kind in "iuf" and y.dtype.kind in "iuf":
        return bool(np.allclose(x, y, rtol=1e-6, atol=1e-9))
    return bool(np.all(x == y))


def problems(kind: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], stated: Mapping[str, str]) -> list[str]:
    """Names of scikit-learn that are missing or other than here without a word on it."""
    found = []
    for name, value in theirs.items():
        if not stated.get(name, "Same").startswith("Same"):
            continue
        if name not in ours:
            found.append(f"{kind}: scikit-learn has {name!r}, we have not, and DIFFERENCES does not say why.")
        elif not alike(value, ours[name]):
            shown = f" ({value} there, {ours[name]} here)" if kind == "defaults" else ""
            found.append(f"{kind}: {name!r} is not the same{shown}, and DIFFERENCES does not say why.")
    return found


def stale(kind: str, known: Collection[str], stated: Mapping[str, str]) -> list[str]:
    """Differences stated for what is not there."""
    return [f"{kind}: DIFFERENCES names {name!r}, which scikit-learn has not." for name in stated if name not in known]


def unaccounted(theirs: Mapping[str, Surface], ours: Mapping[str, Surface]) -> list[str]:
    """All that the page would have to say and does not, a sentence each; of estimators by name."""
    found = []
    for kind, stated in DIFFERENCES.items():
        for name, surface_there in theirs.items():
            found += [f"{name}, {line}" for line in problems(kind, surface_there[kind], ours[name][kind], stated)]
        found += stale(kind, {name for there in theirs.values() for name in there[kind]}, stated)
    return found


# ------------------------------------------------------------------------------------------------------------- accuracy


@dataclass(frozen=True)
class Case:
    """A data set, and how a network is trained on it."""

    load: Callable[..., Any]
    regression: bool = False
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        return "RMSE" if self.regression else "accuracy"

    def model(self, library: Any, seed: int, **settings: Any) -> Any:
        name = NAMES[self.regression]
        network = getattr(library, name)(max_iter=300, random_state=seed, **self.settings, **settings)
        pipeline = make_pipeline(StandardScaler(), network)
        return TransformedTargetRegressor(pipeline, transformer=StandardScaler()) if self.regression else pipeline

    def folds(self, X: np.ndarray, y: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for seed in range(3):
            splitter = (KFold if self.regression else StratifiedKFold)(5, shuffle=True, random_state=seed)
            for train, test in splitter.split(X, y):
                yield seed, train, test


CASES = {
    "digits": Case(load_digits),
    "breast_cancer": Case(load_breast_cancer),
    "wine": Case(load_wine),
    "diabetes": Case(load_diabetes, regression=True, settings={"alpha": 1.0, "early_stopping": True}),
}
ELSEWHERE = ("torch", "jax")


@contextmanager
def without_convergence_warnings() -> Iterator[None]:
    """Both libraries warn alike where the last epoch was not the best, which is not what is looked at here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def measure_case(case: Case) -> dict[str, Any]:
    """Scores, and the seconds of a fit, fold by fold: of both, and of ours on other backends."""
    X, y = case.load(return_X_y=True)
    here = [name for name in ELSEWHERE if importlib.util.find_spec(name)]
    runs: dict[str, tuple[Any, dict[str, Any]]] = {"theirs": (sklearn.neural_network, {}), "ours": (cr, {})}
    runs |= {name: (cr, {"backend": name, "dtype": "float32"}) for name in here}
    found: dict[str, Any] = {"metric": case.metric, "rows": X.shape[0], "features": X.shape[1]}
    found |= {"scores": {name: [] for name in runs}, "seconds": {name: [] for name in ("theirs", "ours")}}
    case.model(cr, 0).fit(X, y)  # Numba's loops are compiled here, or read from its cache
    for i, (seed, train, test) in enumerate(case.folds(X, y)):
        # Who is first turns, so that neither always has the warmer machine.
        for name in [*(("theirs", "ours") if i % 2 else ("ours", "theirs")), *here]:
            library, settings = runs[name]
            model, started = case.model(library, seed, **settings), time.perf_counter()
            model.fit(X[train], y[train])
            seconds, answered = time.perf_counter() - started, model.predict(X[test])
            measure = root_mean_squared_error if case.regression else accuracy_score
            found["scores"][name].append(float(measure(y[test], answered)))
            if name in found["seconds"]:
                found["seconds"][name].append(round(seconds, 5))
    return found


def measure() -> None:
    """Train everything, and write the file."""
    from run import update
    from threadpoolctl import threadpool_limits

    accuracy = {}
    with threadpool_limits(1), without_convergence_warnings():
        for name, case in CASES.items():
            accuracy[name] = measure_case(case)
            print(" | ".join(accuracy_row(name, accuracy[name])), flush=True)
    update(RESULTS, accuracy=accuracy, kernels=with_providers(cr.backend("numpy"), fast=True).info["kernels"])


def mean_and_error(values: Any) -> tuple[float, float]:
    """The mean, and its standard error."""
    return float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values)))


def is_below(entry: Mapping[str, Any]) -> bool:
    """Whether ours is worse than theirs by more than the standard error of the differences."""
    sign = -1.0 if entry["metric"] == "RMSE" else 1.0
    mean, error = mean_and_error(sign * np.subtract(entry["scores"]["ours"], entry["scores"]["theirs"]))
    return mean < -max(error, 1e-9)  # where all that differs is rounding, so does its standard error


# ------------------------------------------------------------------------------------------------------------- the page


def code(text: str) -> str:
    return f"`{text}`"


def linked(text: str) -> str:
    """``#9113`` as a link to the issue."""
    return " ".join(f"[{w}]({ISSUES}{w[1:]})" if w.startswith("#") else w for w in text.split(" "))


def names_of(kind: str, surfaces: Mapping[str, Surface]) -> dict[str, list[str]]:
    """Each name, with the estimators that have it."""
    found: dict[str, list[str]] = {}
    for estimator, shown in surfaces.items():
        for name in shown[kind]:
            found.setdefault(name, []).append(estimator)
    return found


def named_table(kind: str, title: str, theirs: Mapping[str, Surface], ours: Mapping[str, Surface]) -> str:
    """A row for each name of scikit-learn, with its defaults if it is a parameter; then the names that only we have."""
    names, defaults = names_of(kind, theirs), kind == "parameters"
    header = ["name", "of", *(["default there", "default here"] if defaults else []), "difference"]
    rows = []
    for name, owners in names.items():
        shown = [_default(name, owners, there) for there in (theirs, ours)] if defaults else []
        of = "both" if len(owners) == len(NAMES) else owners[0]
        rows.append([code(name), of, *shown, DIFFERENCES[kind].get(name, "same")])
    only = [code(name) for name in names_of(kind, ours) if name not in names]
    return f"### {title}\n\n{table(header, rows)}\nOnly here: {', '.join(only) or 'none'}.\n"


def _default(name: str, owners: list[str], surfaces: Mapping[str, Surface]) -> str:
    found = dict.fromkeys(surfaces[owner]["defaults"].get(name, "none") for owner in owners)
    return " or ".join(code(default) for default in found)


def accuracy_row(name: str, entry: Mapping[str, Any]) -> list[str]:
    """One line of the table of both libraries."""
    theirs, ours = entry["scores"]["theirs"], entry["scores"]["ours"]
    cells = [shown(entry, values) for values in (theirs, ours, np.subtract(ours, theirs))]
    below = "**yes**" if is_below(entry) else "no"
    return [name, entry["metric"], *cells, largest(ours, theirs), below, f"{ratio(entry):.2f}"]


def backends_row(name: str, entry: Mapping[str, Any], backends: Collection[str]) -> list[str]:
    """One line of the table of backends."""
    scores = entry["scores"]
    cells = [f"{shown(entry, scores[one])} [{largest(scores[one], scores['ours'])}]" for one in backends]
    return [name, entry["metric"], shown(entry, scores["ours"]), *cells]


def shown(entry: Mapping[str, Any], values: Any) -> str:
    """The mean, and its standard error."""
    digits = 2 if entry["metric"] == "RMSE" else 4
    mean, error = (round(number, digits) + 0.0 for number in mean_and_error(values))  # + 0.0: no minus zero
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def largest(a: Any, b: Any) -> str:
    """The largest difference of a fold."""
    difference = float(np.max(np.abs(np.subtract(a, b))))
    return f"{difference:.0e}" if difference else "0"


def ratio(entry: Mapping[str, Any]) -> float:
    """How many times as long theirs takes to fit."""
    return median(a / b for a, b in zip(entry["seconds"]["theirs"], entry["seconds"]["ours"], strict=True))


def accuracy_section(results: Mapping[str, Any]) -> str:
    """Both libraries on four data sets."""
    machine, found = results["machine"], results["accuracy"]
    fast = " with `chainrule[fast]`" if "numba" in results["kernels"].values() else ""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    where = f"{machine['cpu']}, {machine['system']}, Python {machine['python']}, {machine['blas']}; {versions}.\n"
    columns = ["", "", "scikit-learn", "chainrule", "difference", "largest", "below by more than its error", "time"]
    worse = [name for name, entry in found.items() if is_below(entry)]
    slower = [f"{name}, {ratio(entry):.2f}" for name, entry in found.items() if ratio(entry) < 1.0]
    says = f"Ours is below theirs by more than the standard error: {', '.join(worse) or 'nowhere'}.\n"
    loses = f"**Where we lose** time: {'; '.join(slower) or 'nowhere in this table'}.\n"
    parts = [ACCURACY.format(fast=fast), where, table(columns, [accuracy_row(*item) for item in found.items()])]
    parts += [says, loses]
    backends = [name for name in ELSEWHERE if all(name in entry["scores"] for entry in found.values())]
    if backends:
        columns = ["", "", "NumPy, float64", *(f"{name}, float32" for name in backends)]
        parts += [f"{BACKENDS}\n", table(columns, [backends_row(*item, backends) for item in found.items()])]
    return "\n".join(parts)


def page(results: Mapping[str, Any], theirs: Mapping[str, Surface], ours: Mapping[str, Surface]) -> str:
    """The whole page."""
    wishes = [[linked(wanted), code(written), remark] for wanted, written, remark in REQUESTS]
    titles = {"parameters": "Parameters", "attributes": "Attributes", "methods": "Methods"}
    parts = [INTRODUCTION, table(["wanted", "written here", ""], wishes), TABLES]
    parts += [named_table(kind, title, theirs, ours) for kind, title in titles.items()]
    return "\n".join([*parts, accuracy_section(results)]).rstrip() + "\n"


def surfaces() -> tuple[dict[str, Surface], dict[str, Surface]]:
    """Theirs, and ours."""
    theirs = {name: surface(getattr(sklearn.neural_network, name)) for name in NAMES}
    return theirs, {name: surface(getattr(cr, name)) for name in NAMES}


def old(written: str, current: str) -> list[str]:
    """A sentence where the page is not what would be written now."""
    if written == current:
        return []
    lines = zip(written.splitlines(), current.splitlines(), strict=False)
    first = next((i for i, (a, b) in enumerate(lines, 1) if a != b), "its end")
    return [f"docs/scikit-learn.md is old, from line {first} on: run python benchmarks/scikit_learn.py"]


def check(path: Path = PAGE) -> list[str]:
    """What is not accounted for, and whether the page is old."""
    theirs, ours = surfaces()
    wrong = unaccounted(theirs, ours)
    return wrong + old(path.read_text(), page(json.loads(RESULTS.read_text()), theirs, ours))


def write() -> list[str]:
    """Write the page, unless something is not accounted for, which is returned."""
    theirs, ours = surfaces()
    wrong = unaccounted(theirs, ours)
    if not wrong:
        PAGE.write_text(page(json.loads(RESULTS.read_text()), theirs, ours))
        print(f"wrote {PAGE.relative_to(ROOT)}")
    return wrong


def main(asked: list[str]) -> int:
    """Do what was asked; 1 if something is wrong."""
    if asked not in ([], ["--measure"], ["--check"]):
        print(__doc__)
        return 2
    if asked == ["--measure"]:
        measure()
    wrong = check() if asked == ["--check"] else write()
    for line in wrong:
        print(line)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
